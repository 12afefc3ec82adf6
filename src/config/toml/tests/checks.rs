//! `[virtual_server.check]` and what a real server changes of it.
use super::*;
use crate::config::{Account, GsiCheck, SampleFile, Script};

fn with_checks(of_all: &str, of_the_last: &str) -> String {
    let own = if of_the_last.is_empty() {
        String::new()
    } else {
        format!("[virtual_server.real_server.check]\n{of_the_last}\n")
    };
    let all = if of_all.is_empty() { String::new() } else { format!("check = {{ {of_all} }}") };
    format!("{}{own}", in_virtual_server(&all))
}

/// What is asked of the first server, and of the last.
fn kinds(of_all: &str, of_the_last: &str) -> (CheckKind, CheckKind) {
    let model = accepted(&with_checks(of_all, of_the_last)).model;
    let server = &model.virtual_servers[0];
    let kind = |real: usize| server.check_of(&server.real_servers[real]).kind.clone();
    (kind(0), kind(1))
}

fn account(user: &str, password: &str) -> Account {
    Account { user: user.into(), password: password.into() }
}

fn file(path: &str, size: Option<u64>, adler32: Option<u32>) -> SampleFile {
    SampleFile { path: path.into(), size, adler32 }
}

fn script(program: &str, arguments: &[&str], misc_dynamic: bool) -> Script {
    let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    Script { program: program.into(), arguments, misc_dynamic }
}

#[test]
fn every_kind_arrives_with_its_keys() {
    let guest = Account::default();
    #[rustfmt::skip]
    let table = [
        ("",                     CheckKind::Ftp),
        ("type = 'tcp'",         CheckKind::Tcp),
        ("type = 'login'",       CheckKind::Login(guest.clone())),
        ("type = 'login', user = 'a', password = ''", CheckKind::Login(account("a", ""))),
        ("type = 'login', password = 'me@here'", CheckKind::Login(account("anonymous", "me@here"))),
        ("type = 'transfer', file = '/f'", CheckKind::Transfer(guest.clone(), file("/f", None, None))),
        ("type = 'transfer', user = 'ftp', file = '/f', size = 0, checksum = 'adler32:00000001'",
            CheckKind::Transfer(account("ftp", &guest.password), file("/f", Some(0), Some(1)))),
        ("type = 'script', script = ['/c', '-w', '']", CheckKind::Script(script("/c", &["-w", ""], true))),
        ("type = 'script', script = ['/c'], misc_dynamic = false", CheckKind::Script(script("/c", &[], false))),
    ];
    for (text, expected) in table {
        assert_eq!(kinds(text, "").0, expected, "{text}");
    }
}

#[test]
fn a_real_server_changes_what_it_says_and_no_more() {
    let all = "type = 'transfer', user = 'a', password = 'p', file = '/f', size = 7, delay_loop = '5s'";
    let a = account("a", "p");
    #[rustfmt::skip]
    let table = [
        ("retry = 7",            CheckKind::Transfer(a.clone(), file("/f", Some(7), None))),
        ("file = '/g'",          CheckKind::Transfer(a.clone(), file("/g", None, None))),
        ("size = 8",             CheckKind::Transfer(a.clone(), file("/f", Some(8), None))),
        ("password = 'q'",       CheckKind::Transfer(account("a", "q"), file("/f", Some(7), None))),
        ("type = 'login'",       CheckKind::Login(a.clone())),
        ("type = 'tcp'",         CheckKind::Tcp),
        ("type = 'script'\nscript = ['/c']", CheckKind::Script(script("/c", &[], true))),
    ];
    for (own, expected) in table {
        let (first, last) = kinds(all, own);
        assert_eq!(first, CheckKind::Transfer(a.clone(), file("/f", Some(7), None)), "{own}");
        assert_eq!(last, expected, "{own}");
    }
    let model = accepted(&with_checks(all, "retry = 7")).model;
    let own = model.virtual_servers[0].real_servers[1].check.clone().unwrap();
    assert_eq!((own.retry, own.delay_loop, own.rise), (7, Duration::from_secs(5), 1));
    assert_eq!(model.virtual_servers[0].check.retry, 3);
}

