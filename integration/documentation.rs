//! What the documentation says exists: commands, flags, configuration keys, limits, files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::door::program;
use crate::support::skip;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page, named from the root of the repository.
fn pages() -> Vec<PathBuf> {
    ["", "docs", "certs-example"]
        .iter()
        .flat_map(|directory| std::fs::read_dir(root().join(directory)).expect("a directory of ours"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// The fenced blocks of a page: the word behind the fence, and the text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    page.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n')).collect()
}

/// What stands between single backquotes outside of fenced blocks.
fn spans(page: &str) -> Vec<&str> {
    let prose = page.split("\n```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

fn help(words: &[&str]) -> String {
    let output = Command::new(program()).args(words).arg("--help").output().expect("gridfront runs");
    assert!(output.status.success(), "gridfront {words:?} --help");
    String::from_utf8(output.stdout).expect("help is text")
}

/// The words behind each `gridfront` of a command line, as far as they belong to it.
fn commands(line: &str) -> Vec<Vec<&str>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let starts = words.windows(2).enumerate().filter_map(|(at, pair)| match pair {
        [program, _] if *program == "gridfront" || program.ends_with("/gridfront") => Some(at + 1),
        ["--", "demo"] => Some(at + 1),
        _ => None,
    });
    let ends = |word: &&&str| !["|", "&", "&&", "2>", ">", ";", "#"].contains(*word);
    starts.map(|start| words[start..].iter().take_while(ends).copied().collect()).collect()
}

#[test]
fn every_command_and_flag_that_is_named_exists() {
    let known: BTreeSet<String> = help(&[])
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert!(!known.contains("guardian"), "nobody types it");
    let mut seen = BTreeSet::new();
    let unit = root().join("docs/gridfront.service");
    for path in pages().into_iter().chain([unit]) {
        let page = read(&path);
        let code = if path.extension().is_some_and(|extension| extension == "service") {
            page.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect()
        } else {
            let mut code = spans(&page);
            code.extend(
                blocks(&page).iter().filter(|(kind, _)| *kind == "sh").flat_map(|(_, text)| text.lines()),
            );
            code
        };
        for command in code.into_iter().flat_map(commands) {
            let place = format!("{}: gridfront {}", path.display(), command.join(" "));
            let name = command[0];
            assert!(known.contains(name) || ["--version", "--help"].contains(&name), "{place}");
            let text = match command.as_slice() {
                ["realserver", word, ..] => help(&["realserver", word]),
                _ if known.contains(name) => help(&[name]),
                _ => help(&[]),
            };
            for flag in command.iter().filter(|word| word.starts_with('-')) {
                let flag = flag.split('=').next().unwrap_or_default();
                let offered = text.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == flag);
                assert!(offered, "{place}: there is no {flag}");
            }
            seen.insert(name.to_owned());
        }
    }
    for name in known.iter().filter(|name| *name != "help") {
        assert!(seen.contains(name), "`gridfront {name}` is documented nowhere");
    }
}

#[test]
fn every_configuration_that_is_shown_is_accepted() {
    let mut shown = 0;
    for path in pages() {
        for (_, text) in blocks(&read(&path)).into_iter().filter(|(kind, _)| *kind == "toml") {
            shown += 1;
            if let Err(problems) = gridfront::config::toml::parse(&path, text) {
                panic!("{}:\n{text}\n{problems:?}", path.display());
            }
        }
    }
    assert!(shown > 0, "no configuration is shown");
}

/// The example that has every key is the list of what there is; a unit test holds it to the parser.
#[test]
fn every_configuration_key_that_is_named_exists() {
    let example = read(&root().join("docs/examples/gridfront.toml"));
    let key =
        |line: &str| line.split(" =").next().unwrap_or_default().trim_start_matches('#').trim().to_owned();
    let keys: BTreeSet<String> = example.lines().filter(|line| line.contains(" = ")).map(key).collect();
    let sources = sources();
    for path in pages() {
        for span in spans(&read(&path)) {
            let setting =
                span.split_once(" = ").filter(|(name, _)| name.starts_with(|c: char| c.is_ascii_lowercase()));
            if let Some((name, _)) = setting {
                assert!(keys.contains(name), "{}: `{span}`: no such key", path.display());
            } else if span.contains('_') && span.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                // A key, or a field of the log or of `status`.
                let is_whole = |text: &str| {
                    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == span)
                };
                let exists = keys.contains(span) || sources.iter().any(|(_, text)| is_whole(text));
                assert!(exists, "{}: `{span}`: no key, no field", path.display());
            }
        }
    }
}

