//! Certificates and trust directories as the product's pure parts take them.

use std::path::Path;

use gridfront::proto::gsi::{TrustFile, TrustStore};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};

/// The certificates of a PEM file, in order.
///
/// # Panics
/// When the file cannot be read, as all of these.
pub fn read_chain(file: &Path) -> Vec<CertificateDer<'static>> {
    let certificates =
        CertificateDer::pem_file_iter(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    certificates.map(|certificate| certificate.expect("PEM")).collect()
}

/// A directory, and what is wrong in it.
pub fn read_trust(directory: &Path) -> (TrustStore, Vec<String>) {
    let contents: Vec<(String, Vec<u8>)> = std::fs::read_dir(directory)
        .expect("a trust directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (
                entry.file_name().into_string().expect("plain names"),
                std::fs::read(entry.path()).expect("a file"),
            )
        })
        .collect();
    let files = contents.iter().map(|(name, content)| TrustFile { name, content: Ok(content) });
    let (store, problems) = TrustStore::from_files(files);
    (store, problems.iter().map(ToString::to_string).collect())
}

/// The real time.
pub fn now() -> UnixTime {
    UnixTime::now()
}
