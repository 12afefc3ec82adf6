//! Commands over a real socket, as an unfriendly client sends them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use super::*;
use crate::cli::demo::address::parse_comma_form;

const FILE_BYTES: u64 = 1 << 30;

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn to(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut connection = Self(BufReader::new(stream));
        assert_eq!(connection.reply(), "220 demo-s1 Gridfront demo server ready.\r\n");
        connection
    }

    fn logged_in_to(server: &Server) -> Self {
        let mut connection = Self::to(server);
        assert!(connection.say("USER anonymous").starts_with("331 "));
        assert!(connection.say("PASS x").starts_with("230 "));
        connection
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.reply()
    }

    /// All lines of one reply.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "closed after {reply}");
            reply += &line;
            if line.as_bytes().get(3) == Some(&b' ') && line.as_bytes()[0].is_ascii_digit() {
                return reply;
            }
        }
    }

    fn passive(&mut self) -> TcpStream {
        let reply = self.say("PASV");
        let numbers = reply.split(['(', ')']).nth(1).unwrap();
        TcpStream::connect(parse_comma_form(numbers).unwrap()).unwrap()
    }
}

fn served() -> (tempfile::TempDir, Server) {
    let root = tempfile::tempdir().unwrap();
    // sparse, and far more than socket buffers hold
    std::fs::File::create(root.path().join("file")).unwrap().set_len(FILE_BYTES).unwrap();
    let host = Ipv4Addr::new(127, 0, 0, 11);
    let server = Server::start("demo-s1", host, root.path(), Arc::default()).unwrap();
    (root, server)
}

#[test]
fn replies_table() {
    let (_root, server) = served();
    let mut connection = Connection::to(&server);
    #[rustfmt::skip]
    let before_login = [
        ("RETR file", "530 "), ("OPTS UTF8 ON", "530 "), ("AUTH GSSAPI", "504 "), ("FEAT", "211-Extensions"),
        ("PASS x", "503 "), ("USER alice", "331 "), ("PASS x", "530 "), ("USER ftp", "331 "), ("pass x", "230 "),
    ];
    #[rustfmt::skip]
    let after_login = [
        ("USER anonymous", "503 "), ("PWD", "257 \"/\""), ("CWD ../..", "250 "), ("CWD file", "550-"), ("CWD nowhere", "550-"),
        ("SIZE file", "213 1073741824"), ("SIZE ../../../etc/passwd", "550-"), ("MLST file", "250-status of file"),
        ("TYPE E", "501 "), ("TYPE L 8", "200 "), ("MODE X", "501 "), ("MODE E", "200 "), ("MODE S", "200 "), ("STRU R", "501 "),
        ("EPSV ALL", "229 EPSV ALL"), ("EPSV 2", "522 "), ("EPSV 3", "501 "), ("EPSV", "229 Entering Extended Passive Mode (|||"),
        ("SPAS", "229-Entering Striped Passive Mode.\r\n 127,0,0,11,"), ("SPAS 1", "229-Entering Striped Passive Mode.\r\n |1|127.0.0.11|"),
        ("OPTS PASV AllowDelayed=1;", "200 "), ("PASV", "200 Passive delayed."), ("RETR nowhere", "127 Entering Passive Mode (127,0,0,11,"),
        ("", "500-Command failed."), ("PORT 127,0,0,1,0,25", "500-"), ("PORT 192,0,2,1,80,80", "500-"), ("PORT 1,2,3", "501 "),
        ("EPRT |2|::1|5000|", "522 "), ("EPRT |1|127.0.0.1|5000|", "200 "), ("PASV", "227 "), ("REST x", "501 "), ("REST 5", "350 "),
        ("SITE EXEC id", "500 "), ("SITE HELP", "214-"), ("MKD d", "257 "), ("RMD d", "250 "), ("DELE nowhere", "550-"), ("STOU", "500 "),
        ("QUIT", "221 "),
    ];
    for (command, expected) in before_login.into_iter().chain(after_login) {
        // an empty command stands for the second reply to the one before
        let reply = if command.is_empty() { connection.reply() } else { connection.say(command) };
        assert!(reply.starts_with(expected), "{command}: {reply}");
    }
    assert_eq!(connection.0.read(&mut [0; 16]).unwrap(), 0, "closed after QUIT");
}

#[test]
fn an_aborted_transfer_never_looks_complete() {
    let (_root, server) = served();
    let mut connection = Connection::logged_in_to(&server);
    connection.say("TYPE I");
    let mut data = connection.passive();
    assert!(connection.say("RETR file").starts_with("150 "));
    connection.send(b"NOOP\r\n\xff\xf4\xff\xf2ABOR\r\n");
    assert!(connection.reply().starts_with("426 "));
    assert!(connection.reply().starts_with("226 "));
    assert!(connection.reply().starts_with("200 NOOP"), "a queued command is answered afterwards");
    let end = io::copy(&mut data, &mut io::sink()).unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_lost_control_connection_ends_its_transfer() {
    let (_root, server) = served();
    let mut connection = Connection::logged_in_to(&server);
    connection.say("TYPE I");
    let mut data = connection.passive();
    assert!(connection.say("RETR file").starts_with("150 "));
    drop(connection);
    let end = io::copy(&mut data, &mut io::sink()).unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn an_endless_line_is_refused() {
    let (_root, server) = served();
    let mut connection = Connection::to(&server);
    connection.send(&[b'a'; 8 * 1024]);
    assert_eq!(connection.reply(), "500 Command line too long.\r\n");
}

#[test]
fn one_session_too_many_is_told_421() {
    let (_root, server) = served();
    let held: Vec<Connection> = (0..MAX_SESSIONS).map(|_| Connection::to(&server)).collect();
    let mut greeting = [0; 4];
    TcpStream::connect(server.address()).unwrap().read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"421 ");
    drop(held);
}
