//! Clients by the hundred, in this process: those that behave, and those that do what no program would.
//!
//! All run as tasks of one thread on the clients' machine. Whatever they wait for comes within the door's time-outs, or the
//! door hangs.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::ledger::{Ledger, Outcome};
use super::phase::Phase;
use super::programs::{LOST_RESET, compare, compare_bytes, deadline};
use super::world::{NAMED_PORT, World};
use crate::support::certificates::set_mode;
use crate::support::data_client::announced;
use crate::support::deadline::Stopwatch;
use crate::support::door::RELAYED_PORT;
use crate::support::grid::PORT;
use crate::support::seeded::{Seeded, content};

/// At once.
pub(super) const CLIENTS: usize = 200;
/// Between two sessions of one client, in milliseconds at most: a Globus server starts a process for each.
const PAUSE: usize = 10_000;
const LARGEST: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Conduct {
    Get,
    Put,
    /// A download that is read a little at a time at first.
    SlowGet,
    Polite,
    Pipelined,
    /// Logs in and is silent until the door ends it.
    Idle,
    /// Never logs in.
    Mute,
    /// RST at some point.
    Vanish,
    HalfClose,
    /// Asks for a port, or two, and leaves.
    Passive,
    Abort,
    /// Bytes that are no commands.
    Noise,
    /// Connects to ports of the relay that are none of its business.
    Stranger,
}

/// Where strangers come from: whoever has the clients' own address is no stranger to the door, and takes their ports.
pub(super) const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 199);

#[rustfmt::skip]
const CONDUCTS: [(usize, Conduct, &str); 13] = [
    (8, Conduct::Get,       "simulated get"),
    (8, Conduct::Put,       "simulated put"),
    (3, Conduct::SlowGet,   "simulated slow get"),
    (8, Conduct::Polite,    "log in, NOOP, QUIT"),
    (4, Conduct::Pipelined, "commands in one piece"),
    (3, Conduct::Idle,      "idle until the door ends it"),
    (3, Conduct::Mute,      "no login until the door ends it"),
    (6, Conduct::Vanish,    "reset at any point"),
    (3, Conduct::HalfClose, "half-closed"),
    (4, Conduct::Passive,   "PASV and gone"),
    (4, Conduct::Abort,     "ABOR in a download"),
    (2, Conduct::Noise,     "noise"),
    (2, Conduct::Stranger,  "stranger at relay ports"),
];

/// What the tasks share.
#[derive(Clone)]
pub(super) struct Crowd {
    pub(super) door: IpAddr,
    pub(super) ledger: Arc<Ledger>,
    pub(super) phase: Arc<Phase>,
    /// The servers' files.
    pub(super) data: PathBuf,
    /// For the diagnosis when one hangs.
    pub(super) world: Arc<Mutex<World>>,
}

