//! What users log in with: every kind of credential that the real tools make comes as far through the door as it comes directly.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{LIMIT, is_possible, start};
use crate::support::certificates::{Authority, Credential, HostCertificates, USER, set_mode};
use crate::support::client::{self, Finished};
use crate::support::grid::{PORT, Security, Servers, Site, VIRTUAL_NAME, name_of, path_text};
use crate::support::seeded::content;
use crate::support::skip;

/// What the door says of a session of the user.
const KNOWN: &str = "dn=\"/O=Grid/OU=test/CN=Grid User\"";
/// And of one whose proxy allows one delegation, to the door, and no more.
pub(super) const UNAUTHENTICATED: &str = "WARN data connections of this user cannot be authenticated";
/// The row whose credential globus-url-copy itself would not use, at the level of security that OpenSSL has by default.
const SHORT_KEY: &str = "1024 bits";
/// With which it uses any.
const ANY_KEY: &str = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = any\n\
                       [any]\nCipherString = DEFAULT:@SECLEVEL=0\n";
/// From the client's exit to the door's line.
const LOGGED: Duration = Duration::from_secs(5);

/// A user, a stranger with a certificate of the same name, and what the tools make of them.
pub(super) struct Tools<'a> {
    site: &'a Site,
    user: Credential,
    stranger: Authority,
    stranger_user: Credential,
    voms: Credential,
}

impl<'a> Tools<'a> {
    pub(super) fn new(site: &'a Site) -> Self {
        let authority = site.authority().expect("a site with certificates");
        let stranger = Authority::new(&site.directory().join("stranger"), "Unknown CA");
        stranger.issue_user("user", USER);
        Self {
            site,
            user: authority.issued("user"),
            stranger_user: stranger.issued("user"),
            stranger,
            voms: authority.issue_host("voms", &["voms.grid.test".to_owned()]),
        }
    }

    /// `grid-proxy-init` with these options, of a certificate and key.
    fn proxy_of(&self, of: &Credential, anchors: &Path, options: &[&str]) -> PathBuf {
        let proxy = self.site.scratch("proxy");
        let mut command = Command::new("grid-proxy-init");
        command.args(["-q", "-valid", "10:00"]).args(options);
        command.arg("-cert").arg(&of.certificate).arg("-key").arg(&of.key).arg("-out").arg(&proxy);
        made(command.env("X509_CERT_DIR", anchors));
        proxy
    }

    pub(super) fn proxy(&self, options: &[&str]) -> PathBuf {
        let anchors = self.site.authority().expect("a site with certificates").anchors();
        self.proxy_of(&self.user, &anchors, options)
    }

    fn second_level(&self) -> PathBuf {
        let first = self.proxy(&["-rfc"]);
        let anchors = self.site.authority().expect("a site with certificates").anchors();
        self.proxy_of(&Credential { certificate: first.clone(), key: first }, &anchors, &["-rfc"])
    }

