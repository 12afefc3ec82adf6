//! `[virtual_server.check]`, and `check` of a real server, which says only what is different there.
use super::tls::{absolute_path, certificate_name};
use super::virtual_server::CHECK;
use super::{SHORTEST, duration};
use crate::config::address::Refusal;
use crate::config::error::{Findings, shown};
use crate::config::model::{Account, Check, CheckKind, GsiCheck, SampleFile, Script};
use crate::config::reader::{Field, Kind, Section};
use std::path::PathBuf;
use std::time::Duration;

pub(super) const SERVER_CHECK: Kind = Kind { header: "[virtual_server.real_server.check]", keys: CHECK.keys };

/// Shortest time between two checks: more of them are an attack on the server.
const SHORTEST_DELAY_LOOP: Duration = Duration::from_millis(100);

/// Most tries of a check: at one a second, a quarter of an hour.
const MAX_TRIES: u32 = 1000;

/// Longest user name, password, path or argument of a check, in bytes: PATH_MAX of Linux, which is more than any needs.
const MAX_WORD_LEN: usize = 4096;

/// Most words of a script's command line.
const MAX_SCRIPT_WORDS: usize = 256;

/// Largest file that a check fetches, in bytes: every server is asked for it every `delay_loop`.
const MAX_SAMPLE_SIZE: u64 = 1 << 30;

/// The words of `type`, and the keys that mean something only with some of them.
const TYPES: &[&str] = &["tcp", "ftp", "login", "gsi", "transfer", "script"];
const KEYS_OF_TYPES: &[(&str, &[&str])] = &[
    ("user", &["login", "transfer"]),
    ("password", &["login", "transfer"]),
    ("file", &["transfer"]),
    ("size", &["transfer"]),
    ("checksum", &["transfer"]),
    ("script", &["script"]),
    ("misc_dynamic", &["script"]),
    ("credential", &["gsi"]),
    ("virtual_name", &["gsi"]),
];

/// Reads a table of either kind; what it leaves out is as in `default`. `ends_gsi` is whether GSI ends at the door.
pub(super) fn read_check(
    section: &Section<'_>,
    default: &Check,
    ends_gsi: bool,
    findings: &Findings,
) -> Check {
    let tries = |key, lowest, default| {
        section.field(key).and_then(|field| field.number(&(lowest..=MAX_TRIES))).unwrap_or(default)
    };
    Check {
        kind: read_kind(section, &default.kind, ends_gsi, findings),
        delay_loop: duration(section, "delay_loop", SHORTEST_DELAY_LOOP, default.delay_loop),
        connect_timeout: duration(section, "connect_timeout", SHORTEST, default.connect_timeout),
        max_time: duration(section, "max_time", SHORTEST, default.max_time),
        retry: tries("retry", 0, default.retry),
        delay_before_retry: duration(
            section,
            "delay_before_retry",
            Duration::ZERO,
            default.delay_before_retry,
        ),
        rise: tries("rise", 1, default.rise),
    }
}

fn read_kind(section: &Section<'_>, default: &CheckKind, ends_gsi: bool, findings: &Findings) -> CheckKind {
    let word = match section.field("type") {
        None => default.word().to_owned(),
        Some(field) => match field.word::<String>(TYPES, &[]) {
            Some(word) => word,
            // Which of the other keys are meant is not known.
            None => return CheckKind::default(),
        },
    };
    unused(section, &word, findings);
    match word.as_str() {
        "tcp" => CheckKind::Tcp,
        "login" => CheckKind::Login(read_account(section, default, findings)),
        "transfer" => CheckKind::Transfer(
            read_account(section, default, findings),
            read_file(section, default, findings),
        ),
        "script" => CheckKind::Script(read_script(section, default, findings)),
        "gsi" => {
            if !ends_gsi {
                findings.error(
                    section.field("type").map_or(section.at, |field| field.at),
                    "`type = \"gsi\"` has no authorities to trust and no credential",
                    "add `[virtual_server.gsi]` with `mode = \"terminate\"`, or use `type = \"ftp\"`",
                );
            }
            CheckKind::Gsi(read_gsi(section, default))
        }
        _ => CheckKind::Ftp,
    }
}

/// Keys that the type in force has no use for: most likely the type is not what was meant.
fn unused(section: &Section<'_>, word: &str, findings: &Findings) {
    let unused = KEYS_OF_TYPES.iter().filter(|(_, types)| !types.contains(&word));
    let written = unused.filter_map(|(key, types)| Some((section.place_of(key)?, key, types)));
    if let Some((at, key, types)) = written.min_by_key(|(at, ..)| *at) {
        findings.warning(
            at,
            format!("`{key}` is not used with `type = \"{word}\"`"),
            format!("remove it, or write `type = \"{}\"`", types[0]),
        );
    }
}

fn read_account(section: &Section<'_>, default: &CheckKind, findings: &Findings) -> Account {
    let (user, password) = (section.field("user"), section.field("password"));
    let inherited = match default {
        CheckKind::Login(account) | CheckKind::Transfer(account, _) => account.clone(),
        CheckKind::Tcp | CheckKind::Ftp | CheckKind::Script(_) | CheckKind::Gsi(_) => Account::default(),
    };
    let name = user.and_then(|field| field.parsed(word));
    if let Some(name) = &name
        && password.is_none()
        && *name != inherited.user
        && !["anonymous", "ftp"].contains(&name.as_str())
    {
        findings.error(
            user.map_or(section.at, |field| field.at),
            format!("the user `{}` has no password", shown(name)),
            "add `password = \"…\"` (it may be empty)",
        );
    }
    Account {
        user: name.unwrap_or(inherited.user),
        password: password.and_then(|field| field.parsed(secret)).unwrap_or(inherited.password),
    }
}

