//! What an idle session costs: a thousand of them, logged in, counted to the byte.
//!
//! The door runs in a process of its own, which is this test program again with nothing else in it, so that every
//! byte that its allocator counts is the door's. The real servers and the clients stay in the test's process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tempfile::TempDir;

use gridfront::config::{Global, Model, RealServer, VirtualServer};
use gridfront::control::{Daemon, LogFormat, Logging, Stop};

use crate::support::control_connection::ControlConnection;
use crate::support::local_door::unused_address;
use crate::support::process::tail;
use crate::support::stub_server::{Connection, StubServer};

/// Sessions held at once.
const SESSIONS: usize = 1000;
/// Most that each may take of the heap, in bytes.
const MOST_PER_SESSION: usize = 1800;
/// Most that the task of a session may take of that, in bytes.
const MOST_PER_TASK: usize = 704;
/// The test that starts this program again with itself.
const TEST: &str = "idle_memory::a_thousand_idle_sessions_take_less_than_1800_heap_bytes_each";
/// Tells the half of the test that is the door where the real server is.
const SERVER: &str = "GRIDFRONT_TEST_IDLE_MEMORY";
/// Before each figure, among what the test harness prints.
const FIGURE: &str = "heap:";

/// Counts what is allocated and not freed, in bytes as asked for.
pub struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to `System` as it came; counting touches nothing but an atomic.
#[allow(unsafe_code, reason = "an allocator is unsafe by its trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those that `System` wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Relaxed);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[test]
fn a_thousand_idle_sessions_take_less_than_1800_heap_bytes_each() {
    if let Ok(server) = std::env::var(SERVER) {
        return measured_door(server.parse().expect("an address"));
    }
    let server = StubServer::start(Connection::serve);
    let mut door = MeasuredDoor::start(server.address());
    // What is made once, and tables that have grown, are not the sessions'.
    let warm: Vec<ControlConnection> =
        (0..SESSIONS).map(|_| ControlConnection::logged_in(door.address)).collect();
    drop(warm);
    let before = door.heap(0);
    let held: Vec<ControlConnection> =
        (0..SESSIONS).map(|_| ControlConnection::logged_in(door.address)).collect();
    let after = door.heap(SESSIONS);
    drop(held);
    let left = door.heap(0);
    let each = after.saturating_sub(before) / SESSIONS;
    let task = gridfront::proxy::session_size();
    println!("heap: {each} bytes a session, {task} of them its task; {before} B idle, {left} B afterwards");
    assert!(each <= MOST_PER_SESSION, "{each} bytes a session");
    assert!(each >= task, "{each} bytes a session cannot be all, its task alone has {task}");
    assert!(task <= MOST_PER_TASK, "the task of a session has {task} bytes");
    assert!(left.saturating_sub(before) < 64 * 1024, "{before} bytes before, {left} after");
}

/// The door in its own process. Dropping it ends it.
struct MeasuredDoor {
    child: Child,
    questions: ChildStdin,
    figures: BufReader<ChildStdout>,
    log: TempDir,
    address: SocketAddr,
}

impl MeasuredDoor {
    fn start(server: SocketAddr) -> Self {
        let log = tempfile::tempdir().expect("a temporary directory");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "--nocapture", TEST])
            .env(SERVER, server.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log.path().join("log")).expect("a file for its log"))
            .spawn()
            .expect("this program starts again");
        let questions = child.stdin.take().expect("a pipe");
        let figures = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut door = Self { child, questions, figures, log, address: ([0; 4], 0).into() };
        door.address = door.figure().parse().expect("an address");
        door
    }

    /// Bytes of its heap once it holds `sessions`, each of them logged in.
    fn heap(&mut self, sessions: usize) -> usize {
        writeln!(self.questions, "{sessions}").expect("the door listens");
        self.figure().parse().expect("a number")
    }

    fn figure(&mut self) -> String {
        for line in self.figures.by_ref().lines() {
            let line = line.expect("a line");
            // The harness has begun the first line itself.
            if let Some((_, figure)) = line.split_once(FIGURE) {
                return figure.trim().to_owned();
            }
        }
        let log = std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default();
        panic!("the measured door has ended: {}", tail(&log, 20));
    }
}

impl Drop for MeasuredDoor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The half of the test that is the door.
fn measured_door(server: SocketAddr) {
    let directory = tempfile::tempdir().unwrap();
    let address = unused_address();
    let mut real_server = RealServer::new(server.ip());
    real_server.port = server.port();
    let mut virtual_server = VirtualServer::new("gridftp".into());
    virtual_server.addresses = vec![address.ip()];
    virtual_server.port = address.port();
    virtual_server.real_servers = vec![real_server];
    let model = Model {
        global: Global {
            admin_socket: directory.path().join("admin.sock"),
            threads: NonZeroUsize::new(1),
            ..Global::default()
        },
        virtual_servers: vec![virtual_server],
        ..Model::default()
    };
    let logging = Logging::start(LogFormat::Text).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let daemon = {
        let _inside = runtime.enter();
        Daemon::start(&model, logging.loss()).unwrap()
    };
    let services = daemon.services().to_vec();
    let (stop, stopping) = tokio::sync::watch::channel(Stop::No);
    let running = std::thread::spawn(move || runtime.block_on(daemon.run(stopping)));
    println!("{FIGURE} {address}");
    for wanted in std::io::stdin().lines() {
        let wanted: u32 = wanted.unwrap().parse().unwrap();
        let held = || services.iter().map(|service| service.virtual_server.active()).sum::<u32>();
        crate::support::deadline::until("the sessions", std::time::Duration::from_secs(10), || {
            if held() == wanted { Ok(()) } else { Err(format!("{} of {wanted}", held())) }
        })
        .unwrap();
        println!("{FIGURE} {}", settled());
    }
    stop.send_replace(Stop::AtOnce);
    assert!(running.join().unwrap());
}

/// What is allocated once nothing changes any more: the log gathers lines before it writes them.
fn settled() -> usize {
    let (mut last, mut quiet) = (0, 0);
    crate::support::deadline::until("a heap at rest", std::time::Duration::from_secs(10), || {
        let live = LIVE.load(Relaxed);
        quiet = if live == last { quiet + 1 } else { 0 };
        last = live;
        if quiet >= 20 { Ok(live) } else { Err(format!("{live} bytes")) }
    })
    .unwrap()
}
