//! `gridfront run`: a daemon in the foreground.
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::{RunArgs, demo};
use crate::config::{Model, report};
use crate::control::{AFTER_DRAIN, Daemon, LogFormat, LogLoss, Logging, ReloadCause, Reloader, Stop, load};
use crate::proxy::Service;
use crate::sys;

/// The last lines of the logs.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Serves until a signal ends it.
pub(super) fn run(args: &RunArgs) -> ExitCode {
    let accepted = match load(&args.config.config) {
        Ok(accepted) => accepted,
        Err(problems) => return refuse(args.log.into(), &problems),
    };
    let logging = match Logging::start(args.log.into()) {
        Ok(logging) => logging,
        Err(error) => return fail(&format!("cannot start a thread for the log: {error}\n")),
    };
    log_panics();
    for warning in &accepted.warnings {
        tracing::warn!("{warning}");
    }
    match runtime()
        .and_then(|runtime| run_to_end(runtime, serve(&args.config.config, &accepted.model, logging.loss())))
    {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Behind the warnings, and in the form that was asked for; the log ends with what waits in it written.
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(file: &Path, model: &Model, loss: LogLoss) -> Result<bool, String> {
    // Before READY: a signal that comes right after it must find us.
    let signals = Signals::new().map_err(|error| format!("cannot watch signals: {error}"))?;
    let passed = sys::passed_sockets::take().map_err(|error| error.to_string())?;
    let daemon = Daemon::start_with_names(model, loss, passed).await.map_err(|error| error.to_string())?;
    let reloader = daemon.reloads_from(file);
    sys::service_manager::ready();
    let informing = tokio::spawn(daemon.inform_service_manager());
    let (stop, stopping) = watch::channel(Stop::No);
    let signals = tokio::spawn(signals.forward(stop, reloader));
    let sound = daemon.run(stopping).await;
    signals.abort();
    informing.abort();
    Ok(sound)
}

/// The signals of a daemon: the first that ends it drains it, the second ends it at once; SIGHUP reloads it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn forward(mut self, stop: watch::Sender<Stop>, reloader: Reloader) {
        for step in [Stop::Drain, Stop::AtOnce] {
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => break,
                    _ = self.interrupt.recv() => break,
                    _ = self.hangup.recv() => {
                        let reloader = reloader.clone();
                        // Beside: it may take its time, and the log says what came of it.
                        drop(tokio::spawn(async move { reloader.reload(ReloadCause::Signal, false).await }));
                    }
                }
            }
            if step == Stop::Drain {
                sys::service_manager::stopping(reloader.drain_timeout() + AFTER_DRAIN + LAST_LINES);
            }
            stop.send_replace(step);
        }
    }
}

/// A daemon on a thread of its own, for the demo.
struct Background {
    services: Vec<Arc<Service>>,
    stop: watch::Sender<Stop>,
    thread: JoinHandle<()>,
}

/// Starts the daemon that a configuration text describes; it says nothing by itself.
pub(super) fn start_in_background(path: &Path, text: &str) -> Result<Box<dyn demo::Door>, String> {
    let accepted = crate::config::toml::parse(path, text).map_err(|problems| report(&problems))?;
    let runtime = runtime()?;
    let daemon = {
        let _inside = runtime.enter();
        Daemon::start(&accepted.model, LogLoss::default()).map_err(|error| error.to_string())?
    };
    let services = daemon.services();
    let (stop, stopping) = watch::channel(Stop::No);
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            run_to_end(runtime, daemon.run(stopping));
        })
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(Box::new(Background { services, stop, thread }))
}

impl demo::Door for Background {
    fn sessions(&self) -> u32 {
        self.services.iter().map(|service| service.virtual_server.active()).sum()
    }

    fn stop(self: Box<Self>) {
        self.stop.send_replace(Stop::AtOnce);
        // A panic there was shown when it happened.
        let _ = self.thread.join();
    }
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| format!("cannot start: {error}"))
}

/// Files are read on threads of their own, and one on a file system that hangs must not keep the daemon.
fn run_to_end<F: Future>(runtime: Runtime, work: F) -> F::Output {
    let output = runtime.block_on(work);
    runtime.shutdown_background();
    output
}

/// Panics go where everything goes, in one line.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(place, text, "panic");
    }));
}

/// In the form that was asked for: whoever reads JSON reads a line of it for each problem.
fn refuse(format: LogFormat, problems: &str) -> ExitCode {
    match Logging::start(format) {
        Ok(_logging) if format == LogFormat::Json => {
            problems.lines().for_each(|line| tracing::error!("{line}"));
            ExitCode::FAILURE
        }
        _ => fail(problems),
    }
}

fn fail(text: &str) -> ExitCode {
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_does_not_keep_the_daemon() {
        let (hangs, file) = std::sync::mpsc::channel::<()>();
        run_to_end(runtime().unwrap(), async move {
            drop(tokio::task::spawn_blocking(move || file.recv()));
        });
        drop(hangs);
    }
}
