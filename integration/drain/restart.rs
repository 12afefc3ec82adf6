//! All real servers restarted one after the other, by `drain`, restart and `undrain`, while real clients transfer files: no
//! client notices.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::globus::{PATIENCE, done};
use crate::support::certificates::HostCertificates;
use crate::support::deadline;
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, PROGRAMS, REAL_SERVERS, Security, Servers, Site, VIRTUAL_NAME, path_text};
use crate::support::netns::Machine;
use crate::support::process::Process;
use crate::support::seeded::{content, long};
use crate::support::skip;

const SIZE: usize = 3 << 20;

/// How often each server is restarted where there is time.
const LONG_ROUNDS: usize = 10;

/// How a client of the load is called, with `{url}` for the door and the data directory, `{here}` for a file that it
/// reads or writes, and `{there}` for the name of a file that it makes at the servers.
type Words = &'static [&'static str];

const ANONYMOUS: &[Words] = &[
    &["curl", "-sS", "-o", "{here}", "{ftp}/file"],
    &["curl", "-sS", "-T", "{here}", "{ftp}/{there}"],
    // Under way over a drain for most of the time.
    &["curl", "-sS", "--limit-rate", "2M", "-o", "{here}", "{ftp}/file"],
    &["lftp", "-c", "set net:max-retries 1; open {door}; get file -o {here}"],
    &["globus-url-copy", "-p", "2", "{ftp}{data}/file", "file://{here}"],
    &["globus-url-copy", "file://{here}", "{ftp}{data}/{there}"],
];

const GSI: &[Words] = &[
    &["globus-url-copy", "{gsiftp}{data}/file", "file://{here}"],
    &["globus-url-copy", "-p", "2", "{gsiftp}{data}/file", "file://{here}"],
    &["globus-url-copy", "file://{here}", "{gsiftp}{data}/{there}"],
    &["globus-url-copy", "{gsiftp}{data}/file", "{gsiftp}{data}/{there}"],
];

/// What clients need of a site whose servers come and go.
struct Load {
    machine: Machine,
    hosts: PathBuf,
    environment: Vec<(&'static str, String)>,
    door: String,
    client_directory: PathBuf,
    data_directory: PathBuf,
    file: Vec<u8>,
    stop: AtomicBool,
    whole: AtomicUsize,
    errors: Mutex<Vec<String>>,
}

impl Load {
    fn on(site: &Site) -> Self {
        let file = content(11, SIZE);
        std::fs::write(site.data_directory().join("file"), &file).unwrap();
        Self {
            machine: site.machine("client").clone(),
            hosts: site.hosts_file(),
            environment: site.client_environment(),
            door: format!("{VIRTUAL_NAME}:{PORT}"),
            client_directory: site.client_directory(),
            data_directory: site.data_directory(),
            file,
            stop: AtomicBool::new(false),
            whole: AtomicUsize::new(0),
            errors: Mutex::default(),
        }
    }

    /// Transfers one file after the other until it is told to stop.
    fn keep_transferring(&self, number: usize, words: Words) {
        for round in 0.. {
            if self.stop.load(SeqCst) {
                return;
            }
            match self.transfer(&format!("{number}-{round}"), words) {
                Ok(()) => self.whole.fetch_add(1, SeqCst),
                Err(why) => {
                    self.errors.lock().unwrap().push(why);
                    return;
                }
            };
        }
    }