#[test]
fn every_relative_link_leads_somewhere() {
    for path in pages() {
        let page = read(&path);
        for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if target.contains("://") || file.is_empty() {
                continue;
            }
            let file = path.parent().expect("a page is in a directory").join(file);
            assert!(file.exists(), "{}: {target}", path.display());
        }
    }
}

/// Of the sets that docs/gridfront.service denies: what is of use to a program without privileges (systemd.exec(5)). A call that
/// is denied ends the process with SIGSYS. `setrlimit` is not here: on Linux it is `prlimit64`, which every service may use.
const DENIED: [&str; 7] = [
    "ioprio_set",
    "mbind",
    "sched_setaffinity",
    "sched_setattr",
    "sched_setparam",
    "sched_setscheduler",
    "setpriority",
];

#[test]
fn the_unit_allows_what_the_daemon_asks_of_the_kernel() {
    let unit = read(&root().join("docs/gridfront.service"));
    let filters: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    let denies = |line: &str| line.starts_with('~') && line.ends_with(" @resources");
    let denial = filters.iter().position(|line| denies(line)).expect("the unit denies @resources");
    let allowed: Vec<&str> = filters[denial + 1..].iter().flat_map(|line| line.split(' ')).collect();
    let asked: BTreeSet<&str> = sources()
        .iter()
        .filter(|(file, _)| file.starts_with("src/sys/"))
        .flat_map(|(_, text)| DENIED.into_iter().filter(|call| text.contains(call)))
        .collect();
    assert!(asked.contains("setpriority"), "src/sys/thread.rs asks for it");
    for call in asked {
        assert!(
            allowed.contains(&call),
            "src/sys has {call}, which the unit denies and does not allow again"
        );
    }
}

