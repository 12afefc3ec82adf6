//! Users of GSI that ends at the door: who may come in, how often, to which server, and what is told of them.
//!
//! Clients and real servers are made of the product's own machines, which others try against the real programs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gridfront::proto::gsi::{Credential, TrustStore};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::control_connection::ControlConnection;
use crate::support::gsi::{GsiClient, GsiServer, read_credential, read_trust};
use crate::support::http_client::{get, start_with_http};
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::skip;
use crate::support::stub_server::StubServer;

const HOST: &str = "gridftp.grid.test";
const JOE: &str = "/O=Grid/OU=test/CN=Joe Doe";
const JANE: &str = "/O=Grid/OU=test/CN=Jane Doe";
const EVE: &str = "/O=Grid/OU=test/CN=Eve";

/// How long an established session may wait for the reply to a NOOP while others log in.
const STALL: Duration = Duration::from_secs(1);
/// Until a real server hears of a client that is gone: far below `login_timeout`.
const NOTICE: Duration = Duration::from_secs(10);
/// As many come at once.
const BURST: usize = 64;

/// Certificates, two real servers, and what a door needs to know of both.
struct Grid {
    directory: TempDir,
    authority: Authority,
    trust: Arc<TrustStore>,
    servers: Vec<StubServer>,
}

impl Grid {
    fn new(servers: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(&directory.path().join("ca"), "Test CA");
        let host = authority.issue_host("host", &[HOST.to_owned()]);
        let (trust, problems) = read_trust(&authority.anchors());
        assert!(problems.is_empty(), "{problems:?}");
        let trust = Arc::new(trust);
        let credential = read_credential(&host.certificate, &host.key);
        let servers = (0..servers).map(|_| {
            let server = GsiServer::new(&credential, &trust);
            // Not where the clients are: real servers are never banned.
            StubServer::start_at(([127, 0, 0, 9], 0).into(), move |connection| server.serve(connection))
        });
        let servers = servers.collect();
        Self { directory, authority, trust, servers }
    }

    fn user(&self, file: &str, subject: &str) -> Credential {
        let proxy = self.authority.issue_user(file, subject);
        read_credential(&proxy, &proxy)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("ca").join(name)
    }

    fn setup(&self, keys: &str) -> Setup {
        let addresses: Vec<_> = self.servers.iter().map(StubServer::address).collect();
        Setup::of(&addresses).virtual_server(&format!(
            "[virtual_server.gsi]\nmode = \"terminate\"\ncertificate = \"{}\"\nkey = \"{}\"\ntrust_anchors = \"{}\"\n{keys}",
            self.file("host.pem").display(),
            self.file("host.key").display(),
            self.authority.anchors().display(),
        ))
    }

    fn connect(&self, door: &LocalDoor, user: &Credential) -> GsiClient {
        GsiClient::connect(door.address(), user, &self.trust, HOST)
            .unwrap_or_else(|why| panic!("{why}\n{}", door.log()))
    }

    /// As Globus clients name themselves.
    fn log_in(&self, door: &LocalDoor, user: &Credential) -> GsiClient {
        let mut client = self.connect(door, user);
        let reply = client.ask("USER :globus-mapping:").unwrap();
        assert!(reply.starts_with("230 "), "{reply}\n{}", door.log());
        client
    }
}

fn can_run(test: &str) -> bool {
    skip::unless_present(test, &["openssl", "grid-proxy-init"])
}

