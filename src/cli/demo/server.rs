//! An embedded real server: a small anonymous FTP server that speaks as globus-gridftp-server does, on a thread and an
//! address of its own, over one directory. For trying out the door; tests of the door use real servers.

mod control_connection;
mod data_channel;
mod directory;
mod listing;
mod session;
mod transfer;
mod wording;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener as StdListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::journal::Journal;
use directory::Directory;
use session::Session;

/// Sessions of one server; as globus-gridftp-server's `connections_max`, beyond it 421.
const MAX_SESSIONS: usize = 128;
/// Rest after accept(2) failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the sessions of a server share.
struct Shared {
    name: String,
    address: SocketAddrV4,
    root: Directory,
    journal: Arc<Journal>,
}

/// A running server; dropping it ends its sessions.
pub(super) struct Server {
    name: String,
    address: SocketAddrV4,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the files below `root` at `host`, on a free port.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, the directory cannot be opened, or no thread can be had.
    pub(super) fn start(name: &str, host: Ipv4Addr, root: &Path, journal: Arc<Journal>) -> io::Result<Self> {
        let listener = StdListener::bind((host, 0))?;
        listener.set_nonblocking(true)?;
        let address = SocketAddrV4::new(host, listener.local_addr()?.port());
        let shared =
            Arc::new(Shared { name: name.to_owned(), address, root: Directory::open(root)?, journal });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { name: name.to_owned(), address, stop: Some(stop), thread: Some(thread) })
    }

    /// As in its greeting.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Of its control port.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::V4(self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // a panic there was reported by the panic hook
            let _ = thread.join();
        }
    }
}

async fn accept(listener: StdListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(MAX_SESSIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refuse(stream).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _place = place;
            let _ = stream.set_nodelay(true);
            // a broken control connection is the client's affair and ends this session only
            let _ = Session::new(stream, shared).run().await;
        });
    }
}

/// The line is short enough for the socket's buffer, so this does not wait for the client.
async fn refuse(mut stream: TcpStream) {
    let _ = stream
        .write_all(b"421 Service busy: Connection limit exceeded. Please try again later. Closing control connection.\r\n")
        .await;
}

#[cfg(test)]
mod tests;
