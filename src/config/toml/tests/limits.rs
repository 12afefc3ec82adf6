//! What is said of who may come in, and what may be said.
use super::*;
use crate::balance::{BanRule, SessionRate};
use crate::config::QueueLimits;

#[test]
fn a_rate_has_sessions_and_a_time() {
    for (text, sessions, millis) in [
        ("10/s", 10, 1000),
        ("100/m", 100, 60_000),
        ("1 / h", 1, 3_600_000),
        ("5/10s", 5, 10_000),
        ("7/500ms", 7, 500),
    ] {
        let text = in_virtual_server(&format!("session_rate_per_client = '{text}'"));
        let rate = accepted(&text).model.virtual_servers[0].admittance.client_limits.rate;
        let expected = SessionRate { sessions, per: Duration::from_millis(millis), burst: sessions };
        assert_eq!(rate, Some(expected), "{text}");
    }
}

#[test]
fn values_about_clients_are_checked() {
    let example = "write sessions and a time, such as \"10/s\" or \"100/m\"";
    let table = [
        ("session_rate_per_client = '10'", format!("f:3:27: `10` is not a rate; {example}")),
        ("session_rate_per_client = 'ten/s'", format!("f:3:27: `ten/s` is not a rate; {example}")),
        ("session_rate_per_client = '10/week'", format!("f:3:27: `10/week` is not a rate; {example}")),
        ("session_rate_per_client = '0/s'", "f:3:27: `0/s` has 0 sessions; write 1 to 1000000 of them".into()),
        ("session_rate_per_client = '5/0s'", format!("f:3:27: `5/0s` has no time; {example}")),
        (
            "session_burst_per_client = 5",
            "f:3:28: `session_burst_per_client` without `session_rate_per_client` limits nothing; add \
             `session_rate_per_client = \"10/s\"`, or remove it"
                .into(),
        ),
        ("max_sessions_per_client = 0", "f:3:27: `max_sessions_per_client` is 0; write a number from 1 to 1000000".into()),
        ("ipv6_prefix = 24", "f:3:15: `ipv6_prefix` is 24; write a number from 32 to 128".into()),
        ("deny = ['10.0.0.1/8']", "f:3:9: `10.0.0.1/8` has bits beyond its prefix; write \"10.0.0.0/8\"".into()),
        (
            "queue_timeout = '5s'",
            "f:3:1: warning: `queue_timeout` is not used without a `queue_length`: sessions are refused at once; add \
             `queue_length = 100`, or remove it"
                .into(),
        ),
        (
            "queue_length = 5",
            "f:3:1: warning: nobody ever waits in this queue: no real server has `max_connections`; add \
             `max_connections` to them, or remove `queue_length`"
                .into(),
        ),
        (
            "allow = ['10.0.0.0/8', '10.1.0.0/16']\ndeny = ['10.1.0.0/16']",
            "f:4:9: warning: `10.1.0.0/16` is in `allow` as well: its clients are denied; remove it from one of the two"
                .into(),
        ),
        (
            "allow = ['10.1.0.0/16']\ndeny = ['10.0.0.0/8']",
            "f:3:10: warning: `allow` holds only exceptions to `deny`, and who is in neither is refused when there is an \
             `allow`; add \"0.0.0.0/0\" and \"::/0\" to `allow` if all others may come"
                .into(),
        ),
    ];
    for (line, expected) in table {
        assert_told(&in_virtual_server(line), &[&expected]);
    }
}

#[test]
fn a_ban_says_all_three() {
    let of = |lines: &str| format!("{SOUND}[virtual_server.ban]\n{lines}\n");
    let text = of("failed_logins = 5\nwithin = '10m'\ntime = '1h'");
    let expected =
        BanRule { failed_logins: 5, within: Duration::from_secs(600), time: Duration::from_secs(3600) };
    assert_eq!(accepted(&text).model.virtual_servers[0].admittance.client_limits.ban, Some(expected));
    let missing = "f:7:1: `[virtual_server.ban]` has no";
    assert_told(
        &of(""),
        &[
            &format!("{missing} `failed_logins`; add `failed_logins = 5`, how many lead to a ban"),
            &format!("{missing} `within`; add `within = \"10m\"`, the time in which they have to come"),
            &format!("{missing} `time`; add `time = \"1h\"`, how long the client is kept out"),
        ],
    );
    assert_told(
        &of("failed_logins = 101\nwithin = '500ms'\ntime = '0s'"),
        &[
            "f:8:17: `failed_logins` is 101; write a number from 1 to 100",
            "f:9:10: `within` is \"500ms\", which is too short; write at least \"1s\"",
            "f:10:8: `time` is \"0s\", which is too short; write at least \"1s\"",
        ],
    );
}

