//! How sessions end, and what each side hears.
use super::*;

#[test]
fn a_server_that_dies_is_told_in_ftp() {
    let lost = Ending::ServerLost.reply();
    #[rustfmt::skip]
    let table: &[(&str, &str, &str, String)] = &[
        ("idle",                "",            "",                       lost.into()),
        ("before a reply",      "NOOP\r\n",    "",                       lost.into()),
        ("in a reply",          "NOOP\r\n",    "200 o",                  lost.into()),
        ("between CR and LF",   "NOOP\r\n",    "200 ok\r",               lost.into()),
        ("in a multi-line",     "STAT\r\n",    "211-a\r\n b\r\n 2",      format!("211-a\r\n b\r\n{lost}")),
        ("in a transfer",       "LIST\r\n",    "150 go\r\n",             format!("150 go\r\n{lost}")),
        ("twenty pending",      &"NOOP\r\n".repeat(20), "200 ok\r\n",    format!("200 ok\r\n{lost}")),
    ];
    for (name, command, reply, expected) in table {
        let mut rig = rig();
        rig.user().client(command).server(reply).server_closes();
        assert_eq!(shown(&std::mem::take(&mut rig.out.to_client)), shown(expected.as_bytes()), "{name}");
        rig.ended(Ending::ServerLost);
        assert_eq!(Ending::ServerLost.fault(), Fault::RealServer);
    }
}

#[test]
fn a_reply_that_passes_in_pieces_gets_its_end_before_the_421() {
    let mut rig = rig();
    let start = format!("213 {}", "x".repeat(9000));
    rig.user().client("X\r\n").server(&start).server_closes();
    rig.client_sees(format!("{start}\r\n{}", Ending::ServerLost.reply())).ended(Ending::ServerLost);
}

#[test]
fn transfers_that_a_death_cut_off_are_told_without_a_reply() {
    let mut rig = rig();
    rig.user().binary().exchange("MODE E", "200 ok").exchange("PASV", "227 x (10,0,0,62,1,2)");
    rig.client("RETR 1\r\nRETR 2\r\n").server("150 go\r\n").server_closes();
    let transfers = rig.transfers();
    assert_eq!(transfers.iter().map(|t| (&*t.path, t.reply)).collect::<Vec<_>>(), [("1", None), ("2", None)]);
}

#[test]
fn a_farewell_needs_no_second_one() {
    #[rustfmt::skip]
    let table: &[(&str, &str)] = &[
        ("QUIT\r\n", "221 Goodbye.\r\n"),
        ("QUIT\r\n", "221-Goodbye.\r\n221 end\r\n"),
        ("QUIT\r\n", "211 Goodbye.\r\n"),
        ("QUIT\r\n", ""),
        ("",         "421 Idle Timeout: closing control connection.\r\n"),
        ("NOOP\r\n", "421 Idle Timeout: closing control connection.\r\n"),
        ("NOOP\r\n", "422 offline\r\n"),
        ("LIST\r\n", "150 go\r\n421 bye\r\n"),
    ];
    for (command, reply) in table {
        let mut rig = rig();
        rig.user().client(command).server(reply).server_closes().client_sees(reply).ended(Ending::Goodbye);
        assert_eq!(Ending::Goodbye.fault(), Fault::Nobody);
    }
}

#[test]
fn a_farewell_that_was_not_meant_is_forgotten() {
    let mut rig = rig();
    rig.user()
        .exchange("MKD a", "421 try again")
        .exchange("NOOP", "200 ok")
        .client("LIST\r\n")
        .server_closes();
    rig.client_sees(Ending::ServerLost.reply()).ended(Ending::ServerLost);
}

#[test]
fn quit_in_a_transfer_waits_for_its_end() {
    let mut rig = rig();
    rig.user()
        .binary()
        .exchange("PASV", "227 x (10,0,0,62,1,2)")
        .client("RETR a\r\nQUIT\r\n")
        .server_sees("RETR a\r\nQUIT\r\n");
    rig.server("150 go\r\n226 done\r\n221 bye\r\n")
        .client_sees("150 go\r\n226 done\r\n221 bye\r\n")
        .server_closes();
    rig.client_sees("").ended(Ending::Goodbye);
}

