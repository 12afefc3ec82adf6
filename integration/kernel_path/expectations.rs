//! Ports that sessions expect the kernel to carry: how long, for whom, and to which server.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::data_path::{Site, paths, same};
use super::restart::read_in_time;
use crate::support::control_connection::ControlConnection;
use crate::support::data_client::announced;
use crate::support::deadline;
use crate::support::dr_lab::{DrLab, Served};
use crate::support::guest_door::GuestDoor;
use crate::support::name_service::NameService;
use crate::support::process::Process;
use crate::support::stub_server::StubServer;
use crate::support::uml;

const PORT: u16 = 2811;
/// The first port of all servers.
const ONE: u16 = 50_500;
const SOON: Duration = Duration::from_secs(10);
const TRANSFER: Duration = Duration::from_secs(60);

fn expectations(status: &Value) -> [Option<u64>; 4] {
    ["live", "carried", "port_taken", "closed"]
        .map(|name| status["forwarding"]["expectations"][name].as_u64())
}

#[test]
fn a_connection_outlives_its_expectation_and_nobody_comes_after_it() {
    if !uml::possible("the end of an expectation", &["ipvsadm"]) {
        return;
    }
    let lab = DrLab::new();
    let server = lab.real_servers(DrLab::vips()[0])[0];
    // It says that a transfer is over while the client still has its data connection.
    let [a, b, c, d] = lab.machine("rs1").v4().octets();
    let passive = format!("227 Entering Passive Mode ({a},{b},{c},{d},{},{})\r\n", ONE >> 8, ONE & 0xff);
    let _stub = lab.machine("rs1").enter(|| {
        StubServer::start_at(SocketAddr::new(server, PORT), move |connection| {
            connection.greet()?;
            loop {
                let line = connection.line()?;
                if line.starts_with(b"PASV") {
                    connection.say(&passive)?;
                } else if !connection.answer(&line)? {
                    return Ok(());
                }
            }
        })
    });
    let _data = NameService::start(lab.machine("rs1"), &[ONE]);
    let balancer = lab.balancer();
    let [vip, _] = DrLab::vips();
    let text = format!(
        "[forwarding]\n[[virtual_server]]\nname = \"gridftp\"\naddresses = [\"{vip}\"]\nport = {PORT}\ndata_path = \"kernel\"\n\
         [[virtual_server.real_server]]\nname = \"rs1\"\naddress = \"{server}\"\n"
    );
    let door = GuestDoor::start(&balancer, "", &text);
    door.until_marked();
    let client = lab.machine("client");
    let stream = client.enter(|| TcpStream::connect(SocketAddr::new(vip, PORT))).unwrap();
    let mut control = ControlConnection::over(stream);
    assert!(control.line().starts_with("220 "));
    for (command, code) in [("USER joe", "331"), ("PASS x", "230"), ("TYPE I", "200")] {
        control.expect(command, code);
    }
    let reply = control.command("PASV");
    assert_eq!(announced(&reply), Some(SocketAddr::new(vip, ONE)), "{reply}\n{}", door.log());
    let mut data = lab.converse(vip, ONE).unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    data.echo("expected").unwrap();
    // Of this client alone.
    client.ip("addr add 10.78.0.3/24 dev eth0\n");
    let other = client
        .command(None, "bash")
        .args(["-c", &format!("curl -sS --max-time 5 --interface 10.78.0.3 telnet://{vip}:{ONE}")])
        .output();
    let other = String::from_utf8(other.unwrap().stderr).unwrap();
    assert!(other.contains("refused") || other.contains("Failed to connect"), "{other}");
    assert_eq!(expectations(&door.status().unwrap())[0], Some(1));
    control.expect("RETR it", "150");
    assert!(control.line().starts_with("226 "));
    let status = door.until_status("no expectation", SOON, |status| expectations(status)[0] == Some(0));
    assert_eq!(paths(&status), [("kernel".to_owned(), 1)], "{status:#}");
    data.echo("not expected any more").unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    data.fetch(1 << 20).unwrap();
    let refused = lab.converse(vip, ONE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
    // Nor does it depend on the session, or on the carrier's being named.
    drop(control);
    data.echo("without a session").unwrap();
    door.write("", &text.replace("\"kernel\"", "\"relay\""));
    door.order(&["reload"]).unwrap();
    let status = door.until_status("what leaves", SOON, |status| status["forwarding"]["leaving"] == 1);
    assert_eq!(status["forwarding"]["carriers"], serde_json::json!([]), "{status:#}");
    data.echo("without a carrier").unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
}

/// Files of one name that are another one at each server.
fn provide(site: &Site, name: &str, size: u64) -> Vec<PathBuf> {
    let each = site.globus.iter().enumerate().map(|(at, server): (usize, &Served)| {
        let ours = site.provide(&format!("{name}-{at}"), size);
        fs::copy(&ours, server.directory().join("data").join(name)).unwrap();
        ours
    });
    each.collect()
}

struct Get {
    process: Process,
    to: PathBuf,
}

impl Get {
    fn begin(site: &Site, vip: IpAddr, from: &str, rate: &str, to: &str) -> Self {
        let to = site.files.path().join(to);
        let mut command = site.lab.machine("client").command(None, "curl");
        command.args(["-sS", "--connect-timeout", "10", "--interface", from, "--limit-rate", rate, "-o"]);
        command.arg(&to).arg(format!("ftp://{vip}:{PORT}/it"));
        Self { process: Process::spawn(command, &to.with_extension("said")), to }
    }

    #[track_caller]
    fn until_begun(&self, door: &GuestDoor<'_>) {
        let begun = deadline::until("a first byte", SOON, || {
            if fs::metadata(&self.to).is_ok_and(|file| file.len() > 0) {
                Ok(())
            } else {
                Err(self.process.output())
            }
        });
        begun.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    }

    #[track_caller]
    fn until_same(mut self, file: &Path, door: &GuestDoor<'_>) {
        let status = self.process.wait(TRANSFER);
        let said = self.process.output();
        assert!(status.is_some_and(|status| status.success()), "{status:?}\n{said}\n{}", door.log());
        assert!(same(file, &self.to), "{} is not {}", self.to.display(), file.display());
    }
}

#[test]
fn two_servers_with_one_port_serve_two_clients_and_never_the_wrong_one() {
    if !uml::possible("two servers with one port", &["globus-gridftp-server", "curl", "cmp"]) {
        return;
    }
    // A second one, for who is asked once more because the first is another server's.
    let site = Site::new(|_| format!("port_range {ONE},{}", ONE + 1));
    read_in_time(&site.lab);
    let files = provide(&site, "it", 24 << 20);
    let balancer = site.lab.balancer();
    let door = GuestDoor::start(&balancer, "", &site.configuration("kernel", |_| String::new()));
    door.until_marked();
    site.lab.machine("client").ip("addr add 10.78.0.3/24 dev eth0\n");
    let [vip, _] = DrLab::vips();
    // In turn: rs1, rs2, rs3.
    let one = Get::begin(&site, vip, "10.78.0.2", "3M", "one");
    one.until_begun(&door);
    let two = Get::begin(&site, vip, "10.78.0.3", "3M", "two");
    two.until_begun(&door);
    let status = door.status().unwrap();
    assert_eq!(expectations(&status), [2, 2, 0, 0].map(Some), "{status:#}\n{}", door.log());
    let three = Get::begin(&site, vip, "10.78.0.2", "100M", "three");
    three.until_same(&files[2], &door);
    let status = door.status().unwrap();
    assert_eq!(expectations(&status), [2, 2, 1, 0].map(Some), "{status:#}\n{}", door.log());
    one.until_same(&files[0], &door);
    two.until_same(&files[1], &door);
    // The port is free again.
    Get::begin(&site, vip, "10.78.0.2", "100M", "four").until_same(&files[0], &door);
    let status = door.status().unwrap();
    assert_eq!(expectations(&status), [0, 3, 1, 0].map(Some), "{status:#}\n{}", door.log());
    let paths = paths(&status);
    assert!(paths.contains(&("kernel".into(), 3)) && paths.contains(&("relay".into(), 1)), "{paths:?}");
}
