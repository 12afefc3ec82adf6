//! The grid's Java client, JGlobus: TLS 1.2, and a check of names by what an address is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{LIMIT, start};
use crate::support::certificates::{HostCertificates, USER};
use crate::support::client;
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, VIRTUAL_NAME, path_text};
use crate::support::seeded::content;
use crate::support::skip;

/// Where Debian puts what the client is made of.
const LIBRARIES: &str = "/usr/share/java";
const ARCHIVES: [&str; 8] = [
    "jglobus-gridftp.jar",
    "jglobus-gss.jar",
    "jglobus-jsse.jar",
    "jglobus-ssl-proxies.jar",
    "bcprov.jar",
    "log4j-1.2.jar",
    "commons-logging.jar",
    "commons-codec.jar",
];

/// Compiles the client into a directory; its class path.
fn compile(directory: &Path) -> String {
    let source: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "integration/support/JGlobusClient.java"].iter().collect();
    let archives = ARCHIVES.map(|archive| format!("{LIBRARIES}/{archive}")).join(":");
    let output = Command::new("javac").args(["-cp", &archives, "-d"]).arg(directory).arg(source).output();
    let output = output.expect("javac runs");
    assert!(output.status.success(), "javac: {}", String::from_utf8_lossy(&output.stderr));
    format!("{}:{archives}", path_text(directory))
}

#[test]
fn jglobus_gets_and_puts_files() {
    let programs: Vec<&str> = PROGRAMS.iter().copied().chain(["java", "javac"]).collect();
    if !skip::unless_present("JGlobus", &programs) {
        return;
    }
    if let Some(missing) = ARCHIVES.iter().find(|archive| !Path::new(LIBRARIES).join(archive).is_file()) {
        skip::skipped("JGlobus", &format!("not installed: {missing}; integration/run installs it"));
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let door = start(&site);
    let classes = compile(&site.client_directory());
    // The Java programs of this library read no environment.
    let environment: Vec<String> = site
        .client_environment()
        .into_iter()
        .filter(|(name, _)| name.starts_with("X509_"))
        .map(|(name, value)| format!("-D{name}={value}"))
        .collect();
    let file = content(3, 3_000_017);
    let [here, there, back] = [
        site.client_directory().join("here"),
        site.data_directory().join("there"),
        site.client_directory().join("back"),
    ];
    std::fs::write(&here, &file).unwrap();
    for words in
        [["put", &path_text(&here), &path_text(&there)], ["get", &path_text(&there), &path_text(&back)]]
    {
        let java = ["java".to_owned(), "-cp".to_owned(), classes.clone()];
        let class = ["JGlobusClient".to_owned(), VIRTUAL_NAME.to_owned(), PORT.to_string()];
        let words: Vec<String> = java
            .into_iter()
            .chain(environment.clone())
            .chain(class)
            .chain(words.map(str::to_owned))
            .collect();
        let finished = client::run(&site, site.machine("client"), &words, &[], LIMIT);
        assert!(finished.success(), "{}\n{}\n{}", finished.output, door.log_tail(), site.logs());
    }
    assert!(std::fs::read(&there).unwrap() == file, "what was put is another file");
    assert!(std::fs::read(&back).unwrap() == file, "what was got is another file");
    let log = door.log();
    for direction in ["STOR", "RETR"] {
        let line = log.lines().find(|line| line.contains(" transfer ") && line.contains(direction));
        let line = line.unwrap_or_else(|| panic!("no {direction} in\n{log}"));
        assert!(line.contains("data_path=direct"), "{line}");
    }
    assert!(log.contains(&format!("dn=\"{USER}\"")), "{log}");
}
