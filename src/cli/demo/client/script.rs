//! The transfers of the demo, each in the commands and the order of a real client.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;

use super::control::{Control, Reply};
use super::data::{self, Moved};
use super::{Client, Failure};
use crate::cli::demo::address::comma_form;
use crate::cli::demo::journal::Carried;
use crate::cli::demo::table::{Flow, Row};
use crate::proto::ftp::DataPath::{self, Direct, Relay};

/// Connections of the parallel transfers.
const PARALLEL: usize = 4;

/// One row to be.
pub(super) struct Scenario {
    transfer: &'static str,
    like: &'static str,
    command: &'static str,
    path: DataPath,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    CurlGet,
    CurlPut,
    PassiveGet,
    PassivePut,
    DelayedGet,
    ExtendedPassiveGet,
    ActiveGet,
    ParallelGet,
    ParallelPut,
    ThirdParty,
}

#[rustfmt::skip]
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { transfer: "get",         like: "globus-url-copy",       command: "PASV RETR",            path: Direct, kind: Kind::PassiveGet },
    Scenario { transfer: "put",         like: "globus-url-copy",       command: "PASV STOR",            path: Direct, kind: Kind::PassivePut },
    Scenario { transfer: "get",         like: "gfal-copy",             command: "delayed PASV RETR",    path: Direct, kind: Kind::DelayedGet },
    Scenario { transfer: "get",         like: "globus-url-copy -ipv6", command: "EPSV RETR",            path: Direct, kind: Kind::ExtendedPassiveGet },
    Scenario { transfer: "get",         like: "globus-url-copy -p 4",  command: "MODE E PORT RETR",     path: Direct, kind: Kind::ParallelGet },
    Scenario { transfer: "put",         like: "globus-url-copy -p 4",  command: "MODE E PASV STOR",     path: Direct, kind: Kind::ParallelPut },
    Scenario { transfer: "third-party", like: "globus-url-copy, FTS",  command: "PASV STOR, PORT RETR", path: Direct, kind: Kind::ThirdParty },
    Scenario { transfer: "get",         like: "curl",                  command: "EPSV TYPE I RETR",     path: Relay,  kind: Kind::CurlGet },
    Scenario { transfer: "put",         like: "curl",                  command: "EPSV TYPE I STOR",     path: Relay,  kind: Kind::CurlPut },
    Scenario { transfer: "get, active", like: "lftp, passive off",     command: "PORT RETR",            path: Relay,  kind: Kind::ActiveGet },
];

/// Held sessions by server.
#[derive(Debug, Default)]
pub(in crate::cli::demo) struct Spread(BTreeMap<String, u32>);

impl Spread {
    pub(super) fn count(&mut self, server: &str) {
        *self.0.entry(server.to_owned()).or_default() += 1;
    }

    /// Sessions on this server.
    pub(in crate::cli::demo) fn on(&self, server: &str) -> u32 {
        self.0.get(server).copied().unwrap_or(0)
    }
}

/// What a finished script leaves to be judged.
struct Trace {
    server: String,
    /// absent in a third-party transfer: the client saw no data
    moved: Option<Moved>,
    /// bytes on control connections
    control_bytes: u64,
}

