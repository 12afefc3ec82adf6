//! `gridfront ban list` and `gridfront unban`.
use std::fmt::Write as _;
use std::process::ExitCode;

use super::daemon::{fail, question, say};
use super::{BanArgs, BanCommand, UnbanArgs};
use crate::control::admin::{Answer, Question};

const ANOTHER: &str = "the daemon answers another question; is it of the same version?";

/// Shows who is kept out.
pub(super) fn ban(args: &BanArgs) -> ExitCode {
    let BanCommand::List { json, daemon } = &args.command;
    let bans = match question(daemon, &Question::Bans {}) {
        Ok(Answer::Bans(bans)) => bans,
        Ok(_) => return fail(&ANOTHER),
        Err(error) => return fail(&error),
    };
    let mut text = String::new();
    if *json {
        match serde_json::to_string_pretty(&bans) {
            Ok(json) => text = json + "\n",
            Err(error) => return fail(&error),
        }
    } else if bans.is_empty() {
        text.push_str("nobody is banned\n");
    } else {
        for ban in bans {
            let _ = writeln!(text, "{}  {}  {} s left", ban.client, ban.virtual_server, ban.left_s);
        }
    }
    say(&text);
    ExitCode::SUCCESS
}

/// Lets a client in again.
pub(super) fn unban(args: &UnbanArgs) -> ExitCode {
    match question(&args.daemon, &Question::Unban { client: args.client }) {
        Ok(Answer::Unbanned(virtual_servers)) if virtual_servers.is_empty() => {
            fail(&format!("{} is not banned; `gridfront ban list` shows who is", args.client))
        }
        Ok(Answer::Unbanned(virtual_servers)) => {
            say(&format!("{} may come again: {}\n", args.client, virtual_servers.join(", ")));
            ExitCode::SUCCESS
        }
        Ok(_) => fail(&ANOTHER),
        Err(error) => fail(&error),
    }
}
