//! The demo's client against the demo's servers, without a door between them.

use super::*;
use crate::cli::demo::table::Flow;

/// A door that is not there.
struct NoDoor;

impl Door for NoDoor {
    fn sessions(&self) -> u32 {
        0
    }

    fn stop(self: Box<Self>) {}
}

fn stage() -> Stage {
    Stage::set_up(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), |_, _| Ok(Box::new(NoDoor))).unwrap()
}

#[tokio::test]
async fn every_transfer_arrives_identical_and_straight_from_the_server() {
    let stage = stage();
    for server in stage.servers() {
        let client = Client::new(server.address(), stage.files(), stage.journal(), 300_000);
        for row in client.transfers(|_| ()).await {
            assert!(row.identical && row.failure.is_none(), "{row:?}");
            assert!(
                matches!(&row.flow, Flow::Direct { between, .. }
                if between.contains(&server.address().ip().to_string())),
                "{row:?}"
            );
            assert!(row.server.starts_with(server.name()), "{row:?}");
            assert_eq!(row.bytes, 300_000);
            assert!(row.through_door < 3_000, "{row:?}");
        }
    }
}

#[tokio::test]
async fn held_sessions_are_counted_by_server() {
    let stage = stage();
    let server = &stage.servers()[1];
    let client = Client::new(server.address(), stage.files(), stage.journal(), 1);
    let spread = client.hold(5).await.unwrap();
    assert_eq!((spread.on("demo-s1"), spread.on("demo-s2")), (0, 5));
}

#[test]
fn a_failed_transfer_fails_the_demo_and_leaves_nothing() {
    let mut out = Vec::new();
    let mut place = None;
    let args = DemoArgs { once: true, listen: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0) };
    let outcome = perform(
        &args,
        |file, _| {
            place = file.parent().map(Path::to_owned);
            Ok(Box::new(NoDoor))
        },
        &mut out,
    );
    assert_eq!(outcome, Ok(false), "{}", String::from_utf8_lossy(&out));
    assert!(String::from_utf8_lossy(&out).contains("0 of 10 files identical"));
    assert!(!place.unwrap().exists());
}

#[test]
fn an_address_in_use_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let std::net::SocketAddr::V4(listen) = taken.local_addr().unwrap() else { unreachable!() };
    let args = DemoArgs { once: true, listen };
    let problem = perform(&args, |_, _| Ok(Box::new(NoDoor)), &mut Vec::new()).unwrap_err();
    assert!(problem.starts_with(&format!("{listen}: ")) && problem.contains("--listen"), "{problem}");
}
