//! Longer replies, in the shape in which globus-gridftp-server gives them: its clients choose by them what to ask for.

use std::io;

use super::listing::FACTS;

/// HELP and SITE HELP.
pub(super) const HELP: &str = "214-The following commands are recognized:\r\n\
    \x20    ALLO    ABOR    CDUP    CWD     DELE    EPRT    EPSV    FEAT\r\n\
    \x20    HELP    LIST    MDTM    MKD     MLSD    MLST    MODE    NLST\r\n\
    \x20    NOOP    OPTS    PASS    PASV    PORT    PWD     QUIT    REST\r\n\
    \x20    RETR    RMD     SITE    SIZE    SPAS    STOR    STRU    SYST\r\n\
    \x20    TYPE    USER\r\n\
    214 End";

/// HELP SITE.
pub(super) const HELP_SITE: &str = "214-Help for SITE:\r\n\
    \x20SITE HELP: help on server commands\r\n\
    \x20SITE CLIENTINFO <sp> appname=\"<name of app>\";appver=\"<version string>\";scheme=\"<ftp>\";\r\n\
    214 End.";

/// FEAT; no EPSV there, as at Globus.
pub(super) fn features() -> String {
    let facts: String = FACTS.iter().map(|fact| format!("{fact}*;")).collect();
    format!(
        "211-Extensions supported\r\n UTF8\r\n PARALLEL\r\n SIZE\r\n MLST {facts}\r\n SPAS\r\n REST STREAM\r\n \
         MDTM\r\n PASV AllowDelayed;\r\n211 End."
    )
}

/// A path that cannot be looked at or changed.
pub(super) fn path_failure(action: &str, error: &io::Error) -> String {
    let class = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "PATH_NOT_FOUND",
        io::ErrorKind::AlreadyExists => "PATH_EXISTS",
        io::ErrorKind::PermissionDenied => "PERMISSION_DENIED",
        _ => "INTERNAL_ERROR",
    };
    let number = error.raw_os_error().unwrap_or(0);
    let reason = reason(error);
    format!(
        "550-GlobusError: v=1 c={class}\r\n550-GridFTP-Errno: {number}\r\n550-GridFTP-Reason: System error in \
         {action}\r\n550-GridFTP-Error-String: {reason}\r\n550 End."
    )
}

/// A transfer that cannot begin, or broke.
pub(super) fn transfer_failure(action: &str, error: &io::Error) -> String {
    format!("500-Command failed. : System error in {action}: {}\r\n500 End.", reason(error))
}

/// The error's text without Rust's `(os error N)`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
