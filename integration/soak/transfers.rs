//! Large transfers on each data path, while another server dies, the configuration is read again and a thousand sessions come
//! and go: whole.

use std::fmt::Write as _;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sessions::{Churn, RealServer};
use crate::support::certificates::{Authority, set_mode};
use crate::support::client::{self, Desk};
use crate::support::deadline::{self, Stopwatch};
use crate::support::door::{Configuration, DIRECT_PORT, Door, RELAYED_PORT, program};
use crate::support::grid::{PORT, PROGRAMS, REAL_SERVERS, Security, Servers, Site, VIRTUAL_NAME, path_text};
use crate::support::process::{Process, tail};
use crate::support::seeded::{Seeded, long, seed};
use crate::support::skip;

/// For all of them together.
const LIMIT: Duration = Duration::from_secs(600);
/// Until all of them move bytes.
const BEGIN: Duration = Duration::from_secs(30);
/// What arrives at a machine until all has happened: none of them can have ended before.
const RATE: &str = "24mbit";
/// Sessions meanwhile.
const SESSIONS: u64 = 1000;
/// Where they go.
const CROWDED_PORT: u16 = 2891;

/// Name, port of the door, and the program.
const PATHS: [(&str, u16, &str); 3] = [
    ("direct", DIRECT_PORT, "globus-url-copy"),
    ("relay", RELAYED_PORT, "curl"),
    ("relay with TLS", PORT, "curl --ssl-reqd"),
];

struct Transfer {
    what: String,
    process: Process,
    source: PathBuf,
    copy: PathBuf,
}

#[test]
fn large_transfers_on_each_data_path_outlast_a_death_a_reload_and_a_thousand_sessions() {
    let programs = [PROGRAMS, &["curl", "globus-url-copy", "tc"]].concat();
    if !skip::unless_present("large transfers under way", &programs) {
        return;
    }
    let size = if long() { 1 << 30 } else { 64 << 20 };
    let seed = seed();
    println!("GRIDFRONT_SEED={seed}");
    let mut site = Site::start(Security::Anonymous, Servers::Three);
    let authority = Authority::new(&site.directory().join("ca"), "Soak CA");
    let credential = authority.issue_host("door", &[VIRTUAL_NAME.to_owned()]);
    let tls = format!(
        "\n[virtual_server.tls]\ncertificate = \"{}\"\nkey = \"{}\"",
        path_text(&credential.certificate),
        path_text(&credential.key)
    );
    let check = "delay_loop = \"500ms\"\nretry = 0";
    // A Globus server is a process a session, so a thousand at once have one of their own.
    let crowded = site.machine("door").enter(RealServer::start);
    let configuration = Configuration::new(&site)
        .virtual_server("gridftp", PORT, &tls)
        .check(check)
        .three(&site, PORT)
        .virtual_server("direct", DIRECT_PORT, "data_path = \"direct\"")
        .check(check)
        .three(&site, PORT)
        .virtual_server("relayed", RELAYED_PORT, "data_path = \"relay\"")
        .check(check)
        .three(&site, PORT)
        .virtual_server("crowded", CROWDED_PORT, "")
        .real_server("crowded", "127.0.0.1", crowded.address().port(), "");
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    let set_rate = |site: &Site, rate| {
        REAL_SERVERS.iter().chain(&["client"]).for_each(|role| site.lab().throttle(role, rate));
    };
    set_rate(&site, Some(RATE));
    let [here, there] = [site.client_directory().join("large"), site.data_directory().join("large")];
    write_random(&here, size, seed);
    std::fs::copy(&here, &there).expect("space");
    set_mode(&there, 0o644);

    let watch = Stopwatch::start();
    let mut transfers: Vec<Transfer> = Vec::new();
    for (path, port, program) in PATHS {
        for put in [false, true] {
            transfers.push(begin(&site, &authority, path, port, program, put, [&here, &there]));
        }
    }
    deadline::until("bytes of every transfer", BEGIN, || {
        let waiting: Vec<&str> = transfers
            .iter()
            .filter(|transfer| std::fs::metadata(&transfer.copy).map_or(0, |file| file.len()) < 1 << 16)
            .map(|transfer| transfer.what.as_str())
            .collect();
        if waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:?}\n{}", door.log_tail())) }
    })
    .unwrap_or_else(|why| panic!("{why}"));

    let mut told = String::new();
    let dead = idle_server(&door);
    site.kill(dead);
    writeln!(told, "{dead} was killed").expect("a string takes lines");
    if reload(&door, &configuration) {
        told.push_str("the configuration was reloaded\n");
    }
    let address = SocketAddr::new(IpAddr::from(site.machine("door").v4()), CROWDED_PORT);
    let churn = Churn { door: address, rate: 500, time: Duration::ZERO, least: SESSIONS };
    let churned = site.machine("client").enter(|| churn.run());
    writeln!(told, "{} sessions meanwhile, {} failed", churned.whole + churned.cut, churned.failed)
        .expect("a string takes lines");
    for transfer in &mut transfers {
        let ended = transfer.process.ended();
        assert!(
            ended.is_none(),
            "{} was over before all had happened: {ended:?}\n{}",
            transfer.what,
            transfer.process.output()
        );
    }
    set_rate(&site, None);
    for transfer in &mut transfers {
        let left = LIMIT.saturating_sub(watch.elapsed());
        let status = transfer.process.wait(left);
        assert!(
            status.is_some_and(|status| status.success()),
            "{}: {status:?}\n{}\n{}",
            transfer.what,
            tail(&transfer.process.output(), 10),
            door.log_tail()
        );
        compare(&transfer.source, &transfer.copy).unwrap_or_else(|why| panic!("{}: {why}", transfer.what));
        writeln!(told, "{:<20} {size} bytes identical", transfer.what).expect("a string takes lines");
    }
    super::keep("soak-transfers.txt", &format!("{told}{:.1} s\n", watch.elapsed().as_secs_f32()));
    assert_eq!(churned.failed, 0, "sessions that failed\n{}", door.log_tail());
}

