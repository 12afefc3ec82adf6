//! Back-pressure, and what is kept.
use super::*;

#[test]
fn a_thousand_unanswered_commands_stop_the_reading_and_no_byte_is_lost() {
    let mut rig = rig();
    let lines: Vec<String> = (0..10_000).map(|number| format!("NOOP {number}\r\n")).collect();
    rig.user().client(lines.concat());
    let first = lines[..MAX_PENDING].concat();
    rig.server_sees(&first);
    assert!(!rig.session.accepts_client() && !rig.session.is_waiting());
    assert_eq!(rig.stash.len(), lines.concat().len() - first.len());
    rig.server("200 ok\r\n").server_sees(&lines[MAX_PENDING]);
    let mut sent = Vec::new();
    for _ in 0..lines.len() - 1 {
        rig.server("200 ok\r\n");
        sent.append(&mut rig.out.to_server);
    }
    assert_eq!(sent, lines[MAX_PENDING + 1..].concat().as_bytes());
    assert!(rig.stash.is_empty() && !rig.session.is_busy());
    assert_eq!(rig.out.to_client.len(), lines.len() * "200 ok\r\n".len());
}

#[test]
fn the_doors_own_command_finds_room_in_a_full_queue() {
    let mut rig = rig();
    rig.user().client("NOOP\r\n".repeat(MAX_PENDING - 1)).client("PASV\r\nNOOP\r\n");
    assert!(!rig.session.accepts_client());
    assert_eq!(rig.session.pending.len(), MAX_PENDING + 1);
    rig.out = Outbox::default();
    rig.server("200 ok\r\n".repeat(MAX_PENDING + 1)).client_sees("200 ok\r\n".repeat(MAX_PENDING));
    rig.server_sees("NOOP\r\n");
}

#[test]
fn a_full_queue_with_a_line_that_waits_goes_on() {
    let mut rig = rig();
    rig.user().client("TYPE I\r\n".repeat(MAX_PENDING)).client("PASV\r\nEPSV\r\n").out = Outbox::default();
    rig.server("200 ok\r\n".repeat(MAX_PENDING - 1)).server_sees("");
    rig.server("200 ok\r\n").server_sees("PASV\r\n");
    rig.server("227 x (10,0,0,62,1,2)\r\n");
    assert!(rig.out.to_client.ends_with(b"EPRT over IPv6.\r\n"));
}

#[test]
fn a_quiet_session_keeps_no_buffer_and_an_unfinished_line_a_bounded_one() {
    let mut rig = rig();
    rig.user().client("NOOP\r\n".repeat(500)).server("200 ok\r\n".repeat(500));
    assert_eq!(rig.session.pending.capacity(), 0);
    rig.client("RETR /a\r\n".repeat(500)).server("550 no\r\n".repeat(500));
    assert_eq!(rig.session.transfers.capacity(), 0);
    assert_eq!((rig.session.client_lines.held(), rig.session.server_lines.held()), (0, 0));
    for _ in 0..HELD_LINE * 2 {
        rig.client("x").server("x");
        assert!(rig.session.client_lines.held() <= HELD_LINE && rig.session.server_lines.held() <= HELD_LINE);
    }
}

#[test]
fn a_command_whose_end_never_comes_does_not_keep_a_session_busy() {
    let mut rig = rig();
    rig.user().client(format!("CWD {}", "x".repeat(9000)));
    assert!(!rig.session.is_busy());
    rig.client("\r\n");
    assert!(rig.session.is_busy());
    rig.client(format!("CWD {}", "x".repeat(9000)));
    assert!(rig.session.is_busy(), "the one before is unanswered");
}

#[test]
fn paths_are_shortened_for_the_log() {
    let mut rig = rig();
    rig.user().binary().exchange(&format!("RETR /{}", "p".repeat(4000)), "550 no");
    assert_eq!(rig.transfers()[0].path.len(), 512);
    assert!(size_of::<Session>() <= 480, "{}", size_of::<Session>());
}

#[test]
fn commands_are_counted_once_each() {
    let mut rig = rig();
    rig.user().client("PWD\r\nEPSV\r\nNOOP\r\n").server("257 a\r\n200 ok\r\n");
    assert_eq!(rig.session.commands(), 5);
}

#[test]
fn data_that_crosses_the_door_costs_an_idle_session_little() {
    assert!(size_of::<Session>() <= 288, "{} bytes", size_of::<Session>());
}
