//! Data connections that the kernel carries from the virtual address to the server that layer 7 has chosen.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::direct_routing::addresses;
use crate::support::dr_lab::{BALANCER, DrLab, REAL_SERVERS, Served};
use crate::support::guest_door::GuestDoor;
use crate::support::process::Process;
use crate::support::uml;

const PORT: u16 = 2811;
const SIZE: u64 = 256 << 20;
/// A transfer through a guest kernel on a busy machine.
const TRANSFER: Duration = Duration::from_secs(120);

/// Three Globus servers behind a door that has the kernel carry their data.
pub(super) struct Site {
    pub(super) lab: DrLab,
    pub(super) globus: Vec<Served>,
    pub(super) files: tempfile::TempDir,
}

impl Site {
    /// `settings` are further lines of a server's configuration.
    pub(super) fn new(settings: impl Fn(usize) -> String) -> Self {
        let lab = DrLab::new();
        let globus = REAL_SERVERS.iter().enumerate();
        let globus = globus.map(|(at, role)| lab.serve_globus(role, PORT, &settings(at))).collect();
        let files = tempfile::tempdir().unwrap();
        Self { lab, globus, files }
    }

    pub(super) fn configuration(&self, data_path: &str, further: impl Fn(usize) -> String) -> String {
        let [vip, vip6] = DrLab::vips();
        let mut text = format!(
            "[forwarding]\n[[virtual_server]]\nname = \"gridftp\"\naddresses = [\"{vip}\", \"{vip6}\"]\nport = {PORT}\ndata_path = \"{data_path}\"\nlb_algo = \"rr\"\n"
        );
        for (at, (role, (v4, v6))) in REAL_SERVERS.iter().zip(addresses(&self.lab)).enumerate() {
            text += &format!(
                "[[virtual_server.real_server]]\nname = \"{role}\"\naddress = \"{v4}\"\ndata_addresses = [\"{v6}\"]\n{}\n",
                further(at)
            );
        }
        text
    }

    /// A file that every server has, and here, too.
    pub(super) fn provide(&self, name: &str, size: u64) -> PathBuf {
        let ours = self.files.path().join(name);
        random(&ours, size);
        for server in &self.globus {
            fs::copy(&ours, server.directory().join("data").join(name)).unwrap();
        }
        ours
    }

    /// The file of this name at whichever server has it, and takes it away there.
    pub(super) fn uploaded(&self, name: &str) -> PathBuf {
        let at = |server: &Served| server.directory().join("data").join(name);
        let have: Vec<PathBuf> = self.globus.iter().map(at).filter(|path| path.exists()).collect();
        assert_eq!(have.len(), 1, "{name}: {have:?}");
        have[0].clone()
    }

    /// Runs a client to its end.
    #[track_caller]
    pub(super) fn client(&self, words: &[&str]) -> String {
        let mut command = self.lab.machine("client").command(None, words[0]);
        command.args(&words[1..]).env("HOME", self.files.path());
        let mut client = Process::spawn(command, &self.files.path().join("said"));
        let status = client.wait(TRANSFER);
        let said = client.output();
        assert!(status.is_some_and(|status| status.success()), "{words:?}: {status:?}\n{said}");
        said
    }
}

pub(super) fn random(path: &Path, size: u64) {
    let mut file = fs::File::create(path).unwrap();
    let mut source = fs::File::open("/dev/urandom").unwrap();
    let mut block = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left.min(1 << 20)).unwrap();
        std::io::Read::read_exact(&mut source, &mut block[..part]).unwrap();
        file.write_all(&block[..part]).unwrap();
        left -= part as u64;
    }
}

pub(super) fn same(one: &Path, other: &Path) -> bool {
    std::process::Command::new("cmp").arg("--silent").args([one, other]).status().unwrap().success()
}

/// Transfers by the path that their data took.
pub(super) fn paths(status: &Value) -> Vec<(String, u64)> {
    let paths = status["virtual_servers"][0]["data_paths"].as_array().unwrap().iter();
    paths
        .map(|of| (of["data_path"].as_str().unwrap().to_owned(), of["transfers"].as_u64().unwrap()))
        .collect()
}

