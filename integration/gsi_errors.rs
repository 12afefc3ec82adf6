//! GSI that goes wrong, on either side of a door that ends it: who is told what, and what the log says.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use gridfront::proto::gsi::{Channel, Initiator, adat};
use rustls::pki_types::UnixTime;

use crate::gsi::termination;
use crate::support::certificates::{Authority, Credential, HostCertificates};
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, VIRTUAL_NAME, name_of, path_text};
use crate::support::gsi_client::{Line, ask, configuration, credential, try_initiate};
use crate::support::skip;

/// For a line of the log, many times what it takes.
const NOTICE: Duration = Duration::from_secs(30);
/// The virtual server that does not wait for long.
const IMPATIENT_PORT: u16 = PORT + 1;
/// As Globus servers begin and end what they say of a handshake.
const REFUSED: (&str, &str) = ("530-globus_xio: Authentication Error\r\n", "530 End.\r\n");

fn connect(site: &Site, role: &str, port: u16) -> Line {
    let address = SocketAddr::from((site.machine(role).v4(), port));
    Line::new(site.machine("client").enter(|| TcpStream::connect(address).unwrap()))
}

/// A connection that was greeted.
fn greeted(site: &Site, role: &str, port: u16) -> Line {
    let mut line = connect(site, role, port);
    let greeting = line.whole_reply();
    assert!(greeting.ends_with('\n') && greeting.contains("220 "), "{greeting}");
    line
}

fn until_logged(door: &Door, from: usize, words: &str) {
    door.until_logged(from, words, NOTICE).unwrap_or_else(|why| panic!("{why}"));
}

fn of(owner: &Credential) -> gridfront::proto::gsi::Credential {
    credential(&owner.certificate, &owner.key)
}

/// All lines of the reply to a command under protection.
fn asked(line: &mut Line, channel: &mut Channel, command: &str) -> String {
    let reply = ask(line, channel, format!("{command}\r\n").as_bytes());
    String::from_utf8(reply.concat()).unwrap()
}

