//! The admin socket: one JSON object a line, a question in and an answer out.
//!
//! Its file has mode 0600: whoever may open it may steer the daemon.
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener as BlockingListener;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bans::BanStatus;
use super::reload::{NotReloaded, Reloaded};
use super::status::Status;
use super::steering::SteeredServer;
use super::vrrp::VrrpStatus;

/// Longest question, in bytes.
const MAX_QUESTION: u64 = 4096;

/// Longest answer that a client of ours reads, in bytes; a real server takes some 500.
const MAX_ANSWER: u64 = 16 << 20;

/// Clients that are listened to at once; more than operators and their scripts need.
const MAX_CLIENTS: usize = 32;

/// Clients that wait for `accept`; as many as the standard library lets wait.
const BACKLOG: i32 = 128;

/// How long to leave clients waiting when none can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for a reload, which may wait for others and for files.
pub(super) const RELOAD_PATIENCE: Duration = Duration::from_secs(60);

/// What may be asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Question {
    /// [`Status`].
    Status {
        /// With the sessions of users that the door knows by name.
        #[serde(default)]
        sessions: bool,
    },
    /// No new sessions for a real server, and an end for those that it has.
    Drain {
        /// Its name, or `VIRTUAL/NAME`.
        server: String,
        /// When what still runs is ended; never by default.
        deadline_ms: Option<u64>,
    },
    /// The real server is back.
    Undrain {
        /// As above.
        server: String,
    },
    /// Another weight for a real server.
    Weight {
        /// As above.
        server: String,
        /// From 0 on.
        weight: u32,
    },
    /// The configuration read anew, and put in force unless it is a dry run.
    Reload {
        /// Only say what would change.
        #[serde(default)]
        dry_run: bool,
    },
    /// Another host is to be master; the answer comes before it is.
    Failover {
        /// All that are master here where none is named.
        instance: Option<String>,
        /// When it happens whatever is under way; `drain_timeout` by default.
        deadline_ms: Option<u64>,
    },
    /// What was asked with that, and has not happened yet, is wanted no more.
    CancelFailover {
        /// All that wait where none is named.
        instance: Option<String>,
    },
    /// This host is to be master of nothing, or may be again.
    Maintenance {
        /// Which.
        on: bool,
        /// As above.
        deadline_ms: Option<u64>,
    },
    /// All VRRP instances.
    Vrrp {},
    /// What the others answer, with nothing changed.
    Server {
        /// As above.
        server: String,
    },
    /// Who is kept out for failed logins.
    Bans {},
    /// Let somebody in again.
    Unban {
        /// Any address of the client.
        client: IpAddr,
    },
}

/// What is answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To [`Question::Status`].
    Status(Box<Status>),
    /// To all that name a real server: each server of that name.
    Servers(Vec<SteeredServer>),
    /// To all that are about VRRP: the instances concerned.
    Vrrp(Vec<VrrpStatus>),
    /// To [`Question::Bans`].
    Bans(Vec<BanStatus>),
    /// To [`Question::Unban`]: the virtual servers that had banned it.
    Unbanned(Vec<String>),
    /// To [`Question::Reload`].
    Reloaded(Reloaded),
    /// To [`Question::Reload`]: nothing has changed.
    NotReloaded(NotReloaded),
    /// The question was not understood, or cannot be done.
    Error(String),
}

/// Why a daemon cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("{}: no daemon answers there ({source}); start it with `gridfront run`, or name its socket with --admin", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not for this user.
    #[error("{}: only the daemon's user and root may ask it; use sudo", .0.display())]
    Denied(PathBuf),
    /// It says nothing.
    #[error("{}: no answer within {} s; see the daemon's log", .0.display(), .1.as_secs())]
    Silent(PathBuf, Duration),
    /// It does not answer as it should.
    #[error("{}: no answer from the daemon ({source}); see its log", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It answers what this program does not know.
    #[error("{}: {text}; is the daemon of the same version as this program?", .path.display())]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        text: String,
    },
}

/// Opens the socket, in the place of one that a dead daemon left behind. The caller holds the daemon's lock.
///
/// # Errors
///
/// As [`remove`] and `bind(2)`.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    remove(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux gives the file the mode of the socket itself, so that it is right from the start. The umask would do
    // that, too, but it is one for all threads.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(BlockingListener::from(socket))
}