/// The sessions that `gridfront status --sessions --json` lists.
fn sessions(door: &LocalDoor) -> Vec<Value> {
    let output = door.command("status").args(["--sessions", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let listed = status["gsi_sessions"]["oldest"].as_array().unwrap().clone();
    assert_eq!(status["gsi_sessions"]["count"], listed.len());
    listed
}

fn reload(door: &LocalDoor) {
    let output = door.command("reload").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn users_are_judged_by_their_names_and_shown_with_their_sessions() {
    if !can_run("users of GSI") {
        return;
    }
    let grid = Grid::new(2);
    let (joe, jane, eve) = (grid.user("joe", JOE), grid.user("jane", JANE), grid.user("eve", EVE));
    let keys = "allow_dn = [\"/O=Grid/*\"]\ndeny_dn = [\"*/CN=Eve\"]\nmax_sessions_per_dn = 2";
    let (door, http) = start_with_http(grid.setup(keys).global("threads = 2\ngsi_ready_keys = 4"));

    let reply = grid.connect(&door, &eve).ask("USER :globus-mapping:").unwrap();
    assert_eq!(
        reply,
        format!("530-Login incorrect. : {EVE} is not allowed to use this service.\r\n530 End.\r\n")
    );
    let mut held: Vec<GsiClient> = (0..2).map(|_| grid.log_in(&door, &joe)).collect();
    let refused = format!("421 Too many sessions of {JOE}; close one, or try again later.\r\n");
    assert_eq!(grid.connect(&door, &joe).ask("USER joe").unwrap(), refused);
    // Another configuration counts on.
    let file = door.configuration();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("max_sessions_per_dn = 2", "max_sessions_per_dn = 1")).unwrap();
    reload(&door);
    assert_eq!(grid.connect(&door, &joe).ask("USER joe").unwrap(), refused);
    held.push(grid.log_in(&door, &jane));

    let listed = sessions(&door);
    let of = |field: &str| listed.iter().map(|it| it[field].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("dn"), [JOE, JOE, JANE], "the oldest first");
    let clients: Vec<String> = held.iter().map(|client| client.address().to_string()).collect();
    assert_eq!(of("client"), clients);
    assert_eq!(BTreeSet::from_iter(of("real_server")), BTreeSet::from(["s1", "s2"]));
    let table = door.command("status").arg("--sessions").output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.lines().last().unwrap().ends_with(&format!("  {JANE}")), "{table}");
    let gsi = &door.status()["virtual_servers"][0]["gsi"];
    assert_eq!(gsi["users"], 2, "{gsi}");
    assert_eq!(gsi["authorities"], 1, "{gsi}");

    let page = get(http, "/metrics").body;
    for (outcome, count) in
        [("success", 3), ("DN denied", 1), ("max_sessions_per_dn reached", 2), ("certificate refused", 0)]
    {
        let line = format!(
            "gridfront_gsi_logins_total{{virtual_server=\"gridftp\",outcome=\"{outcome}\"}} {count}\n"
        );
        assert!(page.contains(&line), "{line}{page}");
    }
    assert!(page.contains("gridfront_gsi_keys_taken_total 6\n"), "{page}");
    assert!(!page.contains("CN="), "a name is in the metrics:\n{page}");

    for client in &mut held {
        assert!(client.ask("QUIT").unwrap().starts_with("221 "));
    }
    door.until_empty();
    assert_eq!(sessions(&door).len(), 0);
    door.until_logged(&["session ended", &format!("dn=\"{JANE}\"")]);
    let log = door.log();
    for words in ["is denied by `deny_dn`, by its pattern */CN=Eve", "holds max_sessions_per_dn = 2 sessions"]
    {
        assert!(log.contains(words), "{words}:\n{log}");
    }
}

#[test]
fn with_persistence_a_user_keeps_its_server_while_that_is_up() {
    if !can_run("persistence of GSI users") {
        return;
    }
    let grid = Grid::new(2);
    let (joe, jane) = (grid.user("joe", JOE), grid.user("jane", JANE));
    let door = grid.setup("persistence = \"dn\"").start();
    let mut held = vec![grid.log_in(&door, &joe), grid.log_in(&door, &jane)];
    held.extend((0..3).map(|_| grid.log_in(&door, &joe)));
    reload(&door);
    held.extend((0..2).map(|_| grid.log_in(&door, &joe)));
    let servers_of = |dn: &str| {
        let servers = sessions(&door).into_iter().filter(|it| it["dn"] == dn);
        servers.map(|it| it["real_server"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let of_joe = servers_of(JOE);
    assert_eq!(of_joe.len(), 6);
    let home = of_joe[0].clone();
    assert!(of_joe.iter().all(|server| *server == home), "{of_joe:?}");
    assert!(servers_of(JANE)[0] != home, "the scheduler has chosen for her");

    // It is no longer to be had: the next server is the new home, and stays that.
    let output = door.command("drain").arg(&home).output().unwrap();
    assert!(output.status.success());
    held.push(grid.log_in(&door, &joe));
    let output = door.command("undrain").arg(&home).output().unwrap();
    assert!(output.status.success());
    held.push(grid.log_in(&door, &joe));
    let of_joe = servers_of(JOE);
    assert!(of_joe.iter().rev().take(2).all(|server| *server != home), "{of_joe:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a round trip is measured")]
fn a_burst_of_logins_without_keys_all_come_in_and_nobody_else_waits() {
    if !can_run("a burst of GSI logins") {
        return;
    }
    let grid = Grid::new(2);
    let joe = grid.user("joe", JOE);
    // As good as no pool, and all sessions on one thread.
    let door = grid.setup("").global("threads = 1\ngsi_ready_keys = 1").start();
    let mut established = grid.log_in(&door, &joe);
    let done = AtomicBool::new(false);
    let (longest, rounds) = std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let (mut longest, mut rounds) = (Duration::ZERO, 0);
            while !done.load(SeqCst) {
                let begun = Instant::now();
                assert_eq!(established.ask("NOOP").unwrap(), "200 OK.\r\n");
                longest = longest.max(begun.elapsed());
                rounds += 1;
            }
            (longest, rounds)
        });
        let logins: Vec<_> = (0..BURST).map(|_| scope.spawn(|| grid.log_in(&door, &joe))).collect();
        let outcomes: Vec<_> = logins.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, SeqCst);
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert_eq!(failed, 0, "of {BURST} logins at once\n{}", door.log());
        watched.join().unwrap()
    });
    println!("{BURST} logins at once: longest of {rounds} round trips meanwhile {longest:?}");
    assert!(rounds > 0 && longest < STALL, "a round trip took {longest:?}");
    let keys = &door.status()["gsi_keys"];
    assert_eq!((&keys["taken"], &keys["wanted"]), (&(BURST + 1).into(), &1.into()));
    assert!(keys["waits"].as_u64().unwrap() > 0, "{keys}");
}

