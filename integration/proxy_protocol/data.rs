//! Data connections of sessions whose client a load balancer has named, whose server was told it, or who are behind NAT.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Command;

use super::{BALANCER, CLIENT, Haproxy};
use crate::support::control_connection::ControlConnection;
use crate::support::data_client;
use crate::support::local_door::Setup;
use crate::support::local_server::LocalServer;
use crate::support::skip;

/// ProFTPD over one file, with anonymous access.
fn proftpd(further: &str) -> LocalServer {
    let server = LocalServer::proftpd(further);
    std::fs::write(server.file("file"), content()).expect("a file");
    server
}

/// Some segments of bytes that differ.
fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// Fetches the file through `address` as a client at [`CLIENT`].
fn curl(address: SocketAddr, options: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--interface", &CLIENT.to_string()])
        .args(options)
        .arg(format!("ftp://{address}/file"))
        .output()
        .expect("curl runs");
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn relayed_data_comes_from_the_client_that_the_load_balancer_names() {
    if !skip::unless_present("data behind haproxy", &["haproxy", "proftpd", "curl"]) {
        return;
    }
    let server = proftpd("");
    let mut setup =
        Setup::of(&[server.address()]).virtual_server(&format!("proxy_protocol_from = [\"{BALANCER}\"]"));
    setup.real_servers[0].2 = "checks_data_peer = true".into();
    let door = setup.start();
    let haproxy = Haproxy::start("", door.address(), "send-proxy-v2");
    // haproxy carries the control connection alone: the data goes to the address that the door names.
    let passive = ["--disable-epsv", "--no-ftp-skip-pasv-ip"];
    assert!(curl(haproxy.address, &passive).expect("a file") == content(), "{}", door.log());
    // In active mode the door connects to the client, whose address it knows from the header alone.
    assert!(
        curl(haproxy.address, &["-P", &CLIENT.to_string()]).expect("a file") == content(),
        "{}",
        door.log()
    );
    let line = door.until_logged(&["transfer", "RETR", "data_path=relay"]);
    assert!(
        line.contains(&format!("client={CLIENT}:")) && line.contains(&format!("proxy={BALANCER}:")),
        "{line}"
    );

    // The load balancer's own address is a stranger's to that session.
    let mut session = ControlConnection::open_from(CLIENT, haproxy.address);
    assert!(session.line().starts_with("220 "));
    session.expect("USER anonymous", "331");
    session.expect("PASS x@y", "230");
    session.expect("TYPE I", "200");
    let port = named_port(&session.command("PASV"));
    session.send(b"RETR file\r\n");
    let mut stranger = ControlConnection::open_from(BALANCER, SocketAddr::new(door.address().ip(), port));
    assert!(matches!(stranger.try_line().as_deref(), Ok("") | Err(_)), "it is not let in");
    let data = ControlConnection::open_from(CLIENT, SocketAddr::new(door.address().ip(), port));
    receive(&mut session, data);
    drop(session);
    door.until_empty();
}

/// The file, and what is said of it.
fn receive(session: &mut ControlConnection, data: ControlConnection) {
    let mut received = Vec::new();
    data.stream().read_to_end(&mut received).expect("the file");
    assert!(received == content());
    // ProFTPD says 226 when the client has closed, too.
    drop(data);
    assert!(session.line().starts_with("150 "));
    assert!(session.line().starts_with("226 "));
}

/// The port in a 227.
fn named_port(reply: &str) -> u16 {
    data_client::announced(reply).unwrap_or_else(|| panic!("{reply}")).port()
}

#[test]
fn a_server_that_knows_the_client_gives_relayed_data_where_it_takes_any_address() {
    if !skip::unless_present("data in front of haproxy", &["haproxy", "proftpd", "curl"]) {
        return;
    }
    let server = proftpd("AllowForeignAddress on");
    let haproxy = Haproxy::start("accept-proxy", server.address(), "");
    let mut setup = Setup::of(&[haproxy.address]).virtual_server("data_path = \"auto\"");
    setup.real_servers[0].2 = "send_proxy_protocol = \"v2\"".into();
    let door = setup.start();
    assert!(curl(door.address(), &[]).expect("a file") == content(), "{}", door.log());
    haproxy.until_logged(&format!("from {CLIENT}:"));
    door.until_logged(&["transfer", "RETR", "data_path=relay", "reply=226"]);
    door.until_empty();
}

#[test]
fn clients_behind_nat_are_told_the_address_that_they_reach() {
    if !skip::unless_present("announce_address", &["proftpd"]) {
        return;
    }
    let server = proftpd("");
    let mut setup = Setup::of(&[server.address()]).virtual_server("announce_address = \"198.51.100.10\"");
    setup.real_servers[0].2 = "checks_data_peer = true".into();
    let door = setup.start();
    let mut session = ControlConnection::logged_in(door.address());
    session.expect("TYPE I", "200");
    let reply = session.command("PASV");
    assert!(reply.starts_with("227 Entering Passive Mode (198,51,100,10,"), "{reply}");
    let port = named_port(&reply);
    session.send(b"RETR file\r\n");
    // What the NAT makes of a connection to that address.
    let data = ControlConnection::open(SocketAddr::new(door.address().ip(), port));
    receive(&mut session, data);
    let extended = session.command("EPSV");
    assert!(extended.starts_with("229 ") && extended.contains("(|||"), "{extended}");
    // Its own port under either name: a session may name it as a third party's.
    session.expect("PORT 198,51,100,10,10,251", "504");
    session.expect("QUIT", "221");
    door.until_empty();
}