fn read_file(section: &Section<'_>, default: &CheckKind, findings: &Findings) -> SampleFile {
    let file = section.field("file");
    let inherited = match default {
        // The size is that of its file.
        CheckKind::Transfer(_, sample) if file.is_none() => Some(sample.clone()),
        _ => None,
    };
    if file.is_none() && inherited.is_none() {
        findings.error(
            section.at,
            "`type = \"transfer\"` has no `file`",
            "add `file = \"…\"`, a small file that every real server has, as the user sees its path",
        );
    }
    let inherited = inherited.unwrap_or(SampleFile { path: String::new(), size: None, adler32: None });
    SampleFile {
        path: file.and_then(|field| field.parsed(word)).unwrap_or(inherited.path),
        size: section.field("size").and_then(|field| field.number(&(0..=MAX_SAMPLE_SIZE))).or(inherited.size),
        adler32: section.field("checksum").and_then(|field| field.parsed(adler32)).or(inherited.adler32),
    }
}

fn read_gsi(section: &Section<'_>, default: &CheckKind) -> GsiCheck {
    let inherited = match default {
        CheckKind::Gsi(check) => check.clone(),
        _ => GsiCheck::default(),
    };
    let credential = section.field("credential").and_then(|field| field.parsed(absolute_path));
    let virtual_name = section.field("virtual_name").and_then(|field| field.parsed(certificate_name));
    GsiCheck {
        credential: credential.or(inherited.credential),
        virtual_name: virtual_name.or(inherited.virtual_name),
    }
}

fn read_script(section: &Section<'_>, default: &CheckKind, findings: &Findings) -> Script {
    let inherited = match default {
        CheckKind::Script(script) => Some(script.clone()),
        _ => None,
    };
    let field = section.field("script");
    let mend = "write the program and its arguments, such as `script = [\"/usr/libexec/check_storage\", \"-w\", \"10\"]`";
    let dynamic = section.field("misc_dynamic").and_then(|field| field.boolean());
    let command = match field {
        None => {
            if inherited.is_none() {
                findings.error(section.at, "`type = \"script\"` has no `script`", mend);
            }
            None
        }
        Some(field) => read_command(&field, mend),
    };
    let inherited = inherited.unwrap_or(Script {
        program: PathBuf::from("/"),
        arguments: Vec::new(),
        misc_dynamic: true,
    });
    let (program, arguments) = command.unwrap_or((inherited.program, inherited.arguments));
    Script { program, arguments, misc_dynamic: dynamic.unwrap_or(inherited.misc_dynamic) }
}

/// A program and its arguments.
pub(super) fn read_command(field: &Field<'_>, mend: &str) -> Option<(PathBuf, Vec<String>)> {
    let words = field.list();
    if words.len() > MAX_SCRIPT_WORDS {
        field.error(
            format!("`{}` has {} words", field.key(), words.len()),
            format!("it may have {MAX_SCRIPT_WORDS}: let the program read a file"),
        );
        return None;
    }
    let Some((program, arguments)) = words.split_first() else {
        if field.list_is_empty() {
            field.error(format!("`{}` is empty", field.key()), mend);
        }
        return None;
    };
    let program = program.parsed(program_path);
    let arguments: Option<Vec<String>> = arguments.iter().map(|argument| argument.parsed(secret)).collect();
    program.zip(arguments)
}

/// A path without a shell's help: nothing searches for it, and no working directory is known.
fn program_path(text: &str) -> Result<PathBuf, Refusal> {
    if text.starts_with('/') && text.len() <= MAX_WORD_LEN && !text.contains('\0') {
        return Ok(PathBuf::from(text));
    }
    Err((
        format!("`{}` is not an absolute path", shown(text)),
        "write one that begins with `/`; arguments are list items of their own".into(),
    ))
}

/// What goes into one line to a server.
fn word(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(("this is empty".into(), "write what the server knows, or leave the key out".into()));
    }
    if text.len() > MAX_WORD_LEN || text.chars().any(char::is_control) {
        return Err((
            format!("`{}` is too long or has control characters", shown(text)),
            format!("write one line of at most {MAX_WORD_LEN} bytes"),
        ));
    }
    Ok(text.to_owned())
}

/// As [`word`]; may be empty, and is not repeated in an error.
fn secret(text: &str) -> Result<String, Refusal> {
    if text.len() > MAX_WORD_LEN || text.chars().any(char::is_control) {
        return Err((
            "this is too long or has control characters".into(),
            format!("write one line of at most {MAX_WORD_LEN} bytes"),
        ));
    }
    Ok(text.to_owned())
}

/// As grids write it: `adler32:03da0195`.
fn adler32(text: &str) -> Result<u32, Refusal> {
    let digits = text.strip_prefix("adler32:").filter(|digits| digits.len() == 8);
    digits
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or_else(|| {
            (
                format!("`{}` is not a checksum", shown(text)),
                "write `adler32:` and the eight digits that `gfal-sum FILE ADLER32` prints".into(),
            )
        })
}
