//! The architecture as a test: what each layer may use, what the pure ones may not name, how large a file may be.

mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use source::{paths, without_tests};

/// Each layer, and the layers that it may use besides itself. Nothing points up; parts of the product do not know each other.
const LAYERS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("balance", &["proto"]),
    ("config", &["balance", "proto"]),
    ("sys", &["proto"]),
    ("tls", &["config", "proto"]),
    ("proxy", &["tls", "sys", "config", "balance", "proto"]),
    ("script", &["sys", "config"]),
    ("checker", &["script", "tls", "sys", "config", "balance", "proto"]),
    ("vrrp", &["sys", "config", "balance", "proto"]),
    ("forwarding", &["sys", "config", "balance", "proto"]),
    ("resolver", &["config"]),
    ("realserver", &["sys", "proto"]),
    (
        "control",
        &[
            "proxy",
            "checker",
            "vrrp",
            "forwarding",
            "resolver",
            "script",
            "tls",
            "sys",
            "config",
            "balance",
            "proto",
        ],
    ),
    (
        "cli",
        &[
            "control",
            "proxy",
            "checker",
            "vrrp",
            "forwarding",
            "resolver",
            "realserver",
            "script",
            "tls",
            "sys",
            "config",
            "balance",
            "proto",
        ],
    ),
];

/// Layers that only turn bytes and values into decisions.
const PURE: &[&str] = &["proto", "balance", "config"];

/// What gives I/O, a clock or a thread away, wherever it stands in a path.
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["socket2"],
    &["rustix"],
    &["sd_notify"],
    &["dashmap"],
    &["tracing"],
    &["std", "fs"],
    &["std", "thread"],
    &["std", "env"],
    &["std", "process"],
    &["std", "os"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["UnixStream"],
    &["UnixListener"],
    &["Instant", "now"],
    &["SystemTime"],
    &["UnixTime", "now"],
];

/// What takes random numbers from the system, the one thing in the pure layers that is no argument: a handshake that could be foretold
/// would protect nothing. It stays in one place.
const RANDOM: &[&str] = &["rustls", "aws_lc_rs"];

/// That place.
const MAY_BE_RANDOM: [&str; 2] = ["proto", "gsi"];

/// Beyond it a file has two jobs. Lines, without the test module at its end.
const LONGEST_FILE: usize = 600;

/// Names that say nothing of the field.
const DRAWERS: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc", "types"];

/// One breach: `src/proto/bad.rs:1: proto must not use proxy`.
type Breach = String;

fn examine(root: &Path) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in rust_files(&root.join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source file can be read");
        let file = file.strip_prefix(root).expect("it is below the root").to_owned();
        examine_file(&file, &text, &mut breaches);
    }
    breaches
}

fn examine_file(file: &Path, text: &str, breaches: &mut Vec<Breach>) {
    let module = module_of(file);
    let layer = module.first().map_or("", String::as_str);
    let product = without_tests(text);
    let mut breach = |line: usize, what: &str| breaches.push(format!("{}:{line}: {what}", file.display()));

    let known = LAYERS.iter().find(|(name, _)| *name == layer);
    if known.is_none() && !layer.is_empty() {
        breach(1, &format!("{layer} is no layer; give it a place in integration/architecture.rs"));
    }
    if let Some(name) = module.iter().find(|name| DRAWERS.contains(&name.as_str())) {
        breach(1, &format!("`{name}` is no noun of the field"));
    }
    let is_test = module.iter().any(|name| name == "tests");
    let lines = product.lines().count();
    if lines > LONGEST_FILE && !is_test {
        breach(1, &format!("{lines} lines; more than {LONGEST_FILE} are two jobs"));
    }
    for path in paths(text) {
        if path.words == ["unsafe"] && layer != "sys" {
            breach(path.line, "`unsafe` is for sys");
        }
        if let (Some((_, may_use)), Some(used)) = (known, layer_of(&path.words, module.len()))
            && used != layer
            && !may_use.contains(&used)
        {
            breach(path.line, &format!("{layer} must not use {used}"));
        }
    }
    if PURE.contains(&layer) && !is_test {
        for path in paths(product) {
            let named =
                IMPURE.iter().find(|words| path.words.windows(words.len()).any(|part| part == **words));
            if let Some(words) = named {
                breach(path.line, &format!("{layer} is pure and must not name {}", words.join("::")));
            }
            if !module.starts_with(&MAY_BE_RANDOM.map(str::to_owned))
                && let Some(library) = path.words.first().filter(|word| RANDOM.contains(&word.as_str()))
            {
                breach(
                    path.line,
                    &format!("{library} takes random numbers: in pure layers it is for proto::gsi"),
                );
            }
        }
    }
}