impl Client<'_> {
    pub(super) async fn row(&self, scenario: &Scenario) -> Row {
        let mut row = Row {
            transfer: scenario.transfer,
            like: scenario.like,
            command: scenario.command,
            path: scenario.path,
            server: "-".to_owned(),
            flow: Flow::Unknown,
            bytes: 0,
            through_door: 0,
            identical: false,
            failure: None,
        };
        if let Err(failure) = self.run(scenario.kind, &mut row).await {
            row.failure = Some(failure.to_string());
        }
        row
    }

    async fn run(&self, kind: Kind, row: &mut Row) -> Result<(), Failure> {
        let local = |error: io::Error| Failure::new(format!("files of the demo: {error}"));
        let content = random(self.size).map_err(local)?;
        let (source, target) = (self.files.join("source"), self.files.join("target"));
        let put = matches!(kind, Kind::CurlPut | Kind::PassivePut | Kind::ParallelPut);
        if !put {
            std::fs::write(&source, &content).map_err(local)?;
        }
        drop(self.journal.take());

        let trace = match kind {
            Kind::CurlGet => self.curl_get().await?,
            Kind::CurlPut => self.curl_put(content.clone()).await?,
            Kind::PassiveGet => self.passive_get(PASV, Announced::AtOnce).await?,
            Kind::DelayedGet => self.passive_get(PASV, Announced::Later).await?,
            Kind::ExtendedPassiveGet => self.passive_get(EPSV, Announced::AtOnce).await?,
            Kind::PassivePut => self.passive_put(content.clone()).await?,
            Kind::ActiveGet => self.active_get().await?,
            Kind::ParallelGet => self.parallel_get().await?,
            Kind::ParallelPut => self.parallel_put(content.clone()).await?,
            Kind::ThirdParty => self.third_party().await?,
        };

        let arrived = match &trace.moved {
            Some(moved) if !put => moved.bytes.clone(),
            _ => std::fs::read(&target).map_err(local)?,
        };
        row.bytes = arrived.len() as u64;
        row.identical = arrived == content;
        let carried = self.journal.take();
        if let Some(other) = carried.iter().find(|carried| !trace.server.contains(&carried.server)) {
            return Err(Failure::new(format!("{} greeted, {} carried the data", trace.server, other.server)));
        }
        row.flow = match &trace.moved {
            Some(moved) => seen_flow(moved, &carried),
            None => third_party_flow(&carried),
        };
        row.through_door = trace.control_bytes + if row.flow.is_direct() { 0 } else { row.bytes };
        row.server = trace.server;
        for used in [source, target] {
            // not every row makes both
            let _ = std::fs::remove_file(used);
        }
        Ok(())
    }

    async fn passive_get(&self, (passive, code): (&str, u16), when: Announced) -> Result<Trace, Failure> {
        let app = if matches!(when, Announced::Later) { GFAL } else { GLOBUS };
        let mut control = self.login(app).await?;
        let door = control.peer_ip()?;
        let address = match when {
            Announced::AtOnce => {
                let reply = control.command(passive, &[code]).await?;
                control.send(RETR).await?;
                data::announced(&reply, door)?
            }
            Announced::Later => {
                control.command("OPTS PASV AllowDelayed=1;", &[200]).await?;
                control.command(passive, &[200]).await?;
                let reply = control.command(RETR, &[127]).await?;
                data::announced(&reply, door)?
            }
        };
        let stream = data::dial(address).await?;
        begun(&mut control, RETR).await?;
        let moved = data::get_stream(stream, self.size).await?;
        done(control, RETR, moved).await
    }

    async fn passive_put(&self, content: Vec<u8>) -> Result<Trace, Failure> {
        let mut control = self.login(GLOBUS).await?;
        let reply = control.command("PASV", &[227]).await?;
        control.command(&format!("ALLO {}", self.size), &[200]).await?;
        control.send(STOR).await?;
        let stream = data::dial(data::announced(&reply, control.peer_ip()?)?).await?;
        begun(&mut control, STOR).await?;
        let moved = data::put_stream(stream, content).await?;
        done(control, STOR, moved).await
    }

    async fn curl_get(&self) -> Result<Trace, Failure> {
        let (mut control, stream) = self.curl_passive().await?;
        control.send(RETR).await?;
        begun(&mut control, RETR).await?;
        let moved = data::get_stream(stream, self.size).await?;
        done(control, RETR, moved).await
    }

    async fn curl_put(&self, content: Vec<u8>) -> Result<Trace, Failure> {
        let (mut control, stream) = self.curl_passive().await?;
        control.send(STOR).await?;
        begun(&mut control, STOR).await?;
        let moved = data::put_stream(stream, content).await?;
        done(control, STOR, moved).await
    }

    /// The order that damages files at a Globus server: the address first, then the type.
    async fn curl_passive(&self) -> Result<(Control, tokio::net::TcpStream), Failure> {
        let mut control = Control::login(self.door).await?;
        let (passive, code) = EPSV;
        let reply = control.command(passive, &[code]).await?;
        let stream = data::dial(data::announced(&reply, control.peer_ip()?)?).await?;
        control.command("TYPE I", &[200]).await?;
        Ok((control, stream))
    }

    async fn active_get(&self) -> Result<Trace, Failure> {
        let mut control = self.login(LFTP).await?;
        let (listener, address) = data::listen(control.local_ip()?).await?;
        control.command(&format!("PORT {}", comma_form(address)), &[200]).await?;
        control.send(RETR).await?;
        let stream = data::accept(&listener).await?;
        begun(&mut control, RETR).await?;
        let moved = data::get_stream(stream, self.size).await?;
        done(control, RETR, moved).await
    }

    async fn parallel_get(&self) -> Result<Trace, Failure> {
        let mut control = self.login(GLOBUS).await?;
        control.command("MODE E", &[200]).await?;
        let parallelism = format!("OPTS RETR Parallelism={PARALLEL},{PARALLEL},{PARALLEL};");
        control.command(&parallelism, &[200]).await?;
        let (listener, address) = data::listen(control.local_ip()?).await?;
        control.command(&format!("PORT {}", comma_form(address)), &[200]).await?;
        control.send(RETR).await?;
        begun(&mut control, RETR).await?;
        let moved = data::get_blocks(&listener, self.size).await?;
        done(control, RETR, moved).await
    }

    async fn parallel_put(&self, content: Vec<u8>) -> Result<Trace, Failure> {
        let mut control = self.login(GLOBUS).await?;
        control.command("MODE E", &[200]).await?;
        let reply = control.command("PASV", &[227]).await?;
        let address = data::announced(&reply, control.peer_ip()?)?;
        control.send(STOR).await?;
        let mut connections = Vec::new();
        for _ in 0..PARALLEL {
            connections.push(data::dial(address).await?);
        }
        begun(&mut control, STOR).await?;
        let moved = data::put_blocks(connections, content).await?;
        done(control, STOR, moved).await
    }

    /// Both control connections go through the door; what one server announces is handed to the other as it came.
    async fn third_party(&self) -> Result<Trace, Failure> {
        let mut from = self.login(GLOBUS).await?;
        let mut to = self.login(GLOBUS).await?;
        let reply = to.command("PASV", &[227]).await?;
        let SocketAddr::V4(address) = data::announced(&reply, to.peer_ip()?)? else {
            return Err(Failure::new("PASV announced an IPv6 address"));
        };
        to.send(STOR).await?;
        from.command(&format!("PORT {}", comma_form(address)), &[200]).await?;
        from.send(RETR).await?;
        begun(&mut to, STOR).await?;
        begun(&mut from, RETR).await?;
        from.expect(RETR, &[226]).await?;
        to.expect(STOR, &[226]).await?;
        let server = format!("{}, {}", from.server(), to.server());
        let control_bytes = from.quit().await? + to.quit().await?;
        Ok(Trace { server, moved: None, control_bytes })
    }

    async fn login(&self, app: &str) -> Result<Control, Failure> {
        let mut control = Control::login(self.door).await?;
        control.command("FEAT", &[211]).await?;
        if !app.is_empty() {
            let info = format!("SITE CLIENTINFO scheme=ftp;appname=\"{app}\";appver=\"gridfront demo\";");
            control.command(&info, &[250]).await?;
        }
        control.command("TYPE I", &[200]).await?;
        Ok(control)
    }
}