impl Crowd {
    /// Runs all of them until the end. To be called on the clients' machine.
    pub(super) fn run(&self, mut numbers: Seeded) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let tasks = tokio::task::LocalSet::new();
        for number in 0..CLIENTS {
            tasks.spawn_local(self.clone().client(number, Seeded::new(numbers.next())));
        }
        runtime.block_on(tasks);
    }

    async fn client(self, number: usize, mut numbers: Seeded) {
        for round in 0.. {
            sleep(Duration::from_millis(numbers.within(0..PAUSE) as u64)).await;
            if self.phase.is_over() {
                return;
            }
            let (_, conduct, name) = draw(&mut numbers);
            let file = format!("simulated-{number}-{round}");
            let calm = self.phase.calm();
            let watch = Stopwatch::start();
            let sockets = RefCell::default();
            let outcome =
                match timeout(deadline(), self.session(conduct, &file, &mut numbers, &sockets)).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(error)) => Outcome::Failed(format!("{file}: {error}")),
                    Err(_) => self.judge_late(&file, &sockets.take()),
                };
            self.ledger.enter(name, outcome, self.phase.calm_since(calm), watch.elapsed());
            let _ = std::fs::remove_file(self.data.join(file));
        }
    }

    /// Whose fault it is that nothing has come.
    fn judge_late(&self, file: &str, sockets: &[SocketAddr]) -> Outcome {
        let world = super::lock(&self.world);
        if world.holds(sockets) {
            Outcome::Hung(format!("{file}, {sockets:?}\n{}", world.diagnosis()))
        } else {
            Outcome::Failed(LOST_RESET.to_owned())
        }
    }

    /// Notes its own sockets in `sockets`.
    async fn session(
        &self,
        conduct: Conduct,
        name: &str,
        numbers: &mut Seeded,
        sockets: &RefCell<Vec<SocketAddr>>,
    ) -> io::Result<Outcome> {
        let port = [PORT, RELAYED_PORT, PORT, RELAYED_PORT, NAMED_PORT][numbers.within(0..5)];
        let mut client = Client::connect(SocketAddr::new(self.door, port), sockets).await?;
        let size = numbers.size(LARGEST);
        match conduct {
            Conduct::Get | Conduct::SlowGet | Conduct::Abort => {
                let file = content(numbers.next(), size);
                std::fs::write(self.data.join(name), &file)?;
                set_mode(&self.data.join(name), 0o644);
                client.log_in().await?;
                if conduct == Conduct::Abort {
                    return client.abort(name, numbers).await;
                }
                let bytes = client.get(name, conduct == Conduct::SlowGet).await?;
                client.quit().await?;
                Ok(compare_bytes(&file, &bytes, name))
            }
            Conduct::Put => {
                let file = content(numbers.next(), size);
                client.log_in().await?;
                client.put(name, &file).await?;
                // Acknowledged: the good-bye changes nothing.
                let _ = client.quit().await;
                Ok(compare(&file, &self.data.join(name), name))
            }
            Conduct::Polite => {
                client.log_in().await?;
                for _ in 0..numbers.within(1..20) {
                    client.expect("NOOP", "200").await?;
                    sleep(Duration::from_millis(numbers.within(0..100) as u64)).await;
                }
                client.quit().await
            }
            Conduct::Pipelined => {
                client.log_in().await?;
                let count = numbers.within(2..100);
                client.send(&"NOOP\r\n".repeat(count)).await?;
                for _ in 0..count {
                    client.reply("200").await?;
                }
                client.quit().await
            }
            Conduct::Idle => {
                client.log_in().await?;
                client.until_ended().await
            }
            Conduct::Mute => client.until_ended().await,
            Conduct::Vanish => {
                if numbers.within(0..2) == 0 {
                    client.log_in().await?;
                    client.send("PASV\r\nLIST\r\n").await?;
                    sleep(Duration::from_millis(numbers.within(0..30) as u64)).await;
                }
                client.reset();
                Ok(Outcome::Identical)
            }
            Conduct::HalfClose => {
                client.log_in().await?;
                client.send("NOOP\r\nNOOP\r\n").await?;
                client.stream.get_mut().shutdown().await?;
                client.until_ended().await
            }
            Conduct::Passive => {
                client.log_in().await?;
                for _ in 0..numbers.within(1..3) {
                    client.passive().await?;
                }
                if numbers.within(0..2) == 0 { client.quit().await } else { Ok(Outcome::Identical) }
            }
            Conduct::Noise => {
                let noise = content(numbers.next(), numbers.within(1..4000));
                // A door that has seen enough closes; the rest may meet a reset.
                let _ = client.stream.get_mut().write_all(&noise).await;
                let _ = client.send("\r\nQUIT\r\n").await;
                client.until_ended().await
            }
            Conduct::Stranger => {
                for _ in 0..20 {
                    let port = u16::try_from(numbers.within(52_000..53_001)).expect("a port");
                    let socket = TcpSocket::new_v4().expect("a socket");
                    socket.bind((STRANGER, 0).into()).expect("an address of this machine");
                    if let Ok(stream) = socket.connect((self.door, port).into()).await {
                        drop(stream);
                    }
                }
                client.quit().await
            }
        }
    }
}

