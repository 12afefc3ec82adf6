//! Sessions by the thousand, and a real server that takes them: all of them tasks of two threads.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, interval_at, timeout};

/// For one session of a few commands; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sessions that are being opened at once.
const OPENING: usize = 64;
/// Sessions under way at once, when the door does not keep up.
pub(super) const UNDER_WAY: usize = 500;
/// How often sessions are begun.
const BEAT: Duration = Duration::from_millis(10);
/// One session in so many ends by RST.
const CUT: u64 = 16;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A real server in good health, on loopback. Dropping it ends it.
#[derive(Debug)]
pub(super) struct RealServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

impl RealServer {
    pub(super) fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("a bound address");
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener of this thread");
                tokio::select! {
                    () = accept(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, stop: Some(stop) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        // Its thread may have ended.
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

async fn accept(listener: TcpListener) {
    loop {
        // Out of descriptors the test fails by its clients.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 ready\r\n").await?;
    // One buffer of a line: thousands wait.
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::with_capacity(128, reader).lines();
    while let Some(line) = lines.next_line().await? {
        let reply: &[u8] = match line.get(..4) {
            Some("USER") => b"331 password please\r\n",
            Some("PASS") => b"230 logged in\r\n",
            Some("PASV") => b"227 Entering Passive Mode (127,0,0,1,200,1)\r\n",
            Some("QUIT") => b"221 bye\r\n",
            _ => b"200 done\r\n",
        };
        writer.write_all(reply).await?;
        if line == "QUIT" {
            break;
        }
    }
    Ok(())
}

/// Reads a reply of one line.
async fn reply(stream: &mut BufReader<TcpStream>, code: &str) -> io::Result<()> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    if line.starts_with(code) { Ok(()) } else { Err(io::Error::other(line)) }
}

async fn log_in(door: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(door).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(128, stream);
    reply(&mut stream, "220").await?;
    for (command, code) in [("USER anonymous\r\n", "331"), ("PASS x@y\r\n", "230")] {
        stream.get_mut().write_all(command.as_bytes()).await?;
        reply(&mut stream, code).await?;
    }
    Ok(stream)
}

/// Sessions that are logged in and say nothing. Dropping them closes them.
#[derive(Debug)]
pub(super) struct Held {
    _streams: Vec<std::net::TcpStream>,
}

impl Held {
    /// # Panics
    /// When one cannot be had.
    pub(super) fn open(door: SocketAddr, count: usize) -> Self {
        let streams = runtime().block_on(async {
            let room = Arc::new(Semaphore::new(OPENING));
            let mut opening = Vec::with_capacity(count);
            for _ in 0..count {
                let permit = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
                opening.push(tokio::spawn(async move {
                    let stream = timeout(PATIENCE, log_in(door)).await;
                    drop(permit);
                    stream.expect("a login in time").expect("a login").into_inner().into_std()
                }));
            }
            let mut streams = Vec::with_capacity(count);
            for one in opening {
                streams.push(one.await.expect("a session").expect("a socket of the system's"));
            }
            streams
        });
        Self { _streams: streams }
    }
}

/// Sessions that come and go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Churn {
    pub(super) door: SocketAddr,
    /// A second.
    pub(super) rate: usize,
    pub(super) time: Duration,
    /// However long that takes.
    pub(super) least: u64,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Churned {
    pub(super) whole: u64,
    /// By their client, as was meant.
    pub(super) cut: u64,
    pub(super) failed: u64,
}

#[derive(Debug, Default)]
struct Counts {
    whole: AtomicU64,
    cut: AtomicU64,
    failed: AtomicU64,
}

impl Churn {
    /// Begins sessions at the rate, as far as the door keeps up, until the time is over and enough have come; waits for the last one.
    pub(super) fn run(self) -> Churned {
        let counts = Arc::new(Counts::default());
        runtime().block_on(async {
            let room = Arc::new(Semaphore::new(UNDER_WAY));
            let end = Instant::now() + self.time;
            let mut beat = interval_at(Instant::now(), BEAT);
            let each = self.rate * usize::try_from(BEAT.as_millis()).expect("some ms") / 1000;
            let mut number = 0;
            while Instant::now() < end || number < self.least {
                beat.tick().await;
                for _ in 0..each {
                    let permit = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
                    number += 1;
                    let (number, counts) = (number, Arc::clone(&counts));
                    tokio::spawn(async move {
                        let session = timeout(PATIENCE, session(self.door, number)).await;
                        let count = match session {
                            Ok(Ok(true)) => &counts.whole,
                            Ok(Ok(false)) => &counts.cut,
                            Ok(Err(_)) | Err(_) => &counts.failed,
                        };
                        count.fetch_add(1, Relaxed);
                        drop(permit);
                    });
                }
            }
            let all = u32::try_from(UNDER_WAY).expect("some hundred");
            let _ = room.acquire_many(all).await;
        });
        let Counts { whole, cut, failed } = &*counts;
        Churned { whole: whole.load(Relaxed), cut: cut.load(Relaxed), failed: failed.load(Relaxed) }
    }
}

/// True for a whole one, false for one that was cut.
async fn session(door: SocketAddr, number: u64) -> io::Result<bool> {
    let mut stream = log_in(door).await?;
    for (command, code) in [("TYPE I\r\n", "200"), ("PASV\r\n", "227")] {
        stream.get_mut().write_all(command.as_bytes()).await?;
        reply(&mut stream, code).await?;
    }
    if number.is_multiple_of(CUT) {
        let _ = socket2::SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO));
        return Ok(false);
    }
    stream.get_mut().write_all(b"QUIT\r\n").await?;
    reply(&mut stream, "221").await?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    Ok(true)
}
