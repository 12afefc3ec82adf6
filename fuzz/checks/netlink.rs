//! What the kernel tells.
use gridfront::proto::netlink::FormatError;
use gridfront::proto::netlink::address::{Address, host_prefix};
use gridfront::proto::netlink::generic::Family;
use gridfront::proto::netlink::ipvs;
use gridfront::proto::netlink::link::Link;
use gridfront::proto::netlink::message::{Answer, Confirm, Messages, Request};
use gridfront::proto::netlink::neighbour::Neighbour;
use gridfront::proto::netlink::route::Way;
use gridfront::proto::netlink::traffic_control::{Filter, Qdisc};

/// What the kernel tells, in messages and without them.
pub fn netlink(data: &[u8]) {
    told(data);
    for message in Messages::new(data).flatten() {
        let _ = message.is_inconsistent();
        if let Ok(Answer::Data(data)) = message.answer() {
            told(data);
        }
    }
}

/// What is read of IPVS is read as the same where it is said again.
fn told(data: &[u8]) {
    const FAMILY: Family = Family { id: 28, version: 1 };
    /// With the zero behind it.
    const MAX_NAME: usize = 16;
    let _ = (Link::read(data), Family::read(data), ipvs::Info::read(data));
    let _ = (Way::read(data), Neighbour::read(data), Filter::read(data), Qdisc::read(data));
    if let Ok(Some(address)) = Address::read(data) {
        assert!(address.prefix <= host_prefix(address.address));
    }
    if let Ok(Some(service)) = ipvs::Service::read(data)
        && [Some(&service.scheduler), service.engine.as_ref()]
            .iter()
            .flatten()
            .all(|name| name.len() < MAX_NAME)
    {
        let again = said(&ipvs::add_service(FAMILY, &service), ipvs::Service::read);
        if let Ok(Some(listed)) = ipvs::ListedService::read(data) {
            assert_eq!(listed.service, service);
        }
        assert_eq!(again, Some(service));
    }
    for family in [ipvs::AddressFamily::V4, ipvs::AddressFamily::V6] {
        let Ok(Some(destination)) = ipvs::Destination::read(data, family) else { continue };
        let key = ipvs::ServiceKey::Tcp(destination.address);
        let request = ipvs::add_destination(FAMILY, &key, &destination);
        assert_eq!(said(&request, |data| ipvs::Destination::read(data, family)), Some(destination));
        if let Ok(Some(listed)) = ipvs::ListedDestination::read(data, family) {
            assert_eq!(listed.destination, destination);
        }
    }
    if let Ok(Some(daemon)) = ipvs::Daemon::read(data)
        && daemon.interface.len() < MAX_NAME
    {
        assert_eq!(said(&ipvs::start_daemon(FAMILY, &daemon), ipvs::Daemon::read), Some(daemon));
    }
}

/// What is read of a request.
fn said<T>(request: &Request, read: impl Fn(&[u8]) -> Result<Option<T>, FormatError>) -> Option<T> {
    let mut bytes = Vec::new();
    request.write(&mut bytes, 1, Confirm::Yes);
    let message = Messages::new(&bytes).next().expect("a message").expect("a whole one");
    let Ok(Answer::Data(data)) = message.answer() else { panic!("{message:?}") };
    read(data).expect("what we say can be read")
}
