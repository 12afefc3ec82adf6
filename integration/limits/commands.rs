//! Disabled commands.

use super::{figure, run};
use crate::support::control_connection::ControlConnection;
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site};
use crate::support::local_door::Setup;
use crate::support::local_server::LocalServer;
use crate::support::skip;
use crate::support::stub_server::StubServer;

const DISABLED: &str = "502 Command disabled by the administrator.";
const DISABLED_ON_FILES: &str = "550 Permission denied: command disabled by the administrator.";

#[test]
fn a_disabled_command_is_answered_in_its_turn_and_never_heard() {
    let (server, heard) = StubServer::that_keeps_what_it_hears();
    let door =
        Setup::of(&[server.address()]).virtual_server("deny_commands = [\"DELE\", \"SITE CHMOD\"]").start();
    let mut session = ControlConnection::logged_in(door.address());
    session
        .send(b"NOOP 1\r\nDELE /a\r\nNOOP 2\r\nsite  chmod 777 /a\r\nD\x80ELE /a\r\n DELE /b\r\nNOOP 3\r\n");
    for expected in
        ["200 noop 1", DISABLED_ON_FILES, "200 noop 2", DISABLED, "501 ", DISABLED_ON_FILES, "200 noop 3"]
    {
        let line = session.line();
        assert!(line.starts_with(expected), "{line:?} instead of {expected:?}");
    }
    session.expect("QUIT", "221");
    assert_eq!(session.rest(), "");
    let heard = heard.lock().unwrap().join("\n");
    assert!(!heard.contains("/a") && !heard.contains("/b"), "{heard}");
    assert_eq!(figure(&door.status(), "/denied_commands"), 3);
    door.until_logged(&["session ended", "denied=3"]);
    door.until_empty();
}

#[test]
fn lftp_is_told_so_and_goes_on() {
    if !skip::unless_present(
        "lftp and pyftpdlib",
        &["lftp", "/usr/lib/python3/dist-packages/pyftpdlib/__init__.py"],
    ) {
        return;
    }
    let server = LocalServer::pyftpdlib();
    std::fs::write(server.file("file"), b"whole").unwrap();
    let door = Setup::of(&[server.address()])
        .virtual_server(
            "data_path = \"relay\"\ndeny_commands = [\"DELE\", \"SITE CHMOD\", \"MFF\", \"MLSD\", \"EPSV\"]",
        )
        .start();
    let copy = door.directory().join("copy");
    let script = format!(
        "set net:max-retries 1; set net:timeout 20; open ftp://{}:{}; rm file; chmod 777 file; cls; \
         get file -o {}; exit",
        door.address().ip(),
        door.address().port(),
        copy.display()
    );
    let (_, said) = run(&door, "lftp", &["-c", &script]);
    assert!(said.contains("rm: Access failed: 550 Permission denied"), "{said}");
    assert!(said.contains("chmod: Access failed: 502 Command disabled"), "{said}");
    assert!(server.file("file").exists(), "{said}");
    // Without MLSD it lists with LIST, and without EPSV it asks with PASV.
    assert!(said.contains("file\n"), "{said}");
    assert_eq!(std::fs::read(&copy).unwrap_or_default(), b"whole", "{said}\n{}", door.log());
    let url = format!("ftp://{}/file", door.address());
    let (success, said) = run(&door, "curl", &["-sS", "-Q", "DELE file", &url]);
    assert!(!success && said.contains("550"), "{said}");
    let (success, said) = run(&door, "curl", &["-sS", &url]);
    assert!(success && said == "whole", "{said}");
    door.until_empty();
}

#[test]
fn a_globus_server_does_not_hear_of_it_and_globus_url_copy_works() {
    if !skip::unless_present("commands that a Globus server does not hear", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Anonymous, Servers::Three);
    let keys = "deny_commands = [\"SITE CHMOD\", \"DELE\", \"SITE RDEL\", \"MFF\"]";
    let configuration = Configuration::new(&site).virtual_server("gridftp", PORT, keys).three(&site, PORT);
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    let file = site.data_directory().join("kept");
    std::fs::write(&file, b"whole").unwrap();
    let mode = || {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("it is there").permissions())
    };
    let before = mode();
    let address = std::net::SocketAddr::from((site.machine("door").v4(), PORT));
    let stream =
        site.machine("client").enter(|| std::net::TcpStream::connect(address)).expect("the door listens");
    let mut session = ControlConnection::over(stream);
    assert!(session.line().starts_with("220"));
    session.expect("USER anonymous", "331");
    let mut line = session.command("PASS x@y");
    while line.starts_with("230-") {
        line = session.line();
    }
    let path = file.display();
    for (command, reply) in [
        (format!("SITE CHMOD 0777 {path}"), DISABLED),
        (format!("site\tchmod 0777 {path}"), DISABLED),
        (format!("DELE {path}"), DISABLED_ON_FILES),
        (format!("SITE RDEL {path}"), DISABLED),
    ] {
        assert_eq!(session.command(&command), reply, "{command}");
    }
    // What a Globus server would take for it.
    session.send(format!("SITE CH\u{80}MOD 0777 {path}\r\n").as_bytes());
    assert!(session.line().starts_with("501 "));
    assert_eq!(mode(), before);
    session.expect("NOOP", "200");
    let url = format!("ftp://{address}{path}");
    let words = ["globus-url-copy", &url, "file:///dev/null"].map(str::to_owned);
    let machine = site.machine("client");
    let finished = crate::support::client::run(&site, machine, &words, &[], super::CLIENT_ENDS_WITHIN);
    assert!(finished.success(), "{}\n{}", finished.output, door.log());
}