    /// Certificates and a key in one file, as a proxy's are.
    fn together(&self, files: &[&Path]) -> PathBuf {
        let together = self.site.scratch("proxy");
        let parts: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("our own")).collect();
        std::fs::write(&together, parts.concat()).expect("space");
        set_mode(&together, 0o600);
        together
    }

    /// With an attribute certificate. Its path length is 1 unless `options` say otherwise.
    fn voms(&self, options: &[&str]) -> PathBuf {
        let proxy = self.site.scratch("proxy");
        let mut command = Command::new("voms-proxy-fake");
        command.args(["-quiet", "-rfc", "-voms", "grid.test", "-uri", "voms.grid.test:15000"]);
        command.args(["-fqan", "/grid.test/Role=NULL"]).args(options);
        command.arg("-cert").arg(&self.user.certificate).arg("-key").arg(&self.user.key);
        command.arg("-hostcert").arg(&self.voms.certificate).arg("-hostkey").arg(&self.voms.key);
        command.arg("-certdir").arg(self.site.directory().join("ca")).arg("-out").arg(&proxy);
        made(&mut command);
        proxy
    }

    /// A proxy that must not sign another. grid-proxy-init leaves the constraint out where it is told 0.
    pub(super) fn last_of_its_chain(&self) -> PathBuf {
        let [key, request, extensions, certificate] =
            ["key", "csr", "ext", "pem"].map(|kind| self.site.scratch(kind));
        let text = "proxyCertInfo=critical,language:id-ppl-inheritAll,pathlen:0\n\
                    keyUsage=critical,digitalSignature,keyEncipherment\n";
        std::fs::write(&extensions, text).expect("space");
        let mut command = Command::new("openssl");
        command.args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-sha256"]);
        command.args(["-subj", &format!("{USER}/CN=4711")]);
        made(command.arg("-keyout").arg(&key).arg("-out").arg(&request));
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-sha256", "-days", "1", "-set_serial", "4711"]);
        command.arg("-in").arg(&request).arg("-CA").arg(&self.user.certificate);
        command.arg("-CAkey").arg(&self.user.key).arg("-extfile").arg(&extensions);
        made(command.arg("-out").arg(&certificate));
        self.together(&[&certificate, &key, &self.user.certificate])
    }

    fn of_unknown_authority(&self) -> PathBuf {
        self.proxy_of(&self.stranger_user, &self.stranger.anchors(), &["-rfc"])
    }

    /// Signed with a stranger's key, and the user's real certificate behind it.
    fn forged(&self) -> PathBuf {
        let foreign = self.of_unknown_authority();
        let text = std::fs::read_to_string(&foreign).expect("our own");
        // Proxy, its key, and who has signed it.
        let (own, _) = text.split_at(text.rfind("-----BEGIN CERTIFICATE-----").expect("a chain"));
        std::fs::write(&foreign, own).expect("our own");
        self.together(&[&foreign, &self.user.certificate])
    }
}

fn made(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

/// How far somebody comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// The file is there, its data connection authenticated.
    Copied,
    /// There is a session, and data connections without authentication only.
    WithoutDcau,
    Refused,
}
use Outcome::{Copied, Refused, WithoutDcau};

/// Gets a file from a server or the door, with DCAU and, in vain, without.
fn outcome(site: &Site, host: &str, credential: &Path, environment: &[(&str, &str)]) -> (Outcome, String) {
    let file = path_text(&site.data_directory().join("file"));
    let get = |option: &[&str]| -> Finished {
        let copy = site.scratch("copy");
        let words = ["globus-url-copy"].iter().chain(option).map(|&word| word.to_owned());
        let ends = [format!("gsiftp://{host}:{PORT}{file}"), format!("file://{}", path_text(&copy))];
        let words: Vec<String> = words.chain(ends).collect();
        let credential = path_text(credential);
        let environment: Vec<_> =
            environment.iter().copied().chain([("X509_USER_PROXY", &*credential)]).collect();
        let finished = client::run(site, site.machine("client"), &words, &environment, LIMIT);
        if finished.success() {
            assert!(std::fs::read(&copy).unwrap() == std::fs::read(&file).unwrap(), "another file");
        }
        finished
    };
    let first = get(&[]);
    if first.success() {
        return (Copied, first.output);
    }
    let second = get(&["-nodcau"]);
    let output = format!("{}\n--- -nodcau:\n{}", first.output, second.output);
    (if second.success() { WithoutDcau } else { Refused }, output)
}