#[test]
fn a_gsi_check_needs_gsi_that_ends_at_the_door_and_takes_a_robot() {
    let ends = |check: &str| in_virtual_server(&format!("gsi.mode = 'terminate'\ncheck = {{ {check} }}"));
    let kind = |check: &str| accepted(&ends(check)).model.virtual_servers[0].check.kind.clone();
    assert_eq!(kind("type = 'gsi'"), CheckKind::Gsi(GsiCheck::default()));
    let robot =
        GsiCheck { credential: Some("/r.pem".into()), virtual_name: Some("gridftp.example.org".into()) };
    assert_eq!(
        kind("type = 'gsi', credential = '/r.pem', virtual_name = 'gridftp.example.org'"),
        CheckKind::Gsi(robot.clone())
    );
    // A server changes what it says and no more.
    let text = ends("type = 'gsi', credential = '/r.pem'")
        + "[virtual_server.real_server.check]\nvirtual_name = 'gridftp.example.org'\n";
    let model = accepted(&text).model;
    let server = &model.virtual_servers[0];
    assert_eq!(server.check_of(&server.real_servers[1]).kind, CheckKind::Gsi(robot));
    assert_told(
        &ends("type = 'gsi', credential = 'r.pem'"),
        &["f:4:38: `r.pem` is not an absolute path; write one that begins with `/`"],
    );
    assert_told(
        &with_checks("", "type = 'gsi'"),
        &[
            "f:9:8: `type = \"gsi\"` has no authorities to trust and no credential; add `[virtual_server.gsi]` with `mode = \"terminate\"`, or use `type = \"ftp\"`",
        ],
    );
}

#[test]
fn what_a_kind_lacks_or_does_not_know_has_a_place_and_a_mend() {
    #[rustfmt::skip]
    let table = [
        ("type = 'transfer'", "f:3:9: `type = \"transfer\"` has no `file`; add `file = \"…\"`, a small file that every real server has, as the user sees its path"),
        ("type = 'script'",   "f:3:9: `type = \"script\"` has no `script`; write the program and its arguments, such as `script = [\"/usr/libexec/check_storage\", \"-w\", \"10\"]`"),
        ("type = 'script', script = []", "f:3:37: `script` is empty; write the program and its arguments, such as `script = [\"/usr/libexec/check_storage\", \"-w\", \"10\"]`"),
        ("type = 'script', script = ['check -w']", "f:3:38: `check -w` is not an absolute path; write one that begins with `/`; arguments are list items of their own"),
        ("type = 'login', user = 'a'", "f:3:34: the user `a` has no password; add `password = \"…\"` (it may be empty)"),
        ("type = 'login', user = ''", "f:3:34: this is empty; write what the server knows, or leave the key out"),
        ("type = 'login', password = \"a\\nb\"", "f:3:38: this is too long or has control characters; write one line of at most 4096 bytes"),
        ("type = 'transfer', file = \"a\\rb\"", "f:3:37: `a\\rb` is too long or has control characters; write one line of at most 4096 bytes"),
        ("type = 'transfer', file = '/f', size = 1073741825", "f:3:50: `size` is 1073741825; write a number from 0 to 1073741824"),
        ("type = 'transfer', file = '/f', checksum = 'md5:1'", "f:3:54: `md5:1` is not a checksum; write `adler32:` and the eight digits that `gfal-sum FILE ADLER32` prints"),
        ("file = '/f'", "f:3:11: warning: `file` is not used with `type = \"ftp\"`; remove it, or write `type = \"transfer\"`"),
        ("type = 'login', misc_dynamic = true, size = 1", "f:3:27: warning: `misc_dynamic` is not used with `type = \"login\"`; remove it, or write `type = \"script\"`"),
    ];
    for (text, expected) in table {
        assert_told(&with_checks(text, ""), &[expected]);
    }
    let text = with_checks("type = 'login'", "file = '/f'");
    assert_told(
        &text,
        &[
            "f:9:1: warning: `file` is not used with `type = \"login\"`; remove it, or write `type = \"transfer\"`",
        ],
    );
}
