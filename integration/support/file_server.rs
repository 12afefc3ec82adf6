//! A real server with data connections, by script: files in memory, and faults where a path asks for them.
//!
//! It judges the end of an upload as Globus servers do: a FIN is 226, anything else is not. A path that is downloaded says
//! what it holds, `/SIZE.SEED`; any path may end in `?FAULT=OFFSET`:
//!
//! | fault | at the offset the server |
//! |---|---|
//! | `reset` | resets the data connection and says 426 |
//! | `cut` | closes it in order, and says 426 |
//! | `die` | resets it and closes the control connection |
//! | `stop` | does nothing until [`FileServer::resume`] |
//! | `refuse` | has said 450 already, with no data connection |
//! | `late` | has not accepted yet: it refuses when the data connection is there |

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::deadline;
use super::seeded::content;
use super::stub_server::{Connection, StubServer};

/// For whatever a test waits for; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(20);
const CHUNK: usize = 64 * 1024;

/// See the module's text.
#[derive(Debug)]
pub struct FileServer {
    stub: StubServer,
    shared: Arc<Shared>,
}

/// What PASV and EPSV get.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Passive {
    #[default]
    Served,
    /// 500.
    Refused,
    /// No answer, ever.
    Silent,
    /// A port where nobody listens.
    Unreachable,
}

/// A transfer that is over for the server.
#[derive(Clone, Debug)]
pub struct Transferred {
    pub path: String,
    /// What the server said last.
    pub code: u16,
    /// Uploads: what has arrived.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    resumed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    passive: Passive,
    transferred: Vec<Transferred>,
    commands: Vec<String>,
    resumes: usize,
    stopped: usize,
}

/// One session.
struct Session<'a> {
    control: &'a mut Connection,
    shared: &'a Shared,
    listener: Option<TcpListener>,
    restart: usize,
}

/// How the data ended.
enum End {
    Clean,
    Broken,
    /// Of the server's own making.
    Reset,
    Cut,
    Died,
}

impl FileServer {
    /// On loopback.
    ///
    /// # Panics
    /// When there is no port for it.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let of_script = Arc::clone(&shared);
        let stub = StubServer::start(move |connection| {
            Session { control: connection, shared: &of_script, listener: None, restart: 0 }.serve()
        });
        Self { stub, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.stub.address()
    }

    /// Sessions that are open.
    pub fn open(&self) -> usize {
        self.stub.open()
    }

    /// From now on.
    pub fn set_passive(&self, passive: Passive) {
        self.shared.lock().passive = passive;
    }

    /// Lets a transfer go on that has stopped.
    pub fn resume(&self) {
        self.shared.lock().resumes += 1;
        self.shared.resumed.notify_all();
    }

    /// Waits until `count` transfers have stopped so far.
    ///
    /// # Panics
    /// When they do not.
    pub fn until_stopped(&self, count: usize) {
        deadline::until("a transfer that has stopped", PATIENCE, || {
            let stopped = self.shared.lock().stopped;
            if stopped >= count { Ok(()) } else { Err(format!("{stopped} have")) }
        })
        .unwrap();
    }

    /// How the transfer of this path ended here; waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub fn transferred(&self, path: &str) -> Transferred {
        deadline::until(path, PATIENCE, || {
            let state = self.shared.lock();
            let found = state.transferred.iter().find(|transferred| transferred.path == path);
            found.cloned().ok_or_else(|| format!("{:?}", state.commands))
        })
        .unwrap()
    }

    /// Every transfer that is over.
    pub fn all_transferred(&self) -> Vec<Transferred> {
        self.shared.lock().transferred.clone()
    }

    /// Every command that has come, of all sessions.
    pub fn commands(&self) -> Vec<String> {
        self.shared.lock().commands.clone()
    }
}

