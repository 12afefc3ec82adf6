//! `type = "gsi"`: the server takes a GSI handshake, as far as 235, with a certificate that holds.
//!
//! Whether the credential has an account there does not matter: that is asked for only by USER. What the server's certificate says is
//! reported whether or not the check passes, so that somebody sees it before users do.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use super::capabilities::{self, Seen};
use super::conversation::{Course, connect, greeting, introduce, leave};
use super::dialogue::Dialogue;
use super::{Finding, GsiProbe, LocalTrouble, Probe, Setback, Verdict, failed, finding};
use crate::balance::{CertificateStanding, CheckOutcome, CheckReport, Observation, ServerCertificate};
use crate::config::GsiCheck;
use crate::proto::gsi::{
    Certificate, ChannelEnd, Credential, HandshakeError, HostNames, InitiateError, InitiatorConfig,
};
use crate::tls::{GsiLogin, GsiLoginError, Protected, Workers, date, log_in, read_robot_credential};

/// Checks are few: their handshakes are worked off where files are read.
struct BlockingThreads;

impl Workers for BlockingThreads {
    async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        spawn_blocking(job).await.ok()
    }
}

/// One check.
pub(super) async fn attempt(probe: &Probe, check: &GsiCheck) -> Finding {
    let Some(gsi) = &probe.gsi else {
        return Err(LocalTrouble::Gsi("GSI does not end at the door any more".into()));
    };
    let config = gsi.acceptor.check_initiator(robot(check).await?, gsi.expected.clone());
    examine_credential(&config.credential, check, date())?;
    let seen = Seen::default();
    let course = Course::of(probe, &seen);
    let mut shown = None;
    let connected = connect(course.server, course.check.connect_timeout.min(course.check.max_time)).await;
    let (verdict, took) = match connected {
        Err(setback) => (Err(setback), course.elapsed()),
        Ok(mut stream) => {
            introduce(&mut stream, probe).await;
            converse(stream, &course, config, &mut shown).await
        }
    };
    let certificate = match shown {
        // It grows older, whether or not it is shown: a Globus server whose certificate has expired shows none.
        None => match probe.server.certificate() {
            None => Observation::AsBefore,
            Some(before) => {
                let standing = CertificateStanding::of(before.not_after, since_1970(date()));
                Observation::Seen(ServerCertificate { standing, ..before })
            }
        },
        Some(shown) => Observation::Seen(read(&shown, names(gsi, check), date())),
    };
    finding(verdict, took).map(|report| CheckReport {
        certificate,
        capabilities: seen.into_observation(),
        ..report
    })
}

/// Read each time: whoever renews it, does it by a timer. Not for long: it is one small file.
async fn robot(check: &GsiCheck) -> Result<Option<Credential>, LocalTrouble> {
    let Some(file) = check.credential.clone() else { return Ok(None) };
    match spawn_blocking(move || read_robot_credential(&file)).await {
        Ok(read) => Ok(Some(read?)),
        Err(_) => {
            Err(LocalTrouble::Gsi("reading the robot's credential has failed by a bug; report it".into()))
        }
    }
}

/// One that has run out says nothing about the server.
fn examine_credential(credential: &Credential, check: &GsiCheck, now: UnixTime) -> Result<(), LocalTrouble> {
    let leaf = credential.leaf();
    if leaf.validity().holds(now) {
        return Ok(());
    }
    let (whose, mend) = match &check.credential {
        Some(file) => (file.display().to_string(), "see why nobody has renewed it"),
        None => (
            "the door's own certificate".to_owned(),
            "renew it; a new one in its file is taken without a restart",
        ),
    };
    let what = format!("{whose} ({}) is not valid now; {mend}", leaf.subject_name());
    Err(LocalTrouble::Gsi(what))
}

