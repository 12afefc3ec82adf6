//! Commands that the administrator has disabled.
use super::*;

const ON_FILE: &str = "550 Permission denied: command disabled by the administrator.\r\n";

fn filtered(rules: &[&str], path: DataPath) -> Rig {
    let mut rig = Site { path, ..Site::default() }.rig();
    let mut policy = SessionPolicy { data_path: path, ..SessionPolicy::default() };
    for rule in rules {
        policy.denied_commands.deny(rule).unwrap();
    }
    rig.session.policy = Arc::new(policy);
    rig
}

#[test]
fn a_disabled_command_never_reaches_the_server_and_is_counted() {
    let mut rig = filtered(&["DELE", "SITE CHMOD", "MLSD"], DataPath::Direct);
    rig.user().actions();
    for (line, reply) in [
        (&b"DELE /a\r\n"[..], "550 Permission denied: command disabled by the administrator."),
        (b"dele\t/a\r\n", "550 "),
        (b"site  chmod 777 /a\r\n", "502 Command disabled by the administrator."),
        (b"\xff\xf4\xff\xf2DELE /a\r\n", "550 "),
        (b"DELEx /a\r\n", "550 "),
        (b"MLSD\r\n", "502 "),
    ] {
        rig.refused(line, reply);
        assert_eq!(rig.actions(), [Action::CommandDenied], "{}", shown(line));
    }
    for line in [&b"D\x80ELE /a\r\n"[..], b"\"DELE\" /a\r\n", b"SITE \"CHMOD\" 777 /a\r\n"] {
        rig.refused(line, "501 ");
        assert_eq!(rig.actions(), [], "{}", shown(line));
    }
    rig.exchange("SITE CHGRP x /a", "200 ok").exchange("RMD /a", "250 gone");
    assert_eq!(rig.session.commands(), 2 + 9 + 2);
}

#[test]
fn in_a_pipeline_its_answer_comes_in_its_turn() {
    let mut rig = filtered(&["DELE"], DataPath::Direct);
    rig.user();
    rig.client("SIZE /a\r\nDELE /a\r\nDELE /b\r\nSIZE /b\r\nDELE /c\r\n")
        .server_sees("SIZE /a\r\n")
        .client_sees("");
    rig.server("213 1\r\n").client_sees(format!("213 1\r\n{ON_FILE}{ON_FILE}"));
    rig.server_sees("SIZE /b\r\n").server("213 2\r\n");
    rig.client_sees(format!("213 2\r\n{ON_FILE}")).server_sees("");
}

/// The server would resume the next file where this one was to be resumed.
#[test]
fn the_restart_of_a_disabled_transfer_is_taken_back() {
    for path in [DataPath::Direct, DataPath::Relay] {
        let mut rig = filtered(&["STOR"], path);
        rig.user().binary().exchange("REST 100", "350 ok");
        rig.client("STOR /a\r\n").server_sees("REST 0\r\n");
        rig.client_sees(ON_FILE).server("350 ok\r\n").client_sees("");
    }
}

#[test]
fn before_a_login_and_for_auth_it_holds_as_well() {
    let mut rig = filtered(&["AUTH", "SITE"], DataPath::Direct);
    rig.refused("AUTH GSSAPI\r\n", "502 ").refused("SITE HELP\r\n", "502 ").refused("auth tls\r\n", "502 ");
    assert_eq!(rig.session.tunnel(), None);
    rig.anonymous();
}

#[test]
fn a_line_too_long_to_be_kept_is_no_way_around_it() {
    let blanks = " ".repeat(HELD_LINE);
    let word = "x".repeat(HELD_LINE);
    for (line, passes) in [
        (format!("DELE {word}"), false),
        (format!("{blanks}DELE /a\r\n"), false),
        (format!("SITE{blanks}CHMOD 777 /a\r\n"), false),
        (format!("XCRC {word}"), true),
    ] {
        let mut rig = filtered(&["DELE", "SITE CHMOD"], DataPath::Direct);
        rig.user().client(&line);
        if passes {
            rig.server_sees(&line);
        } else {
            rig.server_sees("").ended(Ending::CommandTooLong);
        }
    }
    // Nor is one of blanks around the rules about addresses.
    let mut rig = rig();
    rig.user()
        .client(format!("{blanks}PORT 192,0,2,9,1,1\r\n"))
        .server_sees("")
        .ended(Ending::CommandTooLong);
}

#[test]
fn what_is_disabled_is_no_feature() {
    let mut rig = filtered(&["MLSD", "SIZE", "SITE CHMOD", "AUTH"], DataPath::Auto);
    rig.client("FEAT\r\n").server_sees("FEAT\r\n");
    rig.server("211-F\r\n AUTH GSSAPI\r\n MLST type*;size*;\r\n SIZE\r\n SITE CHMOD\r\n SITE UTIME\r\n EPSV\r\n211 End\r\n");
    rig.client_sees("211-F\r\n SITE UTIME\r\n EPSV\r\n211 End\r\n");
}