impl Session<'_> {
    fn serve(&mut self) -> io::Result<()> {
        self.control.say("220 files ready\r\n")?;
        loop {
            let line = String::from_utf8_lossy(&self.control.line()?).into_owned();
            self.shared.lock().commands.push(line.clone());
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "PASV" | "EPSV" => self.passive(verb.eq_ignore_ascii_case("PASV"))?,
                "REST" => {
                    self.restart = argument.parse().map_err(io::Error::other)?;
                    self.control.say("350 go on\r\n")?;
                }
                "SIZE" => {
                    let size = described(argument).map_or(0, |(size, _)| size);
                    self.control.say(&format!("213 {size}\r\n"))?;
                }
                "MODE" | "STRU" | "OPTS" => self.control.say("200 done\r\n")?,
                "ABOR" => self.control.say("226 aborted\r\n")?,
                "RETR" | "STOR" => self.transfer(verb.eq_ignore_ascii_case("RETR"), argument)?,
                _ => {
                    if !self.control.answer(line.as_bytes())? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn passive(&mut self, pasv: bool) -> io::Result<()> {
        self.listener = None;
        let passive = self.shared.lock().passive;
        match passive {
            Passive::Silent => return Ok(()),
            Passive::Refused => return self.control.say("500 no passive mode today\r\n"),
            Passive::Served | Passive::Unreachable => {}
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        self.listener = Some(listener).filter(|_| passive == Passive::Served);
        let [high, low] = port.to_be_bytes();
        self.control.say(&if pasv {
            format!("227 Entering Passive Mode (127,0,0,1,{high},{low})\r\n")
        } else {
            format!("229 Entering Extended Passive Mode (|||{port}|)\r\n")
        })
    }

    fn transfer(&mut self, get: bool, path: &str) -> io::Result<()> {
        let fault = path.split_once('?').and_then(|(_, fault)| fault.split_once('='));
        let fault = fault.map(|(kind, at)| (kind, at.parse::<usize>().unwrap_or(0)));
        let restart = std::mem::take(&mut self.restart);
        if let Some(("refuse", _)) = fault {
            self.finish(path, 450, Vec::new());
            return self.control.say("450 not now\r\n");
        }
        let Some(listener) = self.listener.take() else {
            return self.control.say("425 no data connection\r\n");
        };
        let Ok(mut stream) = accept(&listener) else {
            self.finish(path, 425, Vec::new());
            return self.control.say("425 nobody came\r\n");
        };
        if let Some(("late", _)) = fault {
            self.finish(path, 550, Vec::new());
            return self.control.say("550 no such file\r\n");
        }
        self.control.say("150 opening\r\n")?;
        let mut bytes = Vec::new();
        let end = if get {
            let (size, seed) = described(path).ok_or_else(|| io::Error::other("a path with a size"))?;
            let file = content(seed, size);
            self.send(&mut stream, file.get(restart..).unwrap_or_default(), fault)?
        } else {
            self.receive(&mut stream, &mut bytes, fault)?
        };
        match end {
            End::Clean => {
                // What a client takes for the end of a file is told first; the reply may overtake it all the same.
                drop(stream);
                self.finish(path, 226, bytes);
                self.control.say("226 done\r\n")
            }
            End::Broken => {
                drop(stream);
                self.finish(path, 426, bytes);
                self.control.say("426 connection broken\r\n")
            }
            End::Reset | End::Cut => {
                if matches!(end, End::Reset) {
                    reset(&stream);
                }
                drop(stream);
                self.finish(path, 426, bytes);
                self.control.say("426 failed here\r\n")
            }
            End::Died => {
                reset(&stream);
                drop(stream);
                self.finish(path, 0, bytes);
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
    }

    fn send(&self, stream: &mut TcpStream, file: &[u8], fault: Option<(&str, usize)>) -> io::Result<End> {
        let (before, after) = file.split_at(fault.map_or(file.len(), |(_, at)| at.min(file.len())));
        if stream.write_all(before).is_err() {
            return Ok(End::Broken);
        }
        if let Some((kind, _)) = fault
            && let Some(end) = self.act(kind)?
        {
            return Ok(end);
        }
        Ok(if stream.write_all(after).is_err() { End::Broken } else { End::Clean })
    }

    fn receive(
        &self,
        stream: &mut TcpStream,
        bytes: &mut Vec<u8>,
        mut fault: Option<(&str, usize)>,
    ) -> io::Result<End> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let room = fault.map_or(CHUNK, |(_, at)| (at - bytes.len()).min(CHUNK));
            if let Some((kind, _)) = fault.filter(|_| room == 0) {
                if let Some(end) = self.act(kind)? {
                    return Ok(end);
                }
                fault = None;
                continue;
            }
            match stream.read(&mut chunk[..room]) {
                Ok(0) => return Ok(End::Clean),
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
                Err(_) => return Ok(End::Broken),
            }
        }
    }

    /// What a fault does when its offset is reached; `None` when the transfer goes on after it.
    fn act(&self, kind: &str) -> io::Result<Option<End>> {
        match kind {
            "reset" => Ok(Some(End::Reset)),
            "cut" => Ok(Some(End::Cut)),
            "die" => Ok(Some(End::Died)),
            "stop" => {
                let mut state = self.shared.lock();
                state.stopped += 1;
                let due = state.resumes;
                let waited = self
                    .shared
                    .resumed
                    .wait_timeout_while(state, 10 * PATIENCE, |state| state.resumes == due);
                let waited = waited.unwrap_or_else(PoisonError::into_inner);
                if waited.1.timed_out() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(None) }
            }
            _ => Err(io::Error::other("no such fault")),
        }
    }

    fn finish(&self, path: &str, code: u16, bytes: Vec<u8>) {
        self.shared.lock().transferred.push(Transferred { path: path.to_owned(), code, bytes });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Size and seed of a path that can be downloaded.
fn described(path: &str) -> Option<(usize, u64)> {
    let (name, _) = path.split_once('?').unwrap_or((path, ""));
    let (size, seed) = name.trim_start_matches('/').split_once('.')?;
    Some((size.parse().ok()?, seed.parse().ok()?))
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let timeout = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(10 * PATIENCE))?;
    stream.set_write_timeout(Some(10 * PATIENCE))?;
    Ok(stream)
}

/// Ends a connection with RST in place of FIN as soon as it is dropped.
pub fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