/// When the passive address comes: in the reply to PASV, or before the transfer's 150.
#[derive(Clone, Copy)]
enum Announced {
    AtOnce,
    Later,
}

const GLOBUS: &str = "globus-url-copy";
const GFAL: &str = "gfal2-util";
/// lftp does not say who it is
const LFTP: &str = "";
const PASV: (&str, u16) = ("PASV", 227);
const EPSV: (&str, u16) = ("EPSV", 229);
const RETR: &str = "RETR /source";
const STOR: &str = "STOR /target";

async fn begun(control: &mut Control, command: &str) -> Result<Reply, Failure> {
    control.expect(command, &[150, 125]).await
}

async fn done(mut control: Control, command: &str, moved: Moved) -> Result<Trace, Failure> {
    // markers come before the end of a MODE E put (GFD.20)
    while control.expect(command, &[226, 111, 112]).await?.code != 226 {}
    let server = control.server().to_owned();
    let control_bytes = control.quit().await?;
    Ok(Trace { server, moved: Some(moved), control_bytes })
}

/// Direct when a real server saw exactly the connections that the client saw, end for end.
fn seen_flow(moved: &Moved, carried: &[Carried]) -> Flow {
    let direct = |seen: &data::Seen| {
        carried.iter().any(|server| server.local == seen.peer && server.peer == seen.local)
    };
    match moved.seen.first() {
        Some(first) if moved.seen.iter().all(direct) => {
            Flow::Direct { between: first.peer.to_string(), connections: moved.seen.len() }
        }
        Some(first) => Flow::Indirect { through: first.peer.to_string() },
        None => Flow::Unknown,
    }
}

/// Direct when two servers saw the two ends of one connection.
fn third_party_flow(carried: &[Carried]) -> Flow {
    let [one, other] = carried else { return Flow::Unknown };
    // RETR read /source, STOR wrote /target
    let (from, to) = if one.path == "/source" { (one, other) } else { (other, one) };
    if from.local == to.peer && from.peer == to.local && from.bytes == to.bytes {
        Flow::Direct { between: format!("{} → {}", from.local.ip(), to.local), connections: 1 }
    } else {
        Flow::Indirect { through: from.peer.to_string() }
    }
}

fn random(size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