fn relayed_bytes(status: &Value) -> u64 {
    let servers = status["virtual_servers"][0]["real_servers"].as_array().unwrap().iter();
    servers
        .map(|of| of["relayed_bytes_in"].as_u64().unwrap() + of["relayed_bytes_out"].as_u64().unwrap())
        .sum()
}

/// What a client's command is: get or put, the address, and both names.
fn words(client: &str, get: bool, vip: IpAddr, remote: &str, local: &str) -> Vec<String> {
    let host = if vip.is_ipv6() { format!("[{vip}]") } else { vip.to_string() };
    let url = format!("ftp://{host}:{PORT}/{remote}");
    let lftp = |order: String| vec!["lftp".into(), "-c".into(), format!("open ftp://{host}:{PORT}; {order}")];
    let ftplib = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/support/ftplib_client.py");
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match (client, get) {
        ("curl", true) => owned(&["curl", "-sS", "-o", local, &url]),
        ("curl", false) => owned(&["curl", "-sS", "-T", local, &url]),
        ("wget", true) => owned(&["wget", "-q", "--tries=1", "-O", local, &url]),
        ("lftp", true) => lftp(format!("get {remote} -o {local}")),
        ("lftp", false) => lftp(format!("put {local} -o {remote}")),
        ("ftplib", true) => {
            owned(&["python3", ftplib, "get", &vip.to_string(), &PORT.to_string(), remote, local])
        }
        ("ftplib", false) => {
            owned(&["python3", ftplib, "put", &vip.to_string(), &PORT.to_string(), remote, local])
        }
        _ => unreachable!("{client} has no such way"),
    }
}

#[test]
fn every_client_gets_and_puts_by_the_kernel_and_nothing_crosses_user_space() {
    let programs = ["globus-gridftp-server", "curl", "lftp", "wget", "python3", "cmp"];
    if !uml::possible("data that the kernel carries", &programs) {
        return;
    }
    let site = Site::new(|_| String::new());
    let big = site.provide("big", SIZE);
    let balancer = site.lab.balancer();
    let door = GuestDoor::start(&balancer, "", &site.configuration("kernel", |_| String::new()));
    door.until_marked();
    let local = site.files.path().join("local");
    let mut transfers = 0;
    for vip in DrLab::vips() {
        for client in ["curl", "lftp", "wget", "ftplib"] {
            let before = site.lab.passed_by_balancer(BALANCER);
            let get = words(client, true, vip, "big", local.to_str().unwrap());
            site.client(&get.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(same(&big, &local), "{get:?}\n{}", door.log());
            let passed = site.lab.passed_by_balancer(BALANCER) - before;
            assert!(
                passed.received.bytes < SIZE / 10 && passed.sent.bytes < SIZE / 10,
                "{client} {vip}: replies cross the balancer: {passed:?}\n{}",
                door.log()
            );
            transfers += 1;
            fs::remove_file(&local).unwrap();
            if client == "wget" {
                continue;
            }
            let name = format!("from-{client}-{}", u8::from(vip.is_ipv6()));
            let put = words(client, false, vip, &name, big.to_str().unwrap());
            site.client(&put.iter().map(String::as_str).collect::<Vec<_>>());
            let uploaded = site.uploaded(&name);
            assert!(same(&big, &uploaded), "{put:?}\n{}", door.log());
            fs::remove_file(uploaded).unwrap();
            transfers += 1;
        }
    }
    let status = door.status().unwrap();
    assert_eq!(paths(&status), [("kernel".to_owned(), transfers)], "{status:#}\n{}", door.log());
    assert_eq!(relayed_bytes(&status), 0, "{status:#}");
    let expectations = &status["forwarding"]["expectations"];
    assert_eq!((expectations["live"].as_u64(), expectations["carried"].as_u64()), (Some(0), Some(transfers)));
    println!("{}", door.order(&["status"]).unwrap());
}
