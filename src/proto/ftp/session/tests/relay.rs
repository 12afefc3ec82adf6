//! Data that crosses the door: passive mode.
use super::*;

const PORT: &str = "203.0.113.1:52001";
const OUR_227: &str = "227 Entering Passive Mode (203,0,113,1,203,33)\r\n";
const THEIR_227: &str = "227 Entering Passive Mode (10,0,0,11,1,2)\r\n";
const THEIRS: &str = "10.0.0.11:258";

fn relay() -> Rig {
    Site { path: DataPath::Relay, ..Site::default() }.rig()
}

fn listening(ports: &[&str]) -> RelayAnswer {
    RelayAnswer::Listening(ports.iter().map(|port| port.parse().unwrap()).collect())
}

fn listen(id: u32) -> RelayRequest {
    RelayRequest::Listen { id: RelayId(id), side: Side::Client, ports: 1 }
}

fn finish(id: u32, complete: bool) -> RelayRequest {
    RelayRequest::Finish { id: RelayId(id), complete }
}

impl Rig {
    #[track_caller]
    fn pasv(&mut self, id: u32) -> &mut Self {
        self.client("PASV\r\n").server_sees("").client_sees("").driver_sees(&[listen(id)]);
        self.driver(id, listening(&[PORT])).client_sees(OUR_227).server_sees("")
    }

    fn start(
        &self,
        id: u32,
        targets: &[&str],
        connections: Connections,
        direction: Direction,
    ) -> RelayRequest {
        RelayRequest::Start {
            id: RelayId(id),
            targets: targets.iter().map(|target| target.parse().unwrap()).collect(),
            connections,
            direction,
            private: false,
            peers: Peers {
                client: self.session.client,
                login: self.session.login,
                policy: self.session.policy.clone(),
                server: None,
            },
        }
    }

    /// RETR as far as the server has it.
    #[track_caller]
    fn retr(&mut self, id: u32) -> &mut Self {
        self.client("RETR /a\r\n").server_sees("PASV\r\n").client_sees("");
        self.server(THEIR_227).client_sees("").server_sees("");
        let start = self.start(id, &[THEIRS], Connections::One, Direction::Download);
        self.driver_sees(&[start]);
        self.driver(id, RelayAnswer::Connected).server_sees("RETR /a\r\n").client_sees("")
    }
}

#[test]
fn a_get_asks_the_server_for_its_address_when_the_transfer_begins() {
    let mut rig = relay();
    rig.user().pasv(1).exchange("TYPE I", "200 ok").exchange("SIZE /a", "213 5");
    rig.retr(1).server("150 go\r\n").client_sees("150 go\r\n").driver_sees(&[]);
    rig.server("226 done\r\n").client_sees("226 done\r\n").driver_sees(&[finish(1, true)]);
    let transfers = rig.transfers();
    assert_eq!((transfers[0].data_path, transfers[0].reason), (DataPath::Relay, PathReason::Configured));
    assert_eq!(transfers[0].failure, None);
    // The next one has a number of its own.
    rig.pasv(2).retr(2);
}

#[test]
fn a_client_that_sends_all_at_once_gets_the_same() {
    let mut rig = relay();
    rig.user().binary().client("PASV\r\nRETR x\r\nNOOP\r\n").server_sees("").driver_sees(&[listen(1)]);
    assert!(!rig.session.accepts_client() && rig.session.is_waiting() && rig.session.is_busy());
    rig.driver(1, listening(&[PORT])).client_sees(OUR_227).server_sees("PASV\r\n");
    rig.server(THEIR_227).server_sees("").client_sees("");
    rig.driver(1, RelayAnswer::Connected).server_sees("RETR x\r\nNOOP\r\n");
    rig.server("150 go\r\n226 done\r\n200 ok\r\n").client_sees("150 go\r\n226 done\r\n200 ok\r\n");
    assert!(!rig.session.is_busy() && rig.session.is_quiet());
}
