//! Tests that cannot run here say so, are counted, and fail where nothing may be left out.

use std::io::Write as _;
use std::path::PathBuf;

/// Where `integration/run` reads what was left out; one line each.
const LIST: &str = "skipped.txt";

/// True when everything is there. Otherwise the test is to return at once.
///
/// # Panics
/// With `GRIDFRONT_REQUIRE_ALL=1` when something is missing.
pub fn unless_present(what: &str, programs: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        skipped(what, "network namespaces need root");
        return false;
    }
    let missing: Vec<&str> = programs.iter().copied().filter(|program| find(program).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    skipped(what, &format!("not installed: {}; integration/run installs them", missing.join(", ")));
    false
}

/// Prints and counts one thing left out.
///
/// # Panics
/// With `GRIDFRONT_REQUIRE_ALL=1`.
pub fn skipped(what: &str, why: &str) {
    println!("SKIPPED: {what}, {why}");
    let mut list = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(results().join(LIST))
        .expect("the list of skipped tests opens");
    writeln!(list, "SKIPPED: {what}, {why}").expect("the list of skipped tests takes a line");
    assert!(
        std::env::var_os("GRIDFRONT_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "GRIDFRONT_REQUIRE_ALL=1, and {what} was left out: {why}"
    );
}

/// Tables and lists that outlive the tests: `target/integration` of this checkout.
pub fn results() -> PathBuf {
    // CARGO_TARGET_TMPDIR is target/tmp, wherever the target directory is.
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target directory")
        .join("integration");
    std::fs::create_dir_all(&directory).expect("target/integration can be made");
    directory
}

/// A program by name, also in the directories that only root has on the path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}
