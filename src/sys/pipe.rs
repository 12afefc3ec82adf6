//! A pipe as a place for bytes that go from one socket to another without entering the process: splice(2).
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::data_socket::unread;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// What a pipe holds, in bytes: `pipe-max-size` as kernels come. Four streams at once take a third less processor time than
/// with a quarter of it, and half of what they take with the 64 KiB that a pipe has by itself. It bounds what the door holds
/// of a connection besides the kernel's socket buffers.
pub const CAPACITY: usize = 1 << 20;

/// A pipe whose two ends are ours.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// Descriptors or memory are short.
    pub fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Without privileges a user has `pipe-user-pages-soft` pages for all pipes together. A smaller pipe works, too.
        let _ = fcntl_setpipe_size(&write, CAPACITY);
        Ok(Self { read, write })
    }

    /// Moves what a socket has received into the pipe, which must be empty: then `WouldBlock` says that the socket has
    /// nothing, and never that the pipe is full. 0 is the end of what the peer sends.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, or how the connection broke. That is told once: a second call would say 0, as after a clean end.
    /// `InvalidData` at the mark of urgent data, where splice(2) stops as at an end; no data connection has any.
    pub fn fill_from(&self, socket: &impl AsFd) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(socket, None, &self.write, None, CAPACITY, flags) {
            Ok(0) if unread(socket)? > 0 => Err(io::ErrorKind::InvalidData.into()),
            moved => Ok(moved?),
        }
    }

    /// Moves at most `held` bytes of the pipe into a socket's send buffer.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the peer has to take something first, or how the connection broke.
    pub fn drain_to(&self, socket: &impl AsFd, held: usize) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        Ok(splice(&self.read, None, socket, None, held, flags)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_pass_and_an_end_is_told_from_silence() {
        let ((mut client, from), (to, mut server)) = (connection(), connection());
        from.set_nonblocking(true).unwrap();
        let pipe = Pipe::new().unwrap();
        let silence = pipe.fill_from(&from).unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
        client.write_all(b"data").unwrap();
        drop(client);
        let held = loop {
            match pipe.fill_from(&from) {
                Ok(held) => break held,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert_eq!((held, pipe.drain_to(&to, held).unwrap()), (4, 4));
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"data");
        from.set_nonblocking(false).unwrap();
        assert_eq!(pipe.fill_from(&from).unwrap(), 0, "the peer's FIN");
    }

    #[test]
    fn urgent_data_is_no_end() {
        let listener = crate::sys::data_socket::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (from, _) = listener.accept().unwrap();
        let socket = socket2::SockRef::from(&client);
        socket.send(&[b'a'; 100]).unwrap();
        socket.send_out_of_band(b"!").unwrap();
        socket.send(&[b'b'; 100]).unwrap();
        drop(client);
        while !crate::sys::data_socket::end_has_arrived(&from) {
            std::thread::yield_now();
        }
        let pipe = Pipe::new().unwrap();
        let mut before = 0;
        let error = loop {
            match pipe.fill_from(&from) {
                Ok(moved) => {
                    assert!(moved > 0, "a cut file is not taken for a whole one");
                    before += moved;
                }
                Err(error) => break error,
            }
        };
        assert_eq!((before, error.kind()), (100, io::ErrorKind::InvalidData));
    }

    #[test]
    fn a_reset_is_told_once() {
        let (client, from) = connection();
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        let pipe = Pipe::new().unwrap();
        let error = pipe.fill_from(&from).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(pipe.fill_from(&from).unwrap(), 0, "which is why a flow ends at its first error");
    }
}
