//! The same with real Globus servers and real clients.

use std::process::Output;

use super::{NOTICE, QUICK, server, until};
use crate::support::deadline;
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, VIRTUAL_NAME, name_of, path_text};
use crate::support::skip;

const CONTENT: &[u8] = b"what is on the shared file system";

fn programs() -> Vec<&'static str> {
    [PROGRAMS, &["curl", "globus-url-copy"]].concat()
}

/// A client of the site, on this machine, gets `file` through the door.
fn fetch(site: &Site, machine: &str, client: &str) -> Output {
    // To globus-url-copy a path begins at the root, to curl where the login begins.
    let directory = if client == "curl" { String::new() } else { path_text(&site.data_directory()) };
    let url = format!("ftp://{VIRTUAL_NAME}:{PORT}{directory}/file");
    let mut command = site.machine(machine).command(Some(&site.hosts_file()), client);
    match client {
        "curl" => command.args(["-sS", "--connect-timeout", "10", &url]),
        _ => command.args([&url, "file:///dev/stdout"]),
    };
    let own_name = ("GLOBUS_HOSTNAME", name_of(machine));
    command.envs(site.client_environment()).envs([own_name]).output().expect("the client runs")
}

fn put_file(site: &Site) {
    std::fs::write(site.data_directory().join("file"), CONTENT).expect("our own file");
}

#[test]
fn a_server_whose_file_system_is_gone_is_ejected_and_the_others_serve() {
    if !skip::unless_present("a server without its file system", &programs()) {
        return;
    }
    for client in ["globus-url-copy", "curl"] {
        let site = Site::start(Security::Anonymous, Servers::Three);
        put_file(&site);
        let check = format!("type = \"ftp\"\n{QUICK}\n\n[virtual_server.ejection]\ntime = \"60s\"");
        let configuration =
            Configuration::new(&site).virtual_server("gridftp", PORT, "").check(&check).three(&site, PORT);
        let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
        for _ in 0..6 {
            assert!(
                fetch(&site, "client", client).status.success(),
                "{client}: while all is well\n{}",
                door.log_tail()
            );
        }
        site.cover_data("s2");
        // What fails for one client alone ejects nobody.
        let mut machines = ["client", "client", "front", "front"].iter().cycle();
        let mut failed = 0;
        deadline::until("s2 ejected", NOTICE, || {
            let output = fetch(&site, machines.next().expect("endless"), client);
            failed += usize::from(!output.status.success());
            let state = server(&door, "s2")["state"].clone();
            if state == "ejected" {
                Ok(())
            } else {
                Err(format!("it is {state}, {failed} have failed: {output:?}"))
            }
        })
        .unwrap_or_else(|why| panic!("{client}: {why}\n{}", door.log_tail()));
        assert_eq!(failed, 5, "{client}: as many as `failed_transfers`");
        for _ in 0..9 {
            let output = fetch(&site, "client", client);
            assert!(output.status.success(), "{client}: {output:?}\n{}", door.log_tail());
        }
        assert!(
            server(&door, "s2")["ejected"]["reason"].as_str().is_some_and(|why| why.contains("transfers"))
        );
        site.uncover_data("s2");
    }
}

#[test]
fn the_sorry_server_serves_curl_while_all_others_are_down() {
    if !skip::unless_present("a sorry server for curl", &programs()) {
        return;
    }
    let mut site = Site::start(Security::Anonymous, Servers::Three);
    put_file(&site);
    let [s1, s2, s3] = ["s1", "s2", "s3"].map(|role| site.machine(role).v4().to_string());
    let configuration = Configuration::new(&site)
        .virtual_server("gridftp", PORT, &format!("sorry_server = \"{s3}\""))
        .check(&format!("type = \"ftp\"\n{QUICK}"))
        .real_server("s1", &s1, PORT, "")
        .real_server("s2", &s2, PORT, "");
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    site.kill("s1");
    site.kill("s2");
    for down in [false, true] {
        if down {
            for name in ["s1", "s2"] {
                until(&door, "down", name, |server| server["state"] == "down");
            }
        }
        for client in ["curl", "globus-url-copy"] {
            let output = fetch(&site, "client", client);
            assert!(
                output.status.success() && output.stdout == CONTENT,
                "{client}: {output:?}\n{}",
                door.log_tail()
            );
        }
    }
    let sorry = door.status().unwrap()["virtual_servers"][0]["sorry_server"].clone();
    assert_eq!((&sorry["total_sessions"], &sorry["transfers"]), (&4.into(), &4.into()), "{sorry}");
    site.restart("s1");
    until(&door, "up", "s1", |server| server["state"] == "up");
    assert!(fetch(&site, "client", "curl").status.success());
    let sorry = door.status().unwrap()["virtual_servers"][0]["sorry_server"].clone();
    assert_eq!(sorry["total_sessions"], 4, "{sorry}");
}