#[test]
fn what_a_client_does_wrong_ends_as_at_a_real_server_and_the_log_says_why() {
    if !skip::unless_present("GSI with clients that go wrong", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let settings = termination(&site);
    let text = Configuration::new(&site)
        .virtual_server("gridftp", PORT, &settings)
        .three(&site, PORT)
        .virtual_server("impatient", IMPATIENT_PORT, &format!("login_timeout = \"1s\"\n{settings}"))
        .three(&site, PORT);
    let authority = site.authority().unwrap();
    let user = authority.issue_user_certificate("fine", "/O=Grid/OU=test/CN=Somebody Fine");
    let expired = authority.issue_user_between(
        "expired",
        "/O=Grid/OU=test/CN=Somebody Late",
        "20200101000000Z",
        "20200201000000Z",
    );
    let early = authority.issue_user_between(
        "early",
        "/O=Grid/OU=test/CN=Somebody Early",
        "20480101000000Z",
        "20490101000000Z",
    );
    let revoked = authority.issue_user_certificate("revoked", "/O=Grid/OU=test/CN=Somebody Gone");
    authority.revoke(&revoked);
    let foreign = authority.issue_user_certificate("foreign", "/O=Elsewhere/CN=Somebody");
    let strangers = tempfile::tempdir().unwrap();
    let stranger = Authority::new(strangers.path(), "Another CA")
        .issue_user_certificate("stranger", "/O=Grid/OU=test/CN=Grid User");
    let door = Door::start(&site, &text).unwrap_or_else(|why| panic!("{why}"));

    // Before AUTH, and with what is no token.
    let garbage = |token: &str| format!("ADAT {token}\r\n").into_bytes();
    let hello = || {
        let (_, token) = Initiator::new(configuration(&site, of(&user), true), UnixTime::now()).unwrap();
        token
    };
    let half = hello();
    let half = adat::command(&half[..half.len() / 2]);
    let long = garbage(&"A".repeat(97 * 1024));
    let endless = vec![b'A'; 256 * 1024];
    // What is wrong, what is sent, how the last reply begins, and what is logged.
    type Row<'a> = (&'a str, &'a [&'a [u8]], &'a str, Option<&'a str>);
    #[rustfmt::skip]
    let table: &[Row<'_>] = &[
        ("ADAT before AUTH",     &[&garbage("AAEC")],                      "503 ", None),
        ("another mechanism",    &[b"AUTH KERBEROS_V4\r\n"],             "504 ", None),
        ("a login without AUTH", &[b"USER anonymous\r\n"],               "530 Must perform GSSAPI authentication.\r\n", None),
        ("no token",             &[b"AUTH GSSAPI\r\n", b"ADAT\r\n"],   REFUSED.0, Some("the token is empty")),
        ("no base64",            &[b"AUTH GSSAPI\r\n", &garbage("?!*")], REFUSED.0, Some("the token is not base64")),
        ("no TLS",               &[b"AUTH GSSAPI\r\n", &garbage("AAEC")], REFUSED.0, Some("the token is cut off")),
        ("half a token",         &[b"AUTH GSSAPI\r\n", &half],           REFUSED.0, Some("the token is cut off")),
        ("a token too long",     &[b"AUTH GSSAPI\r\n", &long],           "500 ", Some("what cannot be read")),
        ("a line without end",   &[&endless],                              "500 ", Some("what cannot be read")),
    ];
    for (what, commands, expected, logged) in table {
        let from = door.log().len();
        let mut line = greeted(&site, "door", PORT);
        let mut reply = String::new();
        for command in *commands {
            line.send(command);
            reply = line.whole_reply();
        }
        assert!(reply.starts_with(expected), "{what}: {reply}\n{}", door.log_tail());
        let Some(logged) = logged else { continue };
        if *expected == REFUSED.0 {
            assert!(reply.contains(logged) && reply.ends_with(REFUSED.1), "{what}: {reply}");
        }
        until_logged(&door, from, logged);
    }

    // The first token again where the second is due.
    let mut line = greeted(&site, "door", PORT);
    line.send(b"AUTH GSSAPI\r\n");
    assert!(line.reply().starts_with("334 "));
    let token = adat::command(&hello());
    line.send(&token);
    assert!(line.reply().starts_with("335 ADAT="));
    line.send(&token);
    let reply = line.whole_reply();
    assert!(reply.starts_with(REFUSED.0) && reply.ends_with(REFUSED.1), "{reply}");

    // One that stops in the middle.
    let from = door.log().len();
    let mut line = greeted(&site, "door", IMPATIENT_PORT);
    line.send(b"AUTH GSSAPI\r\n");
    assert!(line.reply().starts_with("334 "));
    line.send(&token);
    assert!(line.reply().starts_with("335 ADAT="));
    assert!(line.whole_reply().starts_with("421 "));
    until_logged(&door, from, "no login within login_timeout = 1s");

    // Certificates that are not believed: the door refuses whom a real server refuses, in the same form.
    #[rustfmt::skip]
    let table = [
        (&expired,  "it has expired on 2020-02-01"),
        (&early,    "it is not valid before 2048-01-01"),
        (&revoked,  "revoked"),
        (&foreign,  "signing"),
        (&stranger, "authority"),
    ];
    for (who, logged) in table {
        let from = door.log().len();
        for role in ["s1", "door"] {
            let mut line = greeted(&site, role, PORT);
            let refused = try_initiate(&mut line, configuration(&site, of(who), true)).map(drop);
            let reply = refused.expect_err("nobody is let in with that");
            let is_refusal = reply.starts_with(REFUSED.0) && reply.ends_with(REFUSED.1);
            assert!(is_refusal, "{role}, {logged}: {reply}\n{}", site.logs());
            assert!(role == "s1" || reply.contains(logged), "{logged}: {reply}");
        }
        until_logged(&door, from, logged);
    }

    // A credential that is not handed over, and commands in clear behind 235.
    let from = door.log().len();
    let mut line = greeted(&site, "door", PORT);
    let mut channel = try_initiate(&mut line, configuration(&site, of(&user), false)).unwrap();
    let reply = asked(&mut line, &mut channel, "USER :globus-mapping:");
    assert!(reply.starts_with("530-Login incorrect. : "), "{reply}");
    until_logged(&door, from, "has handed over no credential");
    let mut line = greeted(&site, "door", PORT);
    drop(try_initiate(&mut line, configuration(&site, of(&user), true)).unwrap());
    line.send(b"USER :globus-mapping:\r\n");
    assert_eq!(line.whole_reply(), "", "the door closes, as a Globus server does");

    // Who is no user of the servers hears it from them, and they stay up.
    let mut line = greeted(&site, "door", PORT);
    let mut channel = try_initiate(&mut line, configuration(&site, of(&user), true)).unwrap();
    let reply = asked(&mut line, &mut channel, "USER :globus-mapping:");
    assert!(reply.starts_with("331 "), "{reply}\n{}", door.log_tail());
    let reply = asked(&mut line, &mut channel, "PASS dummy");
    assert!(reply.starts_with("530-Login incorrect. :") && reply.contains("ridmap"), "{reply}");
    for (_, name, status) in door.real_servers().unwrap() {
        assert_eq!(status["state"], "up", "{name}: {status}");
    }
}

/// The words in which the log says that the door does not believe a server.
const NOT_BELIEVED: &str = "the door does not accept its certificate: ";

