//! Clients whose logins fail.

use std::process::{Command, Output};

use super::{CLIENT, OTHER, figure, run};
use crate::support::control_connection::ControlConnection;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::local_server::LocalServer;
use crate::support::skip;
use crate::support::stub_server::StubServer;

const BANNED: &str = "421 Service not available: please try again later.\r\n";
const RULE: &str = "[virtual_server.ban]\nfailed_logins = 3\nwithin = \"5m\"\ntime = \"1h\"";

/// A server that takes one password, and no certificate but `good`.
fn guarded() -> StubServer {
    StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            match &line[..] {
                b"PASS right" => connection.say("230 in\r\n")?,
                line if line.starts_with(b"PASS") => connection.say("530 Login incorrect.\r\n")?,
                b"ADAT bad" => connection.say("535 no\r\n")?,
                line => {
                    if !connection.answer(line)? {
                        return Ok(());
                    }
                }
            }
        }
    })
}

fn door(server: &StubServer, keys: &str) -> LocalDoor {
    Setup::of(&[server.address()]).virtual_server(&format!("{keys}\n{RULE}")).start()
}

/// Greeted at an address that is not the real server's own.
fn greeted(door: &LocalDoor) -> ControlConnection {
    let mut session = ControlConnection::open_from(CLIENT, door.address());
    let line = session.line();
    assert!(line.starts_with("220 "), "{line:?}");
    session
}

fn guess(session: &mut ControlConnection, password: &str) -> String {
    session.expect("USER joe", "331");
    session.command(&format!("PASS {password}"))
}

fn admin(door: &LocalDoor, words: &[&str]) -> Output {
    let mut command = Command::new(crate::support::door::program());
    command.args(words).arg("-c").arg(door.configuration());
    command.output().expect("gridfront runs")
}

#[test]
fn who_guesses_is_kept_out_and_may_be_let_in_again() {
    let server = guarded();
    let door = door(&server, "");
    let from = |ip| ControlConnection::open_from(ip, door.address());
    let mut session = from(CLIENT);
    assert!(session.line().starts_with("220 "));
    let mut beside = from(CLIENT);
    assert!(beside.line().starts_with("220 "));
    for _ in 0..3 {
        assert_eq!(guess(&mut session, "wrong"), "530 Login incorrect.");
    }
    // The session that guessed is over, and so is any other of that client as soon as it guesses.
    assert_eq!(session.rest(), BANNED);
    assert_eq!(guess(&mut beside, "wrong"), "530 Login incorrect.");
    assert_eq!(beside.rest(), BANNED);
    assert_eq!(from(CLIENT).rest(), BANNED);
    assert!(from(OTHER).line().starts_with("220 "));
    let status = door.status();
    assert_eq!(
        (figure(&status, "/banned"), figure(&status, "/bans"), figure(&status, "/refused/banned")),
        (1, 1, 1)
    );
    door.until_logged(&["client banned", "client=127.5.5.5/32", "failed_logins=3", "time_s=3600"]);
    door.until_logged(&["session ended", "reason=\"too many failed logins\""]);
    let listed = admin(&door, &["ban", "list"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.starts_with("127.5.5.5/32  gridftp  3") && text.ends_with(" s left\n"), "{text}");
    assert!(!admin(&door, &["unban", "127.5.5.6"]).status.success());
    let unbanned = admin(&door, &["unban", "127.5.5.5"]);
    assert_eq!(String::from_utf8_lossy(&unbanned.stdout), "127.5.5.5 may come again: gridftp\n");
    assert_eq!(String::from_utf8_lossy(&admin(&door, &["ban", "list"]).stdout), "nobody is banned\n");
    assert!(from(CLIENT).line().starts_with("220 "));
    door.until_empty();
}

#[test]
fn a_right_password_clears_the_count_and_an_anonymous_login_does_not() {
    let server = guarded();
    let door = door(&server, "");
    let mut session = greeted(&door);
    for _ in 0..3 {
        for _ in 0..2 {
            assert_eq!(guess(&mut session, "wrong"), "530 Login incorrect.");
        }
        assert_eq!(guess(&mut session, "right"), "230 in");
        session.expect("REIN", "220");
    }
    assert_eq!(guess(&mut session, "wrong"), "530 Login incorrect.");
    session.expect("USER anonymous", "331");
    session.expect("PASS right", "230");
    assert_eq!(guess(&mut session, "wrong"), "530 Login incorrect.");
    assert_eq!(guess(&mut session, "wrong"), "530 Login incorrect.");
    assert_eq!(session.rest(), BANNED, "guesses of one who is in count as well");
    door.until_empty();
}

#[test]
fn certificates_that_are_refused_count_and_handshakes_that_break_off_do_not() {
    let server = guarded();
    let door = door(&server, "");
    for _ in 0..5 {
        let mut session = greeted(&door);
        session.expect("AUTH GSSAPI", "334");
        drop(session);
    }
    let mut session = greeted(&door);
    for _ in 0..3 {
        session.expect("AUTH GSSAPI", "334");
        session.expect("ADAT bad", "535");
    }
    assert_eq!(session.rest(), BANNED);
    assert_eq!(ControlConnection::open_from(CLIENT, door.address()).rest(), BANNED);
    door.until_empty();
    assert_eq!(figure(&door.status(), "/bans"), 1);
}

#[test]
fn the_sites_own_hosts_are_never_banned() {
    let server = guarded();
    // The stub is at 127.0.0.1, and so is a client that says nothing else.
    let door = door(&server, "trusted_networks = [\"127.5.5.0/24\"]");
    for ip in [CLIENT, server.address().ip()] {
        let mut session = ControlConnection::open_from(ip, door.address());
        assert!(session.line().starts_with("220 "));
        for _ in 0..10 {
            assert_eq!(guess(&mut session, "wrong"), "530 Login incorrect.");
        }
    }
    assert_eq!(figure(&door.status(), "/bans"), 0);
    door.until_empty();
}

#[test]
fn curl_with_a_wrong_password_at_proftpd_is_kept_out() {
    if !skip::unless_present("curl and proftpd", &["curl", "proftpd"]) {
        return;
    }
    let server = LocalServer::proftpd("");
    let door =
        Setup::of(&[server.address()]).virtual_server(&format!("data_path = \"relay\"\n{RULE}")).start();
    std::fs::write(server.file("file"), b"whole").unwrap();
    let url = format!("ftp://{}/file", door.address());
    let curl = |user: &str, from: &str| run(&door, "curl", &["-sS", "--interface", from, "-u", user, &url]);
    for _ in 0..3 {
        let (success, said) = curl("joe:wrong", "127.5.5.5");
        assert!(!success && said.contains("530"), "{said}\n{}", server.log());
    }
    // That is how curl takes any 421.
    let (success, said) = curl("anonymous:x@y", "127.5.5.5");
    assert!(!success && said.contains("(28)"), "{said}");
    assert_eq!(figure(&door.status(), "/refused/banned"), 1);
    let (success, said) = curl("anonymous:x@y", "127.6.6.6");
    assert!(success && said.contains("whole"), "{said}\n{}", server.log());
    door.until_empty();
}