#[test]
fn no_secret_is_told_or_written() {
    if !can_run("secrets of GSI") {
        return;
    }
    let grid = Grid::new(1);
    let (joe, eve) = (grid.user("joe", JOE), grid.user("eve", EVE));
    let keys = "deny_dn = [\"*/CN=Eve\"]";
    let (door, http) = start_with_http(grid.setup(keys).global("threads = 1\ngsi_ready_keys = 1"));
    let mut client = grid.log_in(&door, &joe);
    client.ask("SITE PSWD secret-of-joe").unwrap();
    grid.connect(&door, &eve).ask("USER eve").unwrap();
    // What goes wrong is told, and not repeated.
    let stranger = Grid::new(0);
    let unknown = stranger.user("mallory", "/O=Grid/OU=test/CN=Mallory");
    let refused = GsiClient::connect(door.address(), &unknown, &grid.trust, HOST).err().unwrap();
    assert!(refused.starts_with("5"), "{refused}");
    let status = door.command("status").args(["--sessions", "--json"]).output().unwrap();
    assert!(client.ask("QUIT").unwrap().starts_with("221 "));
    door.until_empty();
    door.until_logged(&["session ended"]);
    let told = [door.log(), String::from_utf8(status.stdout).unwrap(), get(http, "/metrics").body].concat();
    // Records of TLS begin so in base64 (handshake, data), whatever reply carries them.
    let tokens = ["FgMD", "FwMD"];
    let secrets = ["ADAT", "ENC ", "MIC ", "PRIVATE KEY", "BEGIN CERTIFICATE", "MIIE", "secret-of-joe"];
    for secret in tokens.into_iter().chain(secrets) {
        assert!(!told.contains(secret), "{secret} is told:\n{told}");
    }

    let written = std::fs::read_dir(door.directory()).unwrap().map(|entry| entry.unwrap().path());
    for file in written.filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("PRIVATE KEY"), "{}", file.display());
    }
}

#[test]
fn a_client_for_which_nobody_vouches_is_kept_out() {
    if !can_run("a ban of GSI clients") {
        return;
    }
    let (grid, stranger) = (Grid::new(1), Grid::new(0));
    let joe = grid.user("joe", JOE);
    let ban = "\n[virtual_server.ban]\nfailed_logins = 2\nwithin = \"10m\"\ntime = \"1h\"";
    let door = grid.setup(ban).start();
    // The same name, by another authority of the same name.
    let forged = stranger.user("joe", JOE);
    grid.log_in(&door, &joe).ask("QUIT").unwrap();
    for _ in 0..2 {
        let refused = GsiClient::connect(door.address(), &forged, &grid.trust, HOST).err().unwrap();
        assert!(refused.starts_with('5'), "{refused}");
    }
    let refused = GsiClient::connect(door.address(), &joe, &grid.trust, HOST).err().unwrap();
    assert!(refused.starts_with("421 "), "{refused}");
    door.until_logged(&["client banned", "failed_logins=2"]);
    let gsi = &door.status()["virtual_servers"][0]["gsi"];
    assert_eq!(gsi["logins"]["certificate refused"], 2, "{gsi}");
}