    fn transfer(&self, name: &str, words: Words) -> Result<(), String> {
        let (here, there) = (self.client_directory.join(format!("here-{name}")), format!("there-{name}"));
        let puts = words.iter().any(|word| word.contains("{there}"));
        let reads = puts && words.iter().any(|word| word.contains("{here}"));
        if reads {
            std::fs::write(&here, &self.file).map_err(|error| error.to_string())?;
        }
        let words: Vec<String> = words
            .iter()
            .map(|word| {
                word.replace("{ftp}", &format!("ftp://{}", self.door))
                    .replace("{gsiftp}", &format!("gsiftp://{}", self.door))
                    .replace("{door}", &self.door)
                    .replace("{data}", &path_text(&self.data_directory))
                    .replace("{here}", &path_text(&here))
                    .replace("{there}", &there)
            })
            .collect();
        let mut command = self.machine.command(Some(&self.hosts), &words[0]);
        command.args(&words[1..]).current_dir(&self.client_directory);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        for name in ["http_proxy", "ftp_proxy", "all_proxy", "HTTP_PROXY", "FTP_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        let output = self.client_directory.join(format!("output-{name}"));
        let mut process = Process::spawn(command, &output);
        let status = process.wait(PATIENCE);
        if !status.is_some_and(|status| status.success()) {
            return Err(format!("{}: {status:?}: {}", words.join(" "), process.output()));
        }
        let arrived = if puts { self.data_directory.join(&there) } else { here.clone() };
        if !std::fs::read(&arrived).is_ok_and(|bytes| bytes == self.file) {
            return Err(format!("{}: what arrived is another file", words.join(" ")));
        }
        for file in [here, output, arrived] {
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    }

    /// Waits until so many more files have arrived, or some client has failed.
    fn until_more(&self, files: usize) {
        let wanted = self.whole.load(SeqCst) + files;
        deadline::until("more files", PATIENCE, || {
            let whole = self.whole.load(SeqCst);
            if whole >= wanted || !self.errors.lock().unwrap().is_empty() {
                return Ok(());
            }
            Err(format!("{whole} of {wanted}"))
        })
        .unwrap();
    }
}

/// What an operator does with one server.
fn restart(site: &mut Site, door: &Door, load: &Load, name: &str) {
    let server = || {
        let servers = door.real_servers().unwrap_or_else(|why| panic!("{why}"));
        servers.into_iter().find(|(_, other, _)| other == name).expect("a configured server").2
    };
    done(door, &["drain", name, "--deadline", "60s", "--wait"]);
    let empty = server();
    assert_eq!((&empty["sessions"], &empty["state"]), (&0.into(), &"drained".into()));
    site.kill(name);
    load.until_more(3);
    site.restart(name);
    done(door, &["undrain", name, "--wait", "--timeout", "30s"]);
    deadline::until("sessions again", PATIENCE, || {
        let now = server();
        let total = |server: &serde_json::Value| server["total_sessions"].as_u64();
        if total(&now) > total(&empty) { Ok(()) } else { Err(now.to_string()) }
    })
    .unwrap();
}

fn restart_all_under(site: &mut Site, clients: &[Words]) {
    let configuration = Configuration::new(site)
        .virtual_server("gridftp", PORT, "relay_ports = \"40000-40999\"")
        .check("type = \"ftp\"\ndelay_loop = \"500ms\"\nconnect_timeout = \"1s\"\nretry = 1\ndelay_before_retry = \"200ms\"")
        .three(site, PORT);
    let door = Door::start(site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    let load = Load::on(site);
    std::thread::scope(|scope| {
        for (number, words) in clients.iter().enumerate() {
            let load = &load;
            scope.spawn(move || load.keep_transferring(number, words));
        }
        let course = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            load.until_more(clients.len());
            for _ in 0..if long() { LONG_ROUNDS } else { 1 } {
                for name in REAL_SERVERS {
                    restart(site, &door, &load, name);
                }
            }
            load.until_more(clients.len());
        }));
        load.stop.store(true, SeqCst);
        if let Err(panic) = course {
            std::panic::resume_unwind(panic);
        }
    });
    let errors = load.errors.into_inner().unwrap();
    let whole = load.whole.load(SeqCst);
    assert!(errors.is_empty(), "beside {whole} whole files: {errors:#?}\n{}", door.log_tail());
    println!("{whole} files whole over the restart of three servers, no client error");
    // The door sees the end of its last session a moment after the client.
    deadline::until("no session left, and no panic", PATIENCE, || {
        let status = door.status()?;
        let found = (&status["panics"], &status["sessions"]);
        if found == (&0.into(), &0.into()) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .unwrap();
}

#[test]
fn three_servers_are_restarted_under_ordinary_and_grid_clients_and_none_sees_an_error() {
    let programs: Vec<&str> = PROGRAMS.iter().copied().chain(["curl", "lftp", "globus-url-copy"]).collect();
    if !skip::unless_present("a rolling restart", &programs) {
        return;
    }
    restart_all_under(&mut Site::start(Security::Anonymous, Servers::Three), ANONYMOUS);
}

#[test]
fn three_servers_are_restarted_under_gsi_clients_and_none_sees_an_error() {
    let programs: Vec<&str> = PROGRAMS.iter().copied().chain(["globus-url-copy"]).collect();
    if !skip::unless_present("a rolling restart under GSI", &programs) {
        return;
    }
    let mut site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    restart_all_under(&mut site, GSI);
}