async fn converse(
    mut stream: TcpStream,
    course: &Course<'_>,
    config: InitiatorConfig,
    shown: &mut Option<Certificate>,
) -> (Verdict, Duration) {
    if let Err(setback) = greeting(&mut stream, course).await {
        let (verdict, took) = (Err(setback), course.elapsed());
        leave(&mut stream, &verdict).await;
        return (verdict, took);
    }
    let login = timeout_at(course.deadline(), log_in(&mut stream, config, &BlockingThreads)).await;
    let result = match login {
        Err(_) => Err(failed(
            &format!("no end of its GSI handshake within max_time = {:?}", course.check.max_time),
            "see the server's load and its log, or raise max_time",
        )),
        Ok(GsiLogin { result, certificate }) => {
            *shown = certificate;
            result.map_err(|error| setback(&error))
        }
    };
    let (established, read) = match result {
        Ok(established) => established,
        Err(setback) => {
            let (verdict, took) = (Err(setback), course.elapsed());
            leave(&mut stream, &verdict).await;
            return (verdict, took);
        }
    };
    let found = format!("logged in by GSI up to 235 at {}", established.peer.identity());
    let (verdict, took) = (Ok(found), course.elapsed());
    let mut protected = Protected::new(stream, established.channel, ChannelEnd::Client, &read);
    capabilities::look(&mut Dialogue::new(&mut protected), course).await;
    leave(&mut protected, &verdict).await;
    (verdict, took)
}

/// Whose fault it is, and how to mend it.
fn setback(error: &GsiLoginError) -> Setback {
    let mend = match error {
        GsiLoginError::NoCrypto => return Setback::Local(LocalTrouble::Gsi(error.to_string())),
        GsiLoginError::Busy(words) => return CheckOutcome::Busy(words.clone()).into(),
        GsiLoginError::OutOfOrder(_) => "renew its host certificate, or see its log",
        GsiLoginError::Refused(_) => {
            "see its log: it has to trust the authority of the door's (or the robot's) certificate, and its clock has to be right"
        }
        GsiLoginError::Initiate(InitiateError::Handshake(HandshakeError::Peer(_))) => {
            "see its certificate, `trust_anchors`, and `gsi_name` or `gsi_subject` here"
        }
        GsiLoginError::NoGsi(_)
        | GsiLoginError::Initiate(_)
        | GsiLoginError::Adat(_)
        | GsiLoginError::Lost(_) => "see the server's log",
    };
    failed(&error.to_string(), mend)
}

/// One of them clients use.
fn names(gsi: &GsiProbe, check: &GsiCheck) -> Vec<String> {
    match &check.virtual_name {
        Some(name) => vec![name.clone()],
        None => gsi.acceptor.host_names(),
    }
}

/// What is to be told of a certificate.
fn read(shown: &Certificate, names: Vec<String>, now: UnixTime) -> ServerCertificate {
    let wanted = names.join(" or ");
    let is_covered = HostNames { names, address: None }.cover(shown);
    let not_after = since_1970(shown.validity().not_after);
    ServerCertificate {
        subject: shown.subject_name().to_string(),
        not_after,
        missing_name: (!is_covered).then_some(wanted),
        standing: CertificateStanding::of(not_after, since_1970(now)),
    }
}

fn since_1970(time: UnixTime) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// Says what is wrong with a certificate that was not seen so before.
pub(super) fn warn_of(probe: &Probe, seen: &ServerCertificate) {
    let (virtual_server, real_server) = (&probe.virtual_server, probe.server.name());
    let ServerCertificate { subject, not_after, missing_name, standing } = seen;
    let not_after = not_after.as_secs();
    match standing {
        CertificateStanding::Fine => {}
        CertificateStanding::ExpiresSoon => tracing::warn!(
            virtual_server,
            real_server,
            subject,
            not_after,
            "certificate of the real server expires soon; renew it there"
        ),
        CertificateStanding::Expired => tracing::warn!(
            virtual_server,
            real_server,
            subject,
            not_after,
            "certificate of the real server has expired; renew it there"
        ),
    }
    if let Some(missing_name) = missing_name {
        tracing::warn!(
            virtual_server,
            real_server,
            subject,
            missing_name,
            "certificate of the real server does not carry the virtual name; ask for one that has it as a subjectAltName"
        );
    }
}

#[cfg(test)]
mod tests;
