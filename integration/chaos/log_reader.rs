//! Who reads the door's log: into a file, unless it is told to get stuck.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

const BEAT: Duration = Duration::from_millis(20);

/// The reading end of the door's standard error.
#[derive(Debug)]
pub(super) struct LogReader {
    stuck: Arc<AtomicBool>,
}

impl LogReader {
    /// The reader, and where the door has to write. It ends when the door has.
    pub(super) fn start(log: &Path) -> (Self, File) {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        // One page: a reader that is stuck is noticed at once.
        rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("a pipe of one page");
        let mut file = File::create(log).expect("a file of ours");
        let stuck = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&stuck);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                while of_thread.load(SeqCst) {
                    std::thread::park_timeout(BEAT);
                }
                match reader.read(&mut chunk) {
                    Ok(0) | Err(_) => return,
                    // A directory that is being removed takes nothing more.
                    Ok(read) if file.write_all(&chunk[..read]).is_err() => return,
                    Ok(_) => {}
                }
            }
        });
        (Self { stuck }, File::from(OwnedFd::from(writer)))
    }

    pub(super) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, SeqCst);
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.set_stuck(false);
    }
}