fn draw(numbers: &mut Seeded) -> (usize, Conduct, &'static str) {
    let mut left = numbers.within(0..CONDUCTS.iter().map(|(weight, ..)| weight).sum());
    for row in CONDUCTS {
        match left.checked_sub(row.0) {
            Some(rest) => left = rest,
            None => return row,
        }
    }
    unreachable!("a number below the sum of all weights")
}

/// One session. What is not as it should be is an error: the door, or a server behind it, has given up.
struct Client<'a> {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    sockets: &'a RefCell<Vec<SocketAddr>>,
}

impl<'a> Client<'a> {
    async fn connect(address: SocketAddr, sockets: &'a RefCell<Vec<SocketAddr>>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        sockets.borrow_mut().push(stream.local_addr()?);
        Ok(Self { stream: BufReader::new(stream), address, sockets })
    }

    async fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes()).await
    }

    /// The last line of the next reply.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let bytes = line.as_bytes();
            // What is no reply is skipped, as clients do.
            if bytes.len() >= 4
                && bytes[..3].iter().all(u8::is_ascii_digit)
                && bytes[3] == b' '
                && bytes[0] < b'6'
            {
                return Ok(line);
            }
        }
    }

    async fn reply(&mut self, code: &str) -> io::Result<String> {
        let line = self.line().await?;
        if line.starts_with(code) { Ok(line) } else { Err(io::Error::other(line)) }
    }

    async fn expect(&mut self, command: &str, code: &str) -> io::Result<String> {
        self.send(&format!("{command}\r\n")).await?;
        let reply = self.reply(code).await;
        reply.map_err(|error| io::Error::other(format!("{command}: {error}")))
    }

    async fn log_in(&mut self) -> io::Result<()> {
        self.reply("220").await?;
        self.expect("USER anonymous", "331").await?;
        self.expect("PASS x@y", "230").await?;
        self.expect("TYPE I", "200").await?;
        Ok(())
    }

    async fn quit(&mut self) -> io::Result<Outcome> {
        self.send("QUIT\r\n").await?;
        self.until_ended().await
    }

    /// Whatever is said, and however the stream ends, it does.
    async fn until_ended(&mut self) -> io::Result<Outcome> {
        let mut bytes = [0; 1024];
        while self.stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        Ok(Outcome::Identical)
    }

    async fn passive(&mut self) -> io::Result<SocketAddr> {
        let reply = self.expect("PASV", "227").await?;
        let port = announced(&reply).ok_or_else(|| io::Error::other(reply))?.port();
        // As curl and Python do.
        Ok(SocketAddr::new(self.address.ip(), port))
    }

    async fn begin(&mut self, command: &str) -> io::Result<TcpStream> {
        let data = TcpStream::connect(self.passive().await?).await?;
        self.sockets.borrow_mut().push(data.local_addr()?);
        self.expect(command, "1").await?;
        Ok(data)
    }

    async fn get(&mut self, name: &str, slowly: bool) -> io::Result<Vec<u8>> {
        let mut data = self.begin(&format!("RETR {name}")).await?;
        let mut bytes = Vec::new();
        if slowly {
            for _ in 0..100 {
                let mut some = [0; 512];
                let read = data.read(&mut some).await?;
                bytes.extend_from_slice(&some[..read]);
                sleep(Duration::from_millis(10)).await;
            }
        }
        data.read_to_end(&mut bytes).await?;
        self.reply("226").await?;
        Ok(bytes)
    }

    async fn put(&mut self, name: &str, file: &[u8]) -> io::Result<()> {
        let mut data = self.begin(&format!("STOR {name}")).await?;
        data.write_all(file).await?;
        data.shutdown().await?;
        self.reply("226").await.map(drop)
    }

    async fn abort(&mut self, name: &str, numbers: &mut Seeded) -> io::Result<Outcome> {
        let mut data = self.begin(&format!("RETR {name}")).await?;
        let mut some = vec![0; numbers.within(1..64 * 1024)];
        let _ = data.read(&mut some).await?;
        self.send("ABOR\r\n").await?;
        drop(data);
        // Of the transfer and of ABOR, in whatever order a server has.
        self.line().await?;
        self.quit().await
    }

    fn reset(self) {
        let _ = socket2::SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO));
    }
}