/// Removes the socket's file, if there is one.
///
/// # Errors
///
/// As [`check_place`] and `unlink(2)`.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    check_place(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a socket may stand there: nothing does, or a socket. A mistyped path must not cost a file.
///
/// # Errors
///
/// `AlreadyExists` when something else stands there, and as `lstat(2)`.
pub(super) fn check_place(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(()),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Answers questions for ever. A client that dawdles holds up nobody and is cut off.
pub(super) async fn serve<A>(listener: UnixListener, answer: impl Fn(Question) -> A + Clone + Send + 'static)
where
    A: Future<Output = Answer> + Send + 'static,
{
    let mut clients = JoinSet::new();
    let mut failing = false;
    loop {
        while clients.try_join_next().is_some() {}
        if clients.len() >= MAX_CLIENTS {
            clients.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                clients.spawn(converse(stream, answer.clone()));
            }
            Err(error) => {
                // Said once until it works again.
                if !failing {
                    tracing::warn!(%error, "admin socket: cannot accept; raise LimitNOFILE if descriptors are short");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse<A: Future<Output = Answer>>(
    stream: UnixStream,
    answer: impl Fn(Question) -> A,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(reader.take(MAX_QUESTION)).read_line(&mut line)).await??;
    let answer = match serde_json::from_str::<Question>(&line) {
        Ok(question) => {
            let patience = question.patience();
            let late = || Answer::Error(format!("nothing came of it within {} s yet", patience.as_secs()));
            timeout(patience, answer(question)).await.unwrap_or_else(|_| late())
        }
        Err(error) => Answer::Error(format!("question not understood: {error}")),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    timeout(PATIENCE, writer.write_all(text.as_bytes())).await?
}

impl Question {
    /// How long the answer may take.
    fn patience(&self) -> Duration {
        match self {
            Self::Reload { .. } => RELOAD_PATIENCE,
            _ => PATIENCE,
        }
    }
}

/// Asks a running daemon, for the command line.
///
/// # Errors
///
/// See [`AskError`].
pub fn ask(path: &Path, question: &Question) -> Result<Answer, AskError> {
    let mut stream = BlockingStream::connect(path).map_err(|source| AskError::connect(path, source))?;
    let patience = question.patience();
    let io = |source| AskError::io(path, patience, source);
    stream.set_read_timeout(Some(patience)).map_err(io)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(io)?;
    let mut line = serde_json::to_string(question).map_err(|error| io(error.into()))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(io)?;
    let mut answer = String::new();
    io::BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer).map_err(io)?;
    serde_json::from_str(&answer)
        .map_err(|error| AskError::NotUnderstood { path: path.into(), text: error.to_string() })
}

impl AskError {
    fn connect(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied(path.into()),
            _ => Self::Connect { path: path.into(), source },
        }
    }

    fn io(path: &Path, patience: Duration, source: io::Error) -> Self {
        match source.kind() {
            // What Linux says when SO_RCVTIMEO or SO_SNDTIMEO is over, socket(7).
            io::ErrorKind::WouldBlock => Self::Silent(path.into(), patience),
            _ => Self::Io { path: path.into(), source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn who_cannot_ask_is_told_what_mends_it() {
        let path = Path::new("/run/gridfront/admin.sock");
        let connect = |errno: Errno| AskError::connect(path, errno.into()).to_string();
        let io = |errno: Errno| AskError::io(path, PATIENCE, errno.into()).to_string();
        for (said, expected) in [
            (connect(Errno::ACCESS), "only the daemon's user and root may ask it; use sudo"),
            (connect(Errno::CONNREFUSED), "start it with `gridfront run`"),
            (connect(Errno::NOENT), "start it with `gridfront run`"),
            (io(Errno::AGAIN), "no answer within 5 s; see the daemon's log"),
            (io(Errno::CONNRESET), "Connection reset by peer"),
        ] {
            assert!(said.starts_with("/run/gridfront/admin.sock: ") && said.contains(expected), "{said}");
        }
    }
}
