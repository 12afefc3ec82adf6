//! Connections to a port of the virtual address: servers that take what comes until its end and say so, and their clients.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::measuring::Outcome;
use super::support::netns::Machine;

/// For a connection, and for an answer.
const ANSWER: Duration = Duration::from_secs(30);
const BLOCK: usize = 256 << 10;

/// One port of a machine. Dropping it ends it.
pub(crate) struct Sink {
    listener: TcpListener,
    /// The one that it hears now.
    connection: Arc<Mutex<Option<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    pub(crate) fn start(machine: &Machine, port: u16) -> Outcome<Self> {
        let listener = machine.enter(|| TcpListener::bind(("::", port)))?;
        let ours = listener.try_clone()?;
        let connection = Arc::<Mutex<Option<TcpStream>>>::default();
        let heard = Arc::clone(&connection);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; BLOCK];
            while let Ok((mut stream, _)) = ours.accept() {
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = stream.try_clone().ok();
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
                let _ = stream.write_all(b".");
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        });
        Ok(Self { listener, connection, thread: Some(thread) })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        // A guest that was ended in the middle of a check says no good-bye.
        if let Some(stream) = &*self.connection.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// So many connections one after the other, each to its end: how many a second.
pub(crate) fn rate(client: &Machine, at: SocketAddr, count: u32) -> Outcome<f64> {
    let took = client.enter(|| -> std::io::Result<Duration> {
        let start = Instant::now();
        for _ in 0..count {
            send(at, 0)?;
        }
        Ok(start.elapsed())
    })?;
    Ok(f64::from(count) / took.as_secs_f64())
}

/// So many bytes in one connection: MiB a second, until the server has them all.
pub(crate) fn bulk(client: &Machine, at: SocketAddr, mebibytes: u32) -> Outcome<f64> {
    let took = client.enter(|| -> std::io::Result<Duration> {
        let start = Instant::now();
        send(at, mebibytes)?;
        Ok(start.elapsed())
    })?;
    Ok(f64::from(mebibytes) / took.as_secs_f64())
}

fn send(at: SocketAddr, mebibytes: u32) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&at, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    if mebibytes > 0 {
        let block = vec![b'.'; BLOCK];
        for _ in 0..mebibytes * 4 {
            stream.write_all(&block)?;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_exact(&mut [0])
}