#[test]
fn clients_of_some_networks_have_their_session_with_the_real_server() {
    if !can_run("GSI that passes through for some") {
        return;
    }
    let grid = Grid::new(1);
    let joe = grid.user("joe", JOE);
    let [passing, ending, balancer] = [[127, 3, 3, 3], [127, 5, 5, 5], [127, 4, 4, 4]].map(IpAddr::from);
    // Nor is the name of anybody read there.
    let keys = format!(
        "passthrough_networks = [\"127.3.0.0/16\", \"192.0.2.0/24\", \"{balancer}\"]\ndeny_dn = [\"*/CN=Joe Doe\"]"
    );
    let mut setup = grid.setup(&keys);
    setup.virtual_server = format!("proxy_protocol_from = [\"{balancer}\"]\n{}", setup.virtual_server);
    let door = setup.start();
    let greeting = |from: IpAddr, header: &str| {
        let mut client = ControlConnection::open_from(from, door.address());
        client.send(header.as_bytes());
        client.line()
    };
    let named = |client: &str| format!("PROXY TCP4 {client} 127.0.0.1 40000 2811\r\n");
    const DOOR: &str = "220 GridFTP front door (Gridfront) ready.";
    const SERVER: &str = "220 stub GridFTP server";
    for (from, header, greets) in [
        (passing, String::new(), SERVER),
        (ending, String::new(), DOOR),
        // It is the client's address that counts.
        (balancer, named("192.0.2.9"), SERVER),
        (balancer, named("198.51.100.9"), DOOR),
    ] {
        assert_eq!(greeting(from, &header), greets, "{from} {header}");
    }

    let log_in = |from: IpAddr| {
        let stream = ControlConnection::open_from(from, door.address()).into_stream();
        let mut client = GsiClient::over(stream, &joe, &grid.trust, HOST)
            .unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
        let reply = client.ask("USER :globus-mapping:").unwrap();
        (client, reply)
    };
    let (mut inside, reply) = log_in(passing);
    assert_eq!(reply, "230 User logged in.\r\n");
    assert!(log_in(ending).1.starts_with("530-Login incorrect. : "));
    assert_eq!(sessions(&door).len(), 0, "whose it is is not known");
    assert!(inside.ask("QUIT").unwrap().starts_with("221 "));
    let line = door.until_logged(&["session ended", "client=127.3.3.3:", "gsi=\"passthrough\""]);
    assert!(line.contains("gsi_ms=") && !line.contains("dn="), "{line}");
    let gsi = &door.status()["virtual_servers"][0]["gsi"];
    assert_eq!((&gsi["backend_login"], &gsi["passed_through"]), (&"delegated".into(), &3.into()), "{gsi}");

    // From a reload on it holds for all, and for those that are inside nothing changes.
    let file = door.configuration();
    let text = std::fs::read_to_string(&file).unwrap();
    let (text, deny) = text.split_once(&keys).unwrap();
    let mut waiting = ControlConnection::open_from(ending, door.address());
    assert_eq!(waiting.line(), DOOR);
    std::fs::write(&file, format!("{text}backend_login = \"passthrough\"{deny}")).unwrap();
    reload(&door);
    assert_eq!(greeting(ending, ""), SERVER);
    assert!(log_in(ending).1.starts_with("230 "));
    let mut waiting = GsiClient::greeted(waiting.into_stream(), &joe, &grid.trust, HOST).unwrap();
    assert!(waiting.ask("USER :globus-mapping:").unwrap().starts_with("530-Login incorrect. : "));
    assert_eq!(door.status()["virtual_servers"][0]["gsi"]["backend_login"], "passthrough");
}

#[test]
fn a_login_whose_client_hangs_up_is_given_up_at_once() {
    if !can_run("GSI clients that hang up") {
        return;
    }
    let (say, heard) = mpsc::channel();
    let mut grid = Grid::new(0);
    // It begins with GSI and does not go on.
    grid.servers.push(StubServer::start_at(([127, 0, 0, 9], 0).into(), move |connection| {
        connection.say("220 stub GridFTP server\r\n")?;
        if !connection.line()?.eq_ignore_ascii_case(b"AUTH GSSAPI") {
            return connection.say("221 bye\r\n");
        }
        say.send("AUTH".to_owned()).unwrap();
        let next = connection.line()?;
        say.send(String::from_utf8_lossy(&next).into_owned()).unwrap();
        Ok(())
    }));
    let joe = grid.user("joe", JOE);
    let door = grid.setup("").start();
    let mut client = grid.connect(&door, &joe);
    client.say("USER :globus-mapping:").unwrap();
    assert_eq!(heard.recv_timeout(NOTICE).unwrap(), "AUTH", "{}", door.log());
    drop(client);
    assert_eq!(heard.recv_timeout(NOTICE).unwrap(), "QUIT", "{}", door.log());
    door.until_logged(&["GSI login given up", "the client has left in the midst of its login"]);
    door.until_empty();
    let gsi = &door.status()["virtual_servers"][0]["gsi"];
    assert_eq!((&gsi["logins"]["abandoned"], &gsi["users"]), (&1.into(), &0.into()), "{gsi}");
    let server = door.real_server("s1");
    assert_eq!((&server["gsi_failures"], &server["sessions"]), (&0.into(), &0.into()), "{server}");
}
