//! A certificate authority for one test: host, user and proxy certificates made by the real tools.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How the certificates of the real servers are made. Both carry the virtual name, which is what clients check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostCertificates {
    /// One for all: CN = virtual name, subjectAltName = virtual name and every server.
    Shared,
    /// One each: CN = server, subjectAltName = server and virtual name.
    Own,
}

/// Subject of the user who has an account.
pub const USER: &str = "/O=Grid/OU=test/CN=Grid User";

const USER_EXTENSIONS: &str =
    "extendedKeyUsage=clientAuth\nkeyUsage=critical,digitalSignature,keyEncipherment\n";

/// The authority, its trust anchors and what it signed, in one directory.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Credential {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new authority called `name` in `directory`.
    ///
    /// # Panics
    /// When openssl(1) fails, as all of these.
    pub fn new(directory: &Path, name: &str) -> Self {
        let anchors = directory.join("anchors");
        std::fs::create_dir_all(&anchors).expect("a directory for trust anchors");
        let authority = Self { directory: directory.to_owned() };
        let subject = format!("/O=Grid/OU=test/CN={name}");
        openssl(&[
            "req -x509 -newkey rsa:2048 -nodes -sha256 -days 30 -addext basicConstraints=critical,CA:TRUE \
             -addext keyUsage=critical,keyCertSign,cRLSign -subj",
            &subject,
            "-keyout",
            text(&authority.file("ca.key")),
            "-out",
            text(&authority.file("ca.pem")),
        ]);
        // Globus finds an authority by the hash of its subject and wants its signing policy beside it.
        for kind in ["-subject_hash", "-subject_hash_old"] {
            let hash = openssl(&["x509 -noout", kind, "-in", text(&authority.file("ca.pem"))]);
            let hash = hash.trim();
            std::fs::copy(authority.file("ca.pem"), anchors.join(format!("{hash}.0"))).expect("a copy");
            let policy = format!(
                "access_id_CA X509 '{subject}'\npos_rights globus CA:sign\ncond_subjects globus '\"/O=Grid/*\"'\n"
            );
            std::fs::write(anchors.join(format!("{hash}.signing_policy")), policy).expect("a signing policy");
        }
        authority
    }

    /// The directory that X509_CERT_DIR names.
    pub fn anchors(&self) -> PathBuf {
        self.directory.join("anchors")
    }

    /// A certificate for hosts; the first name is the subject's.
    pub fn issue_host(&self, file: &str, names: &[String]) -> Credential {
        let alternatives: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        self.issue(
            file,
            &format!("/O=Grid/OU=test/CN={}", names[0]),
            &format!("subjectAltName={}\nextendedKeyUsage=serverAuth,clientAuth\n", alternatives.join(",")),
        )
    }

    /// A certificate for a user, and an RFC 3820 proxy certificate made of it by grid-proxy-init.
    pub fn issue_user(&self, file: &str, subject: &str) -> PathBuf {
        let user = self.issue_user_certificate(file, subject);
        let proxy = self.file(&format!("{file}.proxy"));
        let output = Command::new("grid-proxy-init")
            .args(["-q", "-valid", "240:00", "-cert", text(&user.certificate), "-key", text(&user.key)])
            .args(["-out", text(&proxy)])
            .env("X509_CERT_DIR", self.anchors())
            .output()
            .expect("grid-proxy-init runs");
        assert!(output.status.success(), "grid-proxy-init: {}", String::from_utf8_lossy(&output.stderr));
        proxy
    }

    /// What any of these writes, or has written, as `file`.
    pub fn issued(&self, file: &str) -> Credential {
        let [certificate, key] = ["pem", "key"].map(|kind| self.file(&format!("{file}.{kind}")));
        Credential { certificate, key }
    }

    /// A certificate for a host that ended yesterday.
    pub fn issue_expired_host(&self, file: &str, name: &str) -> Credential {
        self.issue_for(
            file,
            &format!("/O=Grid/OU=test/CN={name}"),
            &format!("subjectAltName=DNS:{name}\n"),
            -1,
        )
    }

    /// A certificate for a user, without a proxy.
    pub fn issue_user_certificate(&self, file: &str, subject: &str) -> Credential {
        self.issue(file, subject, USER_EXTENSIONS)
    }

    /// The same, from and until these dates (`20200101000000Z`).
    pub fn issue_user_between(&self, file: &str, subject: &str, begin: &str, end: &str) -> Credential {
        let (credential, request, extension) = self.request(file, subject, USER_EXTENSIONS);
        let register = self.register();
        openssl(&[
            "ca -batch -notext -config",
            text(&register),
            "-in",
            text(&request),
            "-out",
            text(&credential.certificate),
            "-extfile",
            text(&extension),
            &format!("-startdate {begin} -enddate {end}"),
        ]);
        credential
    }

    /// Puts a list beside the trust anchors that revokes this certificate.
    pub fn revoke(&self, credential: &Credential) {
        let (register, list) = (self.register(), self.file("ca.crl"));
        openssl(&["ca -config", text(&register), "-revoke", text(&credential.certificate)]);
        openssl(&["ca -gencrl -crldays 7 -config", text(&register), "-out", text(&list)]);
        for kind in ["-subject_hash", "-subject_hash_old"] {
            let hash = openssl(&["x509 -noout", kind, "-in", text(&self.file("ca.pem"))]);
            let (new, place) = (self.file("ca.crl.new"), self.anchors().join(format!("{}.r0", hash.trim())));
            // As fetch-crl(8) does it.
            std::fs::copy(&list, &new).and_then(|_| std::fs::rename(&new, place)).expect("our own files");
        }
    }

    /// What openssl-ca(1) keeps of what it has signed and revoked.
    fn register(&self) -> PathBuf {
        let (configuration, index) = (self.file("register.cnf"), self.file("register.txt"));
        if !configuration.exists() {
            std::fs::write(&index, "").expect("an empty register");
            let root = text(&self.directory);
            let words = format!(
                "[ca]\ndefault_ca = own\n[own]\ndatabase = {root}/register.txt\nnew_certs_dir = {root}\nrand_serial = yes\n\
                 certificate = {root}/ca.pem\nprivate_key = {root}/ca.key\ndefault_md = sha256\npolicy = any\npreserve = yes\n\
                 email_in_dn = no\n[any]\norganizationName = optional\norganizationalUnitName = optional\ncommonName = supplied\n"
            );
            std::fs::write(&configuration, words).expect("a configuration");
        }
        configuration
    }

    /// The certificate that has signed the others.
    pub fn certificate(&self) -> PathBuf {
        self.file("ca.pem")
    }

    fn issue(&self, file: &str, subject: &str, extensions: &str) -> Credential {
        self.issue_for(file, subject, extensions, 30)
    }

    fn issue_for(&self, file: &str, subject: &str, extensions: &str, days: i32) -> Credential {
        let (credential, request, extension) = self.request(file, subject, extensions);
        openssl(&[
            &format!("x509 -req -sha256 -days {days} -CAcreateserial -in"),
            text(&request),
            "-CA",
            text(&self.file("ca.pem")),
            "-CAkey",
            text(&self.file("ca.key")),
            "-extfile",
            text(&extension),
            "-out",
            text(&credential.certificate),
        ]);
        credential
    }

    /// A key, a request for a certificate of it, and the file of the extensions that the certificate is to have.
    fn request(&self, file: &str, subject: &str, extensions: &str) -> (Credential, PathBuf, PathBuf) {
        let credential = self.issued(file);
        let [request, extension] = ["csr", "ext"].map(|kind| self.file(&format!("{file}.{kind}")));
        std::fs::write(&extension, extensions).expect("an extension file");
        openssl(&[
            "req -new -newkey rsa:2048 -nodes -sha256 -subj",
            subject,
            "-keyout",
            text(&credential.key),
            "-out",
            text(&request),
        ]);
        // Globus refuses a key that others can read.
        set_mode(&credential.key, 0o400);
        (credential, request, extension)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Sets the permission bits.
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own file");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

/// Runs openssl(1): of the parts, those with a blank that do not begin with a slash are several words.
fn openssl(parts: &[&str]) -> String {
    let mut command = Command::new("openssl");
    for part in parts {
        if part.starts_with('/') {
            command.arg(part);
        } else {
            command.args(part.split_whitespace());
        }
    }
    let output = command.output().expect("openssl(1) runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