/// The layer that a path leads into, seen from a module at this depth.
fn layer_of(words: &[String], depth: usize) -> Option<&str> {
    let supers = words.iter().take_while(|word| *word == "super").count();
    let named = match words.first()?.as_str() {
        "crate" | "gridfront" => words.get(1),
        // The root is as many steps up as the module is deep, and one more from a module inside the file.
        "super" if supers == depth || supers == depth + 1 => words.get(supers),
        _ => None,
    }?;
    LAYERS.iter().map(|(name, _)| *name).find(|name| name == named)
}

/// `src/proto/ftp/line.rs` is `proto::ftp::line`; main.rs and lib.rs are the root.
fn module_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("src").expect("a file of src").with_extension("");
    let words: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if words == ["main"] || words == ["lib"] { Vec::new() } else { words }
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn modules_depend_only_downwards_and_pure_layers_stay_pure() {
    let breaches = examine(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn planted_violations_are_found() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &str)] = &[
        ("src/proto/bad.rs",      "use crate::proxy::Service;",             "src/proto/bad.rs:1: proto must not use proxy"),
        ("src/proto/ftp/bad.rs",  "\nuse super::super::super::cli;",        "src/proto/ftp/bad.rs:2: proto must not use cli"),
        ("src/proxy/bad.rs",      "fn f() { super::super::checker::g() }",  "src/proxy/bad.rs:1: proxy must not use checker"),
        ("src/proxy/bad.rs",      "use crate::forwarding::marker::Marks;",  "src/proxy/bad.rs:1: proxy must not use forwarding"),
        ("src/forwarding.rs",     "use super::proxy::Service;",             "src/forwarding.rs:1: forwarding must not use proxy"),
        ("src/balance.rs",        "use super::{config::Model};",            "src/balance.rs:1: balance must not use config"),
        ("src/checker/bad.rs",    "use crate::{balance, control::Daemon};", "src/checker/bad.rs:1: checker must not use control"),
        ("src/config/bad.rs",     "use std::{env, fmt};",                   "src/config/bad.rs:1: config is pure and must not name std::env"),
        ("src/balance/bad.rs",    "fn f() { let _ = Instant::now(); }",     "src/balance/bad.rs:1: balance is pure and must not name Instant::now"),
        ("src/proto/gsi/bad.rs",  "fn f() { UnixTime::now(); }",           "src/proto/gsi/bad.rs:1: proto is pure and must not name UnixTime::now"),
        ("src/proto/ftp/bad.rs",  "use rustls::Connection;",               "src/proto/ftp/bad.rs:1: rustls takes random numbers: in pure layers it is for proto::gsi"),
        ("src/config/bad.rs",     "use aws_lc_rs::rand;",                  "src/config/bad.rs:1: aws_lc_rs takes random numbers: in pure layers it is for proto::gsi"),
        ("src/proto/arp.rs",      "async fn f(s: tokio::net::TcpStream) {}", "src/proto/arp.rs:1: proto is pure and must not name tokio"),
        ("src/proxy/bad.rs",      "fn f() { unsafe { g() } }",              "src/proxy/bad.rs:1: `unsafe` is for sys"),
        ("src/proxy/utils.rs",    "",                                       "src/proxy/utils.rs:1: `utils` is no noun of the field"),
        ("src/cache.rs",          "",                                       "src/cache.rs:1: cache is no layer; give it a place in integration/architecture.rs"),
    ];
    for (file, text, expected) in table {
        let mut breaches = Vec::new();
        examine_file(Path::new(file), text, &mut breaches);
        assert_eq!(breaches, [*expected], "{text}");
    }
    let mut breaches = Vec::new();
    examine_file(Path::new("src/proto/long.rs"), &"//\n".repeat(LONGEST_FILE + 1), &mut breaches);
    assert_eq!(breaches, ["src/proto/long.rs:1: 601 lines; more than 600 are two jobs"]);
    let fine = "use crate::proto::ftp::Session;\nuse super::real_server::RealServer;\n\n#[cfg(test)]\nmod tests {\n    fn f() { Instant::now(); }\n}\n";
    breaches.clear();
    examine_file(Path::new("src/balance/good.rs"), fine, &mut breaches);
    assert!(breaches.is_empty(), "{breaches:?}");
}

#[test]
fn every_layer_is_declared_where_the_map_is() {
    let library = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("src/lib.rs");
    let declared: BTreeSet<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let listed: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(declared, listed);
}
