//! `type = "login"`: the server lets a user in.

use tokio::io::{AsyncRead, AsyncWrite};

use super::dialogue::{Dialogue, Reply};
use super::{Setback, Verdict, failed};
use crate::balance::CheckOutcome;
use crate::config::Account;

/// USER, and PASS if the server wants it.
pub(super) async fn log_in<S>(dialogue: &mut Dialogue<'_, S>, account: &Account) -> Verdict
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut reply = dialogue.ask(&format!("USER {}", account.user)).await?;
    if reply.code == 331 {
        reply = dialogue.ask(&format!("PASS {}", account.password)).await?;
    }
    if reply.is_success() { Ok(reply.words) } else { Err(refused(&reply, &account.user)) }
}

fn refused(reply: &Reply, user: &str) -> Setback {
    if is_full(reply) {
        return CheckOutcome::Busy(reply.words.clone()).into();
    }
    let guest = ["anonymous", "ftp"].contains(&user);
    let mend = match reply.code {
        332 => "the check has no ACCT: let this user in without",
        _ if guest => {
            "let guests in there (Globus: allow_anonymous 1), give the check a `user` that may, or use type = \"ftp\" where \
             only certificates log in"
        }
        _ => "correct `user` and `password`, or the account on the server",
    };
    failed(&format!("it refuses the login of `{user}`: `{}`", reply.words), mend)
}

/// Alive, and no room now: a 4yz is not for ever (RFC 959 section 4.2), but for 430, which some say of a wrong password.
/// ProFTPD has no other code than 530 for its MaxClients.
fn is_full(reply: &Reply) -> bool {
    match reply.code {
        430 => false,
        400..500 => true,
        530 => reply.words.contains("maximum number"),
        _ => false,
    }
}