#[test]
fn each_kind_of_credential_comes_as_far_as_directly_row_by_row() {
    if !is_possible("kinds of GSI credentials") {
        return;
    }
    let has_voms = skip::find("voms-proxy-fake").is_some();
    if !has_voms {
        skip::skipped("VOMS proxies", "not installed: voms-proxy-fake; integration/run installs it");
    }
    let site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let door = start(&site);
    std::fs::write(site.data_directory().join("file"), content(2, 100_003)).unwrap();
    let tools = Tools::new(&site);
    type Make = fn(&Tools<'_>) -> PathBuf;
    #[rustfmt::skip]
    let mut table: Vec<(&str, Make, Outcome, Outcome, &str)> = vec![
        // what                 made by                                    directly   through    what the door says
        ("inherit all",         |t| t.proxy(&["-rfc"]),                    Copied,    Copied,    KNOWN),
        ("limited",             |t| t.proxy(&["-rfc", "-limited"]),        Copied,    Copied,    KNOWN),
        ("second level",        |t| t.second_level(),                       Copied,    Copied,    KNOWN),
        ("4096 bits",           |t| t.proxy(&["-rfc", "-bits", "4096"]),   Copied,    Copied,    KNOWN),
        (SHORT_KEY,             |t| t.proxy(&["-rfc", "-bits", "1024"]),   Refused,   Refused,   "its RSA key has 1024 bits; use 2048 to 8192"),
        // An identity of its own, which is in no grid-mapfile.
        ("independent",         |t| t.proxy(&["-rfc", "-independent"]),    Refused,   Refused,   "/CN=Grid User/CN="),
        ("no proxy at all",     |t| t.together(&[&t.user.certificate, &t.user.key]), Copied, Copied, KNOWN),
        ("draft",               |t| t.proxy(&["-draft"]),                  Copied,    Copied,    KNOWN),
        ("legacy",              |t| t.proxy(&["-old"]),                    Refused,   Refused,   "legacy"),
        ("path length 1",       |t| t.proxy(&["-rfc", "-path-length", "1"]), Copied,  WithoutDcau, UNAUTHENTICATED),
        ("path length 2",       |t| t.proxy(&["-rfc", "-path-length", "2"]), Copied,  Copied,    KNOWN),
        ("path length 0",       |t| t.last_of_its_chain(),                  WithoutDcau, Refused, "it stands deeper than a proxy above it allows"),
        ("unknown authority",   |t| t.of_unknown_authority(),               Refused,   Refused,   "its authority is not trusted here"),
        ("forged",              |t| t.forged(),                             Refused,   Refused,   "it is forged or damaged"),
    ];
    if has_voms {
        table.push(("VOMS, path length 1", |t| t.voms(&[]), Copied, WithoutDcau, UNAUTHENTICATED));
        table.push(("VOMS, path length 3", |t| t.voms(&["-path-length", "3"]), Copied, Copied, KNOWN));
    }
    let any_key = site.scratch("openssl.cnf");
    std::fs::write(&any_key, ANY_KEY).unwrap();
    let any_key = path_text(&any_key);
    let mut wrong = Vec::new();
    for (what, make, directly, through, said) in table {
        let credential = make(&tools);
        let from = door.log().len();
        let environment: &[(&str, &str)] =
            if what == SHORT_KEY { &[("OPENSSL_CONF", &*any_key)] } else { &[] };
        let [direct, ended] = std::thread::scope(|scope| {
            [name_of("s1"), VIRTUAL_NAME.to_owned()]
                .map(|host| {
                    scope.spawn(|| {
                        let host = host;
                        outcome(&site, &host, &credential, environment)
                    })
                })
                .map(|end| end.join().unwrap())
        });
        if (direct.0, ended.0) != (directly, through) {
            wrong.push(format!(
                "{what}: directly {:?}, through the door {:?}\n{}\n--- through the door\n{}\n--- its log\n{}",
                direct.0,
                ended.0,
                direct.1,
                ended.1,
                door.log().split_off(from)
            ));
            continue;
        }
        // Whoever is refused is told the same.
        if through == Refused && !ended.1.contains(said) {
            wrong.push(format!("{what}: {said:?} is not in\n{}", ended.1));
        }
        if let Err(why) = door.until_logged(from, said, LOGGED) {
            wrong.push(format!("{what}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
