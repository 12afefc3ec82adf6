//! Chains that the real programs make are believed or refused as a Globus server does, and names are OpenSSL's.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gridfront::proto::gsi::{
    Certificate, LeafKind, PathError, PolicyLanguage, ProxyForm, Reason, VerifiedPath, verify,
};
use rustls::pki_types::CertificateDer;

use crate::support::certificates::{Authority, USER};
use crate::support::{gsi, skip};

fn run(program: &str, words: &[&str], anchors: &Path) -> Output {
    let mut command = Command::new(program);
    command.args(words).env("X509_CERT_DIR", anchors).env_remove("X509_USER_PROXY");
    command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

/// A user of an authority, in a directory.
struct Grid {
    directory: PathBuf,
    authority: Authority,
    /// The user's certificate and key.
    user: [PathBuf; 2],
}

impl Grid {
    fn new(directory: &Path, name: &str) -> Self {
        let directory = directory.join(name);
        let authority = Authority::new(&directory, "CA");
        authority.issue_user("user", USER);
        let user = ["user.pem", "user.key"].map(|file| directory.join(file));
        Self { directory, authority, user }
    }

    /// What `grid-proxy-init` makes of a certificate and key; `None` when it refuses.
    fn proxy(&self, file: &str, options: &[&str], of: [&Path; 2]) -> Option<PathBuf> {
        let proxy = self.directory.join(file);
        let [certificate, key] = of.map(text);
        let words = ["-q", "-valid", "10:00", "-cert", certificate, "-key", key, "-out", text(&proxy)];
        let output = run("grid-proxy-init", &[&words, options].concat(), &self.authority.anchors());
        output.status.success().then_some(proxy)
    }

    fn of_user(&self, file: &str, options: &[&str]) -> PathBuf {
        let [certificate, key] = &self.user;
        self.proxy(file, options, [certificate, key]).unwrap_or_else(|| panic!("grid-proxy-init {options:?}"))
    }

    fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<VerifiedPath, PathError> {
        let (trust, problems) = gsi::read_trust(&self.authority.anchors());
        assert_eq!(problems, Vec::<String>::new());
        verify(chain, &trust, gsi::now())
    }

    fn judge(&self, proxy: &Path) -> Result<VerifiedPath, PathError> {
        self.verify(&gsi::read_chain(proxy))
    }
}

/// GSI.md's table: what a Globus server says of each directly.
#[test]
fn chains_of_the_real_programs_are_judged_as_by_a_globus_server_row_by_row() {
    use LeafKind::{EndEntity, Proxy};
    use PolicyLanguage::{Independent, InheritAll, Limited};
    use ProxyForm::{Draft, Rfc3820};
    if ["openssl", "grid-proxy-init"].iter().any(|program| skip::find(program).is_none()) {
        skip::skipped(
            "chains of real programs",
            "not installed: openssl, grid-proxy-init; integration/run installs them",
        );
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let grid = Grid::new(scratch.path(), "site");
    #[rustfmt::skip]
    let table: &[(&[&str], LeafKind, Option<u32>)] = &[
        // options of grid-proxy-init    kind                          proxies that may follow
        (&["-rfc"],                      Proxy(Rfc3820, InheritAll),   None),
        (&["-rfc", "-limited"],          Proxy(Rfc3820, Limited),      None),
        (&["-rfc", "-independent"],      Proxy(Rfc3820, Independent),  None),
        (&["-rfc", "-bits", "4096"],     Proxy(Rfc3820, InheritAll),   None),
        (&["-rfc", "-path-length", "3"], Proxy(Rfc3820, InheritAll),   Some(3)),
        (&["-rfc", "-path-length", "0"], Proxy(Rfc3820, InheritAll),   None),
        (&["-draft"],                    Proxy(Draft, InheritAll),     None),
        (&["-draft", "-limited"],        Proxy(Draft, Limited),        None),
        (&["-draft", "-path-length", "2"], Proxy(Draft, InheritAll),   Some(2)),
    ];
    for (options, kind, remaining) in table {
        let path =
            grid.judge(&grid.of_user("row", options)).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_eq!((path.leaf_kind(), path.remaining_proxies()), (*kind, *remaining), "{options:?}");
        let independent = matches!(kind, Proxy(_, Independent));
        let own = if independent { path.leaf() } else { path.end_entity() };
        assert_eq!(path.identity(), own.subject_name(), "{options:?}");
        assert_eq!(path.identity().as_str() == USER, !independent, "{options:?}");
        assert_eq!(path.is_limited(), matches!(kind, Proxy(_, Limited)), "{options:?}");
    }

    let alone = grid.judge(&grid.user[0]).unwrap();
    assert_eq!((alone.leaf_kind(), alone.identity().as_str()), (EndEntity, USER));

    let first = grid.of_user("first", &["-rfc"]);
    let second = grid.proxy("second", &["-rfc"], [&first, &first]).expect("a proxy of a proxy");
    let path = grid.judge(&second).unwrap();
    assert_eq!((path.certificates().len(), path.identity().as_str()), (3, USER));

    let legacy = grid.judge(&grid.of_user("legacy", &["-old"])).unwrap_err();
    assert_eq!(legacy.reason, Reason::LegacyProxy);

    // A Globus server sends and gets the root as well, and openssl writes a chain in any order.
    let mut chain = gsi::read_chain(&second);
    chain.extend(gsi::read_chain(&grid.authority.certificate()));
    chain[1..].reverse();
    assert!(grid.verify(&chain).is_ok());

    let stranger = Grid::new(scratch.path(), "other");
    let foreign = stranger.of_user("foreign", &["-rfc"]);
    let reason = grid.judge(&foreign).unwrap_err().reason;
    // Both authorities have the same name, and only one the key.
    assert_eq!(reason, Reason::WrongSignature);

    // Signed by a stranger's key, with the user's real certificate behind it.
    let forged = [gsi::read_chain(&foreign)[0].clone(), gsi::read_chain(&grid.user[0])[0].clone()];
    assert_eq!(grid.verify(&forged).unwrap_err().reason, Reason::WrongSignature);
}

#[test]
fn a_proxy_with_voms_attributes_is_believed_and_keeps_them_byte_for_byte() {
    if ["openssl", "voms-proxy-fake"].iter().any(|program| skip::find(program).is_none()) {
        skip::skipped(
            "proxies with VOMS attributes",
            "not installed: voms-clients; integration/run installs it",
        );
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let grid = Grid::new(scratch.path(), "site");
    let host = grid.authority.issue_host("voms", &["voms.test".to_owned()]);
    for (options, remaining) in [(&["-rfc"][..], Some(1)), (&["-rfc", "-path-length", "3"], Some(3))] {
        let proxy = grid.directory.join("voms.proxy");
        let [certificate, key] = [&grid.user[0], &grid.user[1]].map(|path| text(path));
        let words = [
            "-cert",
            certificate,
            "-key",
            key,
            "-certdir",
            text(&grid.directory),
            "-hostcert",
            text(&host.certificate),
            "-hostkey",
            text(&host.key),
            "-voms",
            "grid.test",
            "-uri",
            "voms.test:15000",
            "-fqan",
            "/grid.test/Role=NULL",
            "-out",
            text(&proxy),
            "-quiet",
        ];
        let output = run("voms-proxy-fake", &[&words, options].concat(), &grid.authority.anchors());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        );
        let chain = gsi::read_chain(&proxy);
        let path = grid.judge(&proxy).unwrap();
        assert_eq!((path.identity().as_str(), path.remaining_proxies()), (USER, remaining));
        assert_eq!(path.leaf().der(), &chain[0][..]);
        let attributes = "1.3.6.1.4.1.8005.100.100.5";
        assert!(
            path.leaf().extensions().any(|extension| extension.oid.to_string() == attributes),
            "no attributes"
        );
        std::fs::remove_file(&proxy).unwrap();
    }
}

#[test]
fn names_are_written_as_openssl_writes_them() {
    if skip::find("openssl").is_none() {
        skip::skipped("names as openssl writes them", "not installed: openssl; integration/run installs it");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let [certificate, key] = ["name.pem", "name.key"].map(|file| scratch.path().join(file));
    #[rustfmt::skip]
    let subjects = [
        "/DC=org/DC=example/O=Grid/OU=People/CN=Jörg Müller 123",
        r"/O=Grid/CN=host\/s1.example.org",
        "/C=CH/ST=Genève/L=Meyrin/O=Grid/CN=a+UID=b/emailAddress=a@example.org",
        "/O=Grid/SN=Doe/GN=Jo/title=Dr/serialNumber=5/pseudonym=x/dnQualifier=y/street=Road 1/postalCode=12/CN=z",
        "/O=Grid/1.3.6.1.4.1.9999.1=unknown/CN=a=b,c;d\"e",
        "/O=Grid/mail=m/uid=u/userId=v/jurisdictionC=CH/businessCategory=w/organizationIdentifier=o/CN=c",
    ];
    for subject in subjects {
        let words = [
            "req",
            "-x509",
            "-utf8",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            subject,
        ];
        let files = ["-keyout", text(&key), "-out", text(&certificate)];
        let output = run("openssl", &[&words[..], &files].concat(), scratch.path());
        assert!(output.status.success(), "{subject}: {}", String::from_utf8_lossy(&output.stderr));
        let words = ["x509", "-noout", "-subject", "-nameopt", "compat", "-in", text(&certificate)];
        let output = run("openssl", &words, scratch.path());
        let expected = String::from_utf8(output.stdout).expect("ASCII");
        let certificate = Certificate::from_der(&gsi::read_chain(&certificate)[0]).unwrap();
        assert_eq!(format!("subject={}", certificate.subject_name()), expected.trim_end(), "{subject}");
    }
}