/// Starts a client of its own for one direction of one path.
fn begin(
    site: &Site,
    authority: &Authority,
    path: &str,
    port: u16,
    program: &str,
    put: bool,
    [here, there]: [&Path; 2],
) -> Transfer {
    let direction = if put { "put" } else { "get" };
    let name = format!("{}-{direction}", path.replace(' ', "-"));
    let door = site.machine("door").v4();
    let (source, copy) = if put {
        (here.to_owned(), site.data_directory().join(&name))
    } else {
        (there.to_owned(), site.client_directory().join(&name))
    };
    let mut words: Vec<String> = program.split(' ').map(str::to_owned).collect();
    if program == "globus-url-copy" {
        let local = |path: &Path| format!("file://{}", path_text(path));
        let remote = |path: &Path| format!("ftp://{door}:{port}{}", path_text(path));
        let [from, to] = if put { [local(&source), remote(&copy)] } else { [remote(&source), local(&copy)] };
        words.extend(["-p".into(), "4".into(), from, to]);
    } else {
        let file = if put { &copy } else { &source };
        let file = file.file_name().and_then(|name| name.to_str()).expect("a name of ours");
        let (how, local) = if put { ("-T", &source) } else { ("-o", &copy) };
        let ca = path_text(&authority.certificate());
        words.extend(["-sS", "-4", "--cacert", &ca, how, &path_text(local)].map(str::to_owned));
        words.push(format!("ftp://{VIRTUAL_NAME}:{port}/{file}"));
    }
    let command = Desk::of(site, site.machine("client")).command(&words);
    let process = Process::spawn(command, &site.scratch("output"));
    Transfer { what: format!("{path} {direction}"), process, source, copy }
}

/// A server that carries none of the sessions.
fn idle_server(door: &Door) -> &'static str {
    let servers = door.real_servers().unwrap_or_else(|why| panic!("{why}"));
    let idle = REAL_SERVERS.into_iter().rfind(|role| {
        let mut own = servers.iter().filter(|(_, name, _)| name == role);
        own.all(|(.., server)| server["sessions"] == 0)
    });
    idle.unwrap_or_else(|| {
        panic!("six sessions of three virtual servers leave one server free: {servers:#?}")
    })
}

/// `gridfront reload` with other settings, where the door knows it.
fn reload(door: &Door, configuration: &Configuration) -> bool {
    let help = std::process::Command::new(program()).arg("--help").output().expect("the door's help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    if !help.lines().any(|line| line.split_whitespace().next() == Some("reload")) {
        return false;
    }
    let text = configuration.text().replace("retry = 0", "retry = 1");
    std::fs::write(door.configuration(), text).expect("a file of ours");
    let output = door.configuration().with_extension("reload");
    let finished = client::finish(door.command(&["reload"]), &output, BEGIN);
    assert!(finished.success(), "reload: {}: {}", finished.outcome(), finished.output);
    true
}

fn write_random(path: &Path, size: u64, seed: u64) {
    let mut numbers = Seeded::new(seed);
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path).expect("a file of ours"));
    for _ in 0..size / 8 {
        file.write_all(&numbers.next().to_le_bytes()).expect("space");
    }
    file.flush().expect("space");
    set_mode(path, 0o644);
}

/// Piece by piece: two files of 1 GiB are not to be in memory.
fn compare(source: &Path, copy: &Path) -> Result<(), String> {
    let open = |path: &Path| std::fs::File::open(path).map(BufReader::new).map_err(|error| error.to_string());
    let (mut left, mut right) = (open(source)?, open(copy)?);
    let [mut one, mut other] = [vec![0; 1 << 20], vec![0; 1 << 20]];
    let mut at = 0;
    loop {
        let read = left.read(&mut one).map_err(|error| error.to_string())?;
        if read == 0 {
            let longer = right.read(&mut other).map_err(|error| error.to_string())? > 0;
            return if longer { Err(format!("longer than {at} bytes")) } else { Ok(()) };
        }
        right.read_exact(&mut other[..read]).map_err(|error| format!("after byte {at}: {error}"))?;
        if one[..read] != other[..read] {
            return Err(format!("differs after byte {at}"));
        }
        at += read;
    }
}
