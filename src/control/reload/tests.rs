use std::num::NonZeroUsize;

use super::*;
use crate::control::admin::RELOAD_PATIENCE;
use crate::control::vrrp::Ownership;
use crate::tls::tests::gsi_files;

#[test]
fn whoever_asks_for_a_reload_hears_that_its_files_cannot_be_read() {
    assert!(2 * FILES_WITHIN + FIRST_ANSWERS < RELOAD_PATIENCE);
}

/// The files of GSI are read by who looks after them and by a reload: a change of an address neither waits for them nor
/// needs them.
#[tokio::test]
async fn names_change_without_the_files_of_gsi_and_a_reload_needs_them() {
    let (directory, gsi) = gsi_files();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let configuration = |address: &str| {
        let text = format!(
            "[[virtual_server]]\naddresses = ['127.0.0.1']\nport = {port}\ngsi = {{ mode = 'terminate', certificate = '{}', \
             key = '{}', trust_anchors = '{}' }}\n[[virtual_server.real_server]]\naddress = '{address}'\n",
            gsi.certificate.display(),
            gsi.key.display(),
            gsi.trust_anchors.display()
        );
        Configuration::of(config::toml::parse(Path::new("f"), &text).unwrap().model)
    };
    let first = configuration("127.0.0.2");
    let (generation, _) = Generation::first(&first.meant, today()).unwrap();
    let door = FrontDoor::open(generation.services(), NonZeroUsize::MIN).unwrap();
    let reloader =
        Reloader::new(first, generation, Arc::new(door), Ownership::default(), Forwarding::default());
    std::fs::rename(&gsi.trust_anchors, directory.path().join("away")).unwrap();

    let changed = reloader.apply(configuration("127.0.0.3"), now(), Purpose::Names).await.unwrap();
    assert!(changed.changes.iter().any(|change| change.contains("127.0.0.3")), "{changed:?}");
    for purpose in [Purpose::Reload, Purpose::DryRun] {
        let refused = reloader.apply(configuration("127.0.0.4"), now(), purpose).await.unwrap_err();
        assert!(refused.problems[0].contains("the trust directory cannot be read"), "{refused:?}");
    }
    let servers = reloader.in_force().services()[0].virtual_server.real_servers()[0].address();
    assert_eq!(servers.ip().to_string(), "127.0.0.3");
}
