//! `gridfront drain`, `undrain` and `weight`.
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::daemon::{fail, question, say};
use super::{DrainArgs, ServerArgs, UndrainArgs, WaitArgs, WeightArgs};
use crate::control::admin::{Answer, Question};
use crate::control::{ServerState, SteeredServer};

/// How often to look whether it has come to what is waited for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What a wait has come to.
enum Waited {
    NotYet,
    Done,
    InVain(String),
}

pub(super) fn drain(args: &DrainArgs) -> ExitCode {
    let deadline_ms = args.deadline.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let order = Question::Drain { server: args.server.server.clone(), deadline_ms };
    steer(&args.server, &order, &args.wait, is_empty)
}

pub(super) fn undrain(args: &UndrainArgs) -> ExitCode {
    let order = Question::Undrain { server: args.server.server.clone() };
    steer(&args.server, &order, &args.wait, is_up)
}

pub(super) fn weight(args: &WeightArgs) -> ExitCode {
    let order = Question::Weight { server: args.server.server.clone(), weight: args.weight.into() };
    steer(&args.server, &order, &WaitArgs { wait: false, timeout: None }, |_| Waited::Done)
}

/// Whether a drained server holds no session any more.
fn is_empty(server: &SteeredServer) -> Waited {
    let name = &server.real_server.name;
    match &server.real_server.drain {
        None => Waited::InVain(format!("{name} is in service again: somebody has said undrain")),
        Some(_) if server.real_server.sessions > 0 => Waited::NotYet,
        Some(drain) if drain.ended > 0 => Waited::InVain(format!(
            "{name} holds no session any more; the deadline has ended {}",
            drain.ended
        )),
        Some(_) => Waited::Done,
    }
}

/// Whether a server may get sessions.
fn is_up(server: &SteeredServer) -> Waited {
    let name = &server.real_server.name;
    match server.real_server.state {
        // Nobody is to get sessions there, whatever was said: the one of that name that is in the configuration counts.
        ServerState::Removed => Waited::Done,
        _ if server.real_server.drain.is_some() => Waited::InVain(format!("{name} was drained again")),
        ServerState::Down => Waited::NotYet,
        _ => Waited::Done,
    }
}

fn steer(
    of: &ServerArgs,
    order: &Question,
    wait: &WaitArgs,
    judge: impl Fn(&SteeredServer) -> Waited,
) -> ExitCode {
    let servers = match servers(of, order) {
        Ok(servers) => servers,
        Err(error) => return fail(&error),
    };
    show(&servers);
    if !wait.wait {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    match runtime.map(|runtime| runtime.block_on(wait_for(of, wait.timeout, judge))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error),
        Err(error) => fail(&format!("cannot wait: {error}")),
    }
}

/// Until every server has come to it; what keeps one from that is told only when all have ended their way.
async fn wait_for(
    of: &ServerArgs,
    limit: Option<Duration>,
    judge: impl Fn(&SteeredServer) -> Waited,
) -> Result<(), String> {
    let (start, look) = (Instant::now(), Question::Server { server: of.server.clone() });
    loop {
        let servers = servers(of, &look)?;
        let mut waits = false;
        let mut in_vain = Vec::new();
        for server in &servers {
            match judge(server) {
                Waited::NotYet => waits = true,
                Waited::Done => {}
                Waited::InVain(why) => in_vain.push(why),
            }
        }
        if !waits {
            show(&servers);
            return if in_vain.is_empty() { Ok(()) } else { Err(in_vain.join("\n")) };
        }
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            show(&servers);
            return Err("it has not come to that within --timeout; nothing was taken back".into());
        }
        sleep(LOOK_AGAIN_AFTER).await;
    }
}

fn servers(of: &ServerArgs, asked: &Question) -> Result<Vec<SteeredServer>, String> {
    match question(&of.daemon, asked)? {
        Answer::Servers(servers) => Ok(servers),
        _ => Err("the daemon answers another question; is it of the same version?".into()),
    }
}

fn show(servers: &[SteeredServer]) {
    for server in servers {
        say(&format!("{server}\n"));
    }
}