#[test]
fn denied_commands_are_ones_that_can_be_denied() {
    let verb = "write a verb, such as \"DELE\", or SITE and one word: \"SITE CHMOD\"";
    let table = [
        ("DELE /a", format!("`DELE /a` is not a command; {verb}")),
        ("SITE CHMOD 777", format!("`SITE CHMOD 777` is not a command; {verb}")),
        ("", format!("`` is not a command; {verb}")),
        ("RMD x", "`RMD x` is more than a verb; only SITE has commands of its own; write the verb alone".into()),
        ("quit", "`quit` is needed by every session; remove it".into()),
        ("ADAT", "`ADAT` is a part of what AUTH begins; write \"AUTH\"".into()),
        ("DELETE", "warning: `DELETE` is not an FTP verb that is known here; did you mean \"DELE\"?".into()),
        ("SITE CHMODE", "warning: `SITE CHMODE` is not a SITE command that is known here; did you mean \"CHMOD\"?".into()),
        (
            "XYZZY",
            "warning: `XYZZY` is not an FTP verb that is known here; it is denied all the same; remove it if no server \
             knows it"
                .into(),
        ),
    ];
    for (rule, expected) in table {
        let list = in_virtual_server(&format!("deny_commands = ['AUTH', '{rule}']"));
        assert_told(&list, &[&format!("f:3:26: {expected}")]);
    }
}

#[test]
fn what_does_the_same_as_a_denied_command_is_named() {
    assert_told(
        &in_virtual_server("deny_commands = ['AUTH', 'stor', 'SITE CHMOD', 'DELE', 'SITE RDEL']"),
        &[
            "f:3:18: warning: `STOR` is denied, and `APPE`, `STOU`, `ESTO` and `PUT` can do the same; add `APPE`, `STOU`, \
             `ESTO` and `PUT`, unless the real servers do not know them",
            "f:3:18: warning: `SITE CHMOD` is denied, and `MFF` can do the same; add `MFF`, unless the real servers do not \
             know it",
        ],
    );
    assert_told(&in_virtual_server("deny_commands = ['AUTH', 'SITE', 'MFF', 'DELE', 'RNFR']"), &[]);
    assert_told(
        &in_virtual_server("deny_commands = ['RMD']"),
        &[
            "f:3:18: warning: `deny_commands` holds for clear text and for TLS that ends here: after a GSI login, or TLS that \
           the real server ends, the door reads no command; deny the same in the real servers (gridftp.conf: \
           `disable_command_list`), or deny \"AUTH\" too",
        ],
    );
}

#[test]
fn every_limit_that_is_set_arrives() {
    let text = format!(
        "[global]\nmax_sessions = 77\n{}[virtual_server.ban]\nfailed_logins = 3\nwithin = '1m'\ntime = '2m'\n",
        in_virtual_server(
            "allow = ['192.0.2.0/24', '2001:db8::/32']\ndeny = ['192.0.2.9']\nmax_sessions_per_client = 8\n\
             session_rate_per_client = '10/s'\nsession_burst_per_client = 20\nipv6_prefix = 56\n\
             deny_commands = ['site chmod', 'rmd']\nqueue_length = 100\nqueue_timeout = '45s'"
        )
    );
    let model = accepted(&text).model;
    assert_eq!(model.global.max_sessions, Some(77));
    let admittance = &model.virtual_servers[0].admittance;
    assert_eq!(
        format!("{:?} {:?}", admittance.allow, admittance.deny),
        "[192.0.2.0/24, 2001:db8::/32] [192.0.2.9/32]"
    );
    let limits = &admittance.client_limits;
    assert_eq!((limits.max_sessions, limits.ipv6_prefix), (Some(8), 56));
    assert_eq!(limits.rate.map(|rate| (rate.sessions, rate.burst)), Some((10, 20)));
    assert_eq!(limits.ban.map(|ban| ban.failed_logins), Some(3));
    assert_eq!(admittance.queue, Some(QueueLimits { length: 100, timeout: Duration::from_secs(45) }));
    let denied = &admittance.denied_commands;
    assert!(
        denied.denies("SITE CHMOD")
            && denied.denies("RMD")
            && denied.denies("XRMD")
            && !denied.denies("DELE")
    );
    assert_eq!(descriptors_needed(&model), 2 * 77 + 4 * 77 + 64);
}