#[test]
fn what_a_real_server_does_wrong_is_told_to_the_user_and_the_next_server_is_tried() {
    if !skip::unless_present("GSI with servers that go wrong", PROGRAMS) {
        return;
    }
    let mut site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let authority = site.authority().unwrap();
    let settings = termination(&site);
    let user = authority.issue_user_certificate("fine", "/O=Grid/OU=test/CN=Grid User");
    let names = |role| vec![name_of(role), VIRTUAL_NAME.to_owned()];
    let good = authority.issue_host("good", &names("s3"));
    let expired = authority.issue_expired_host("over", VIRTUAL_NAME);
    let misnamed = authority.issue_host("misnamed", &["elsewhere.grid.test".to_owned()]);
    let strangers = tempfile::tempdir().unwrap();
    let stranger = Authority::new(strangers.path(), "Another CA").issue_host("host", &names("s3"));
    for (name, credential) in [("s1", expired), ("s2", misnamed), ("s3", stranger)] {
        site.present(name, credential);
    }
    let text = ["s1", "s2", "s3"].iter().zip(PORT..).fold(Configuration::new(&site), |text, (role, port)| {
        let address = site.machine(role).v4().to_string();
        text.virtual_server(role, port, &settings).real_server(role, &address, PORT, "")
    });
    let all = PORT + 3;
    let text = text.virtual_server("all", all, &format!("lb_algo = \"rr\"\n{settings}")).three(&site, PORT);
    let door = Door::start(&site, &text).unwrap_or_else(|why| panic!("{why}"));
    let log_in = |site: &Site, port| {
        let mut line = greeted(site, "door", port);
        let mut channel = try_initiate(&mut line, configuration(site, of(&user), true)).unwrap();
        let mut reply = asked(&mut line, &mut channel, "USER :globus-mapping:");
        if reply.starts_with("331 ") {
            reply = asked(&mut line, &mut channel, "PASS dummy");
        }
        reply
    };
    #[rustfmt::skip]
    let table = [
        ("s1", "it cannot begin with GSI: ", "has expired"),
        ("s2", NOT_BELIEVED, "the certificate is not for s2 or gridftp.grid.test, but for elsewhere.grid.test"),
        ("s3", NOT_BELIEVED, "authority"),
    ];
    for ((role, whose, cause), port) in table.iter().zip(PORT..) {
        let from = door.log().len();
        let reply = log_in(&site, port);
        let begin = format!("530-Login incorrect. : {role}: ");
        assert!(reply.starts_with(&begin) && reply.ends_with("530 End.\r\n"), "{role}: {reply}");
        assert!(reply.contains(cause), "{role}: {reply}\n{}", site.logs());
        assert!(reply.contains(whose), "{role}: {reply}");
        until_logged(&door, from, cause);
    }
    // One of three is well again.
    site.present("s3", good);
    for _ in 0..3 {
        let reply = log_in(&site, all);
        assert!(reply.starts_with("230 "), "{reply}\n{}", door.log_tail());
    }
    for (_, name, status) in door.real_servers().unwrap() {
        assert_eq!(status["state"], "up", "{name}: {status}");
    }
}

#[test]
fn a_user_whom_only_the_servers_refuse_hears_it_from_them_and_guesses_are_counted() {
    if !skip::unless_present("GSI with users that servers do not believe", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let authority = site.authority().unwrap();
    let late = authority.issue_user_between(
        "late",
        "/O=Grid/OU=test/CN=Somebody Late",
        "20200101000000Z",
        "20200201000000Z",
    );
    // The door trusts one authority more than the servers.
    let strangers = tempfile::tempdir().unwrap();
    let other = Authority::new(strangers.path(), "Another CA");
    let user = other.issue_user_certificate("user", "/O=Grid/OU=test/CN=Grid User");
    for entry in std::fs::read_dir(authority.anchors()).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), other.anchors().join(entry.file_name())).unwrap();
    }
    let settings = termination(&site).replace(&path_text(&authority.anchors()), &path_text(&other.anchors()));
    let ban = "[virtual_server.ban]\nfailed_logins = 2\nwithin = \"10m\"\ntime = \"1h\"";
    let text = Configuration::new(&site)
        .virtual_server("gridftp", PORT, &format!("{settings}\n{ban}"))
        .three(&site, PORT);
    let door = Door::start(&site, &text).unwrap_or_else(|why| panic!("{why}"));

    let mut line = greeted(&site, "door", PORT);
    let mut channel = try_initiate(&mut line, configuration(&site, of(&user), true)).unwrap();
    let reply = asked(&mut line, &mut channel, "USER :globus-mapping:");
    assert!(reply.starts_with("530-Login incorrect. : s"), "{reply}");
    assert!(reply.contains("it refuses the credential: ") && reply.ends_with("530 End.\r\n"), "{reply}");
    for (_, name, status) in door.real_servers().unwrap() {
        assert_eq!(
            (&status["state"], &status["gsi_failures"]),
            (&"up".into(), &1.into()),
            "{name}: {status}"
        );
    }
    // Neither that nor a certificate that has run out is a guess; what is no token is.
    for _ in 0..3 {
        let mut line = greeted(&site, "door", PORT);
        assert!(try_initiate(&mut line, configuration(&site, of(&late), true)).is_err());
    }
    let from = door.log().len();
    for _ in 0..2 {
        let mut line = greeted(&site, "door", PORT);
        line.send(b"AUTH GSSAPI\r\nADAT AAEC\r\n");
        assert!(line.reply().starts_with("334 "));
        assert!(line.whole_reply().starts_with(REFUSED.0));
    }
    until_logged(&door, from, "client banned");
    assert!(connect(&site, "door", PORT).whole_reply().starts_with("421 "));
}
