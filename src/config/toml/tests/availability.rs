//! What is said of quorum, sorry server, slow start and ejection.
use super::{SOUND, accepted, assert_told, in_real_server, in_virtual_server};
use crate::balance::EjectionPolicy;

#[test]
fn values_of_availability_are_checked() {
    let long = "x".repeat(201);
    #[rustfmt::skip]
    let table: Vec<(String, String)> = vec![
        ("alpha = 'yes'".into(), "f:3:9: `alpha` takes true or false, not a string; write `true` or `false`, without quotes".into()),
        ("quorum = 0".into(), "f:3:10: `quorum` is 0; write a number from 1 to 65535000".into()),
        ("quorum = 2\nhysteresis = 2".into(), "f:4:14: `hysteresis` is 2, and `quorum` 2: it could not be lost; write 1 at most".into()),
        ("hysteresis = 1".into(), "f:3:14: `hysteresis` is 1, and `quorum` 1: it could not be lost; remove it, or raise `quorum`".into()),
        ("quorum = 2\nhysteresis = 1".into(), "f:3:10: warning: once lost, the quorum is there again at a weight of 3, and all real servers of `gridftp` together have 2; lower `quorum` or `hysteresis`".into()),
        ("quorum = 2".into(), String::new()),
        ("sorry_server = '192.0.2.99'".into(), String::new()),
        ("sorry_server = '2001:db8::99'".into(), String::new()),
        ("sorry_server = '[2001:db8::99]:21'".into(), String::new()),
        ("sorry_server = 'sorry'".into(), "f:3:16: `sorry` is a name; write the IP address".into()),
        ("sorry_server = '192.0.2.99:0'".into(), "f:3:16: `192.0.2.99:0` has port 0; write a port, or leave it out for 2811".into()),
        ("sorry_server = '0.0.0.0:21'".into(), "f:3:16: `0.0.0.0` is no host's address; write the address that the host is reached at".into()),
        ("sorry_server = '192.0.2.10'".into(), "f:3:16: 192.0.2.10:2811 is virtual server `gridftp` itself: its sessions would come back to the door; write the address of another server".into()),
        ("sorry_server = '192.0.2.11:2811'".into(), "f:3:16: warning: 192.0.2.11:2811 is real server `192.0.2.11`: when it is asked as the last, it is down; write the address of a server that is none of them".into()),
        ("offline_message = ' '".into(), "f:3:19: `offline_message` is empty; write what clients are to read, or leave the key out".into()),
        ("offline_message = \"one\\r\\ntwo\"".into(), "f:3:19: `offline_message` has a line end or a control character; write one line of text".into()),
        (format!("offline_message = '{long}'"), "f:3:19: `offline_message` has 201 bytes; write 200 at most".into()),
        ("slow_start = 60".into(), "f:3:14: `slow_start` is 60, without a unit; write for example `slow_start = \"60s\"` (units: ms, s, m, h)".into()),
        ("slow_start = '0s'".into(), String::new()),
        ("ejection.failed_logins = 1001".into(), "f:3:26: `failed_logins` is 1001; write a number from 0 to 1000".into()),
        ("ejection.time = '2m'\nejection.max_time = '1m'".into(), "f:4:21: `max_time` is shorter than `time`; write at least the same".into()),
        ("ejection.time = '11m'".into(), "f:3:17: `max_time` is shorter than `time`; write at least the same".into()),
        ("ejection.max_ejected = 50".into(), "f:3:24: `max_ejected` takes a string, not a number; write `max_ejected = \"50\"`".into()),
        ("ejection.max_ejected = '0%'".into(), "f:3:24: `max_ejected = \"0%\"` is no share; write \"1%\" to \"100%\"".into()),
        ("ejection.max_ejected = '50'".into(), "f:3:24: `max_ejected = \"50\"` is no share; write \"1%\" to \"100%\"".into()),
        ("ejection = {}".into(), String::new()),
    ];
    for (lines, expected) in &table {
        let expected: &[&str] = if expected.is_empty() { &[] } else { &[expected] };
        assert_told(&in_virtual_server(lines), expected);
    }
    assert_told(
        &in_real_server("inhibit_on_failure = 1"),
        &[
            "f:7:22: `inhibit_on_failure` takes true or false, not a number; write `true` or `false`, without quotes",
        ],
    );
}

#[test]
fn one_server_is_never_ejected() {
    let one = SOUND.replace("[[virtual_server.real_server]]\naddress = '192.0.2.12'\n", "");
    assert_told(
        &format!("{one}[virtual_server.ejection]\n"),
        &[
            "f:1:1: warning: `gridftp` has one real server: nothing takes over when it is down; add a second `[[virtual_server.real_server]]`",
            "f:5:17: warning: `gridftp` has one real server: it is never ejected, for it is the last; add a second \
             `[[virtual_server.real_server]]`, or remove the table",
        ],
    );
}

#[test]
fn an_empty_table_of_ejection_has_the_documented_defaults_and_no_table_is_no_ejection() {
    let text = format!("{SOUND}[virtual_server.ejection]\n");
    let ejection = |text: &str| accepted(text).model.virtual_servers[0].availability.ejection.clone();
    assert_eq!(ejection(&text), Some(EjectionPolicy::default()));
    assert_eq!(ejection(SOUND), None);
}