#[test]
fn the_first_ending_counts_and_nothing_is_said_after_it() {
    let mut rig = rig();
    rig.user();
    rig.session.handle_ending(Ending::IdleTimeout, rig.now, &mut rig.out);
    rig.client_sees(Ending::IdleTimeout.reply()).ended(Ending::IdleTimeout);
    rig.server_closes().client_sees("").ended(Ending::IdleTimeout);
    assert_eq!(rig.session.handle_server(rig.now, b"200 late\r\n", &mut rig.out), 0);
    rig.client("NOOP\r\n").server_sees("").client_sees("");
}

#[test]
fn every_ending_has_a_word_and_a_whole_reply_or_none() {
    use Ending::*;
    let all = [
        ClientClosed,
        ClientLost,
        Goodbye,
        ServerLost,
        ClosedByCommand,
        LoginTimeout,
        IdleTimeout,
        ClientStalled,
        ServerStalled,
        Draining,
        DrainDeadline,
        Shutdown,
        CommandTooLong,
        UnclearCommand,
        ReplyTooLong,
        TlsHello,
        ProxyHeader,
    ];
    for ending in all {
        let reply = ending.reply();
        assert!(!ending.word().is_empty());
        assert!(
            reply.is_empty() || (reply.ends_with("\r\n") && matches!(&reply[..4], "421 " | "500 " | "501 ")),
            "{reply:?}"
        );
        assert!(reply.matches("\r\n").count() <= 1);
    }
}

#[test]
fn a_drained_session_may_say_quit_and_one_that_is_no_longer_drained_goes_on() {
    let mut quits = rig();
    quits.user().session.handle_drain();
    quits.client("QUIT\r\n").server_sees("QUIT\r\n").server("221 bye\r\n").client_sees("221 bye\r\n");

    let mut kept = rig();
    kept.user().session.handle_drain();
    kept.session.handle_undrain();
    kept.exchange("PWD", "257 \"/\"").session.handle_drain();
    kept.client("PWD\r\n").client_sees(Ending::Draining.reply()).ended(Ending::Draining);
}

#[test]
fn a_drained_session_ends_at_its_next_command_once_it_is_quiet() {
    let mut idle = rig();
    idle.user().session.handle_drain();
    assert_eq!(idle.session.ended(), None);
    idle.client("PWD\r\n").server_sees("").client_sees(Ending::Draining.reply()).ended(Ending::Draining);

    let mut open = rig();
    open.user().binary().exchange("PASV", "227 x (10,0,0,62,1,2)").session.handle_drain();
    open.client("RETR a\r\n").server_sees("RETR a\r\n").server("150 go\r\n").client_sees("150 go\r\n");
    // Pipelined behind the transfer it still goes.
    open.client("NOOP\r\n")
        .server_sees("NOOP\r\n")
        .server("226 done\r\n200 ok\r\n")
        .client_sees("226 done\r\n200 ok\r\n");
    open.client("PASV\r\n").server_sees("").client_sees(Ending::Draining.reply()).ended(Ending::Draining);
}

#[test]
fn who_has_looked_for_files_and_found_none_is_known_by_the_table() {
    #[rustfmt::skip]
    let table: &[(&[(&str, &str)], bool)] = &[
        (&[],                                                   false),
        (&[("NOOP", "200 ok")],                                 false),
        (&[("PWD", "550 no")],                                  false),
        (&[("SIZE f", "213 5")],                                false),
        (&[("SIZE f", "550 no such file")],                     true),
        (&[("size f", "500 error")],                            true),
        (&[("MLST f", "550-no\r\n550 end")],                    true),
        (&[("MDTM f", "550 no")],                               true),
        (&[("CWD d", "550 no")],                                true),
        (&[("CWD d", "250 ok"), ("SIZE f", "550 no")],          true),
        (&[("SIZE f", "550 no"), ("SIZE g", "213 5")],          false),
        (&[("MLST f", "250-a\r\n Size=5; f\r\n250 end"), ("MLST g", "550 no")], false),
        (&[("SIZE f", "421 full")],                             false),
        (&[("SIZES f", "550 no")],                              false),
    ];
    for (exchanges, expected) in table {
        let mut rig = rig();
        rig.user();
        for (command, reply) in *exchanges {
            rig.exchange(command, reply);
        }
        assert_eq!(rig.session.has_found_nothing(), *expected, "{exchanges:?}");
    }
}
