//! ProFTPD with mod_proxy, as the benches that compare with it set it up.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// As Debian's proftpd-mod-proxy installs it.
pub(crate) const MODULE: &str = "/usr/lib/proftpd/mod_proxy.so";

/// A reverse proxy that leaves the login to the server; everything else as it comes, less what it would log or look up.
/// `more` is what one bench adds; `stem` begins the names of its files.
pub(crate) fn config(address: SocketAddr, servers: &[SocketAddr], stem: &Path, more: &str) -> String {
    let stem = stem.display();
    let mut text = format!(
        "LoadModule mod_tls.c\nLoadModule mod_proxy.c\nServerType standalone\nServerName proxy\nDefaultAddress {}\nSocketBindTight on\nPort {}\n\
         User nobody\nGroup nogroup\nUseReverseDNS off\nUseIPv6 off\nWtmpLog off\nTransferLog none\nSystemLog none\n\
         ScoreboardFile {stem}.scoreboard\nPidFile {stem}.pid\nDelayTable none\nRequireValidShell off\nMaxInstances none\n\
         {more}ProxyEngine on\nProxyRole reverse\nProxyTables {stem}-tables\nProxyReverseServers",
        address.ip(),
        address.port(),
    );
    for server in servers {
        let _ = write!(text, " ftp://{server}");
    }
    text + "\n"
}
