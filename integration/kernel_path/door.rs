//! The door in a guest kernel.

use std::time::Duration;

use crate::support::dr_lab::DrLab;
use crate::support::guest_door::GuestDoor;
use crate::support::uml;

const PORT: u16 = 2811;
/// For a door that is told to end.
const END: Duration = Duration::from_secs(30);

#[test]
fn a_door_in_a_guest_serves_at_its_virtual_addresses_and_can_be_asked() {
    if !uml::possible("a door in a guest kernel", &["globus-gridftp-server"]) {
        return;
    }
    let lab = DrLab::new();
    let _globus = lab.serve_globus("rs2", PORT, "");
    let balancer = lab.balancer();
    let [v4, v6] = DrLab::vips();
    let real = lab.real_servers(v4)[1];
    let text = format!(
        "[[virtual_server]]\nname = \"gridftp\"\naddresses = [\"{v4}\", \"{v6}\"]\nport = {PORT}\n\
         [[virtual_server.real_server]]\nname = \"rs2\"\naddress = \"{real}\"\nport = {PORT}\n"
    );
    let door = GuestDoor::start(&balancer, "", &text);
    let sessions: Vec<_> = DrLab::vips().map(|vip| lab.converse(vip, PORT).unwrap()).into();
    assert!(sessions.iter().all(|session| session.server() == "220 rs2\r"), "{sessions:?}");
    let status = door.status().unwrap();
    assert_eq!(status["virtual_servers"][0]["real_servers"][0]["name"], "rs2", "{status}");
    door.order(&["reload"]).unwrap();
    door.signal("KILL");
    door.until_ended(END);
    assert!(lab.converse(v4, PORT).is_err());
    // What is left of the socket of the first one does not keep the second from starting.
    let door = GuestDoor::start(&balancer, "drain_timeout = \"1s\"", &text);
    lab.converse(v6, PORT).unwrap();
    door.signal("TERM");
    door.until_ended(END);
    assert!(door.log().contains("stopped"), "{}", door.log());
}