/// What messages of the daemon name as missing.
#[test]
fn the_addition_for_vrrp_gives_what_vrrp_takes() {
    let addition = read(&root().join("docs/gridfront-vrrp.conf"));
    let words = |key: &str| -> BTreeSet<String> {
        let lines = addition.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let needed: BTreeSet<String> = sources()
        .iter()
        .filter(|(file, _)| {
            ["real_time.rs", "capabilities.rs"].iter().any(|name| file == &format!("src/sys/{name}"))
        })
        .flat_map(|(_, text)| {
            let names = text.split(|c: char| !c.is_ascii_uppercase() && c != '_').map(str::to_owned);
            names.filter(|name| name.starts_with("CAP_")).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(needed.len(), 4, "{needed:?}");
    assert_eq!(words("AmbientCapabilities"), needed);
    assert_eq!(words("CapabilityBoundingSet"), needed, "without these the former are not had");
    assert_eq!(words("RestrictAddressFamilies"), ["AF_NETLINK", "AF_PACKET"].map(String::from).into());
    assert_eq!(words("RestrictRealtime"), ["no".to_owned()].into());
    let unit = read(&root().join("docs/gridfront.service"));
    assert!(
        unit.contains("\nKillMode=control-group\n"),
        "the guardian is to outlive a daemon that is killed"
    );
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    if skip::find("systemd-analyze").is_none() {
        skip::skipped("the unit as systemd reads it", "not installed: systemd-analyze");
        return;
    }
    // Programs that are not there are an error, and nothing is installed.
    let unit = read(&root().join("docs/gridfront.service")).replace("/usr/local/bin/gridfront", program());
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gridfront.service");
    std::fs::write(&file, unit).expect("space");
    assert_understood(&file);
    let beside = directory.path().join("gridfront.service.d");
    std::fs::create_dir(&beside).expect("space");
    let addition = read(&root().join("docs/gridfront-vrrp.conf")).replace("\n#Pro", "\nPro");
    std::fs::write(beside.join("vrrp.conf"), addition).expect("space");
    assert_understood(&file);
    let addition = read(&root().join("docs/gridfront-kernel.conf"));
    std::fs::write(beside.join("kernel.conf"), addition).expect("space");
    assert_understood(&file);
}

fn assert_understood(unit: &Path) {
    let output = Command::new("systemd-analyze").arg("verify").arg(unit).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // What it finds in units of the host is nothing of ours; what it does not know it says, and ignores.
    let is_ours = |line: &&str| {
        ["gridfront.service", "vrrp.conf", "kernel.conf"].iter().any(|name| line.contains(name))
    };
    let of_ours: Vec<&str> = said.lines().filter(is_ours).collect();
    assert!(output.status.success() && of_ours.is_empty(), "{}: {said}", output.status);
}

/// Product files and their text.
fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(directory).expect("a directory of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push((name, read(&path)));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), &mut found);
    found
}

/// Rows of docs/limits.md end with the constant as it stands in the source: `` `NAME = expression` in `file` ``.
#[test]
fn the_list_of_limits_is_that_of_the_source() {
    let page = read(&root().join("docs/limits.md"));
    let listed: BTreeSet<(String, String)> = page
        .lines()
        .filter_map(|line| {
            line.strip_suffix(" |")?.rsplit_once("| ")?.1.strip_prefix('`')?.split_once("` in `")
        })
        .map(|(constant, file)| (file.trim_end_matches('`').to_owned(), constant.to_owned()))
        .collect();
    let mut written = BTreeSet::new();
    for (file, text) in sources() {
        // The demo's embedded servers are no part of the daemon.
        if file.starts_with("src/cli/demo") || file.contains("/tests") {
            continue;
        }
        let product = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in product.lines() {
            let declared = line.split_once("const ").filter(|(before, _)| !before.contains('/'));
            let Some((name, rest)) = declared.and_then(|(_, rest)| rest.split_once(": ")) else { continue };
            let Some((_, value)) = rest.strip_suffix(';').and_then(|rest| rest.split_once(" = ")) else {
                continue;
            };
            let is_limit =
                ["MAX_", "LONGEST", "SHORTEST", "BACKLOG"].iter().any(|word| name.starts_with(word));
            if is_limit && !line.starts_with(' ') {
                written.insert((file.clone(), format!("{name} = {value}")));
            }
        }
    }
    let missing: Vec<_> = written.difference(&listed).collect();
    assert!(missing.is_empty(), "not in docs/limits.md: {missing:#?}");
    for (file, constant) in &listed {
        let (name, value) = constant.split_once(" = ").unwrap_or_else(|| panic!("{constant}: no value"));
        let text = read(&root().join(file));
        let stands = text
            .lines()
            .any(|line| line.contains(&format!("const {name}: ")) && line.ends_with(&format!(" = {value};")));
        assert!(stands, "docs/limits.md: `{constant}` is not in {file}");
    }
}

/// Names of tests are long enough to be told from keys.
#[test]
fn every_test_that_conformance_names_exists() {
    let page = read(&root().join("docs/conformance.md"));
    let sources = sources();
    let is_name = |span: &&str| {
        span.split('_').count() > 3 && span.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let named: BTreeSet<&str> = spans(&page).into_iter().filter(is_name).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let declared = format!("fn {name}(");
        let exists = sources.iter().any(|(_, text)| {
            text.find(&declared).is_some_and(|at| text[..at].trim_end().ends_with("#[test]"))
        });
        assert!(exists, "docs/conformance.md: no test `{name}`");
    }
}

/// deny.toml is for cargo-deny; its two rules that matter most are checked without it, too.
#[test]
fn every_dependency_has_an_allowed_licence_and_comes_from_the_registry() {
    let deny = read(&root().join("deny.toml"));
    let allowed: BTreeSet<&str> = deny
        .split_once("\nallow = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(list, _)| list.split('"').skip(1).step_by(2).collect())
        .expect("deny.toml has a list of licences");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 20, "cargo metadata names {} packages", packages.len());
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
        // One of the alternatives, with everything that it consists of.
        let fine = licence
            .replace(['(', ')'], "")
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|one| allowed.contains(one.trim())));
        assert!(fine, "{name}: licence `{licence}` is not in deny.toml");
        let source = package["source"].as_str();
        assert!(
            name == "gridfront"
                || source.is_some_and(
                    |source| source.starts_with("registry+https://github.com/rust-lang/crates.io-index")
                ),
            "{name}: comes from {source:?}"
        );
        assert!(
            !["openssl-sys", "openssl"].contains(&name),
            "{name}: there is one TLS library, and it is not this"
        );
    }
}
