//! Data that crosses the door.
mod active;
mod auto;
mod delayed;
mod endings;
mod failures;
mod fxp;
mod kept;
mod passive;
mod private;
mod restart;
mod striped;

use super::*;

const PORT: &str = "203.0.113.1:52001";
const OUR_227: &str = "227 Entering Passive Mode (203,0,113,1,203,33)\r\n";
const OUR_229: &str = "229 Entering Extended Passive Mode (|||52001|)\r\n";
const THEIR_227: &str = "227 Entering Passive Mode (10,0,0,11,1,2)\r\n";
const THEIRS: &str = "10.0.0.11:258";
/// At the door's end of the connection to the server.
const LEG: &str = "10.0.0.1:53001";

fn relay() -> Rig {
    Site { path: DataPath::Relay, ..Site::default() }.rig()
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn listening(ports: &[&str]) -> RelayAnswer {
    RelayAnswer::Listening(addresses(ports))
}

fn failed(text: &str) -> RelayAnswer {
    RelayAnswer::Failed(text.into())
}

fn listen(id: u32, side: Side, ports: usize) -> RelayRequest {
    RelayRequest::Listen { id: RelayId(id), side, ports }
}

fn finish(id: u32, complete: bool) -> RelayRequest {
    RelayRequest::Finish { id: RelayId(id), complete }
}

fn close(id: u32) -> RelayRequest {
    RelayRequest::Close { id: RelayId(id) }
}

/// What the driver is told at the start of a transfer, but for who may connect.
#[derive(Debug, Eq, PartialEq)]
struct Started {
    id: u32,
    targets: Vec<SocketAddr>,
    connections: Connections,
    direction: Direction,
    private: bool,
    /// The server, not the client, connects to the door.
    from_server: bool,
}

fn one(id: u32, target: &str) -> Started {
    Started {
        id,
        targets: addresses(&[target]),
        connections: Connections::One,
        direction: Direction::Download,
        private: false,
        from_server: false,
    }
}

fn many(id: u32, targets: &[&str]) -> Started {
    Started { targets: addresses(targets), connections: Connections::Many, ..one(id, PORT) }
}

impl Rig {
    /// The driver is asked to start this, and nothing else.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value)] // it is written where it is used
    fn starts(&mut self, expected: Started) -> &mut Self {
        let requests = self.relay_requests();
        let [RelayRequest::Start { id, targets, connections, direction, peers }] = &requests[..] else {
            panic!("{requests:?} instead of {expected:?}")
        };
        let (id, targets) = (id.0, targets.clone());
        let (connections, direction, private) = (*connections, *direction, peers.private);
        let from_server = peers.server.is_some();
        assert_eq!(Started { id, targets, connections, direction, private, from_server }, expected);
        assert_eq!(peers.client, self.session.client);
        self
    }

    /// A PASV as far as the client has its answer.
    #[track_caller]
    fn pasv(&mut self, id: u32) -> &mut Self {
        self.client("PASV\r\n").server_sees("").client_sees("").driver_sees(&[listen(id, Side::Client, 1)]);
        self.driver(id, listening(&[PORT])).client_sees(OUR_227).server_sees("").driver_sees(&[])
    }

    /// A transfer after PASV in MODE S, as far as the server has the command.
    #[track_caller]
    fn begins(&mut self, id: u32, transfer: &str, direction: Direction) -> &mut Self {
        self.client(format!("{transfer}\r\n")).server_sees("PASV\r\n").client_sees("").driver_sees(&[]);
        self.server(THEIR_227).client_sees("").server_sees("");
        self.starts(Started { direction, ..one(id, THEIRS) });
        self.driver(id, RelayAnswer::Connected).server_sees(format!("{transfer}\r\n")).client_sees("")
    }

    #[track_caller]
    fn retr(&mut self, id: u32) -> &mut Self {
        self.begins(id, "RETR /a", Direction::Download)
    }

    /// The server's last reply to a transfer.
    #[track_caller]
    fn done(&mut self, id: u32) -> &mut Self {
        self.server("150 go\r\n226 done\r\n").client_sees("150 go\r\n226 done\r\n");
        self.driver_sees(&[finish(id, true)])
    }

    /// One line with this code and these words in it.
    #[track_caller]
    fn client_hears(&mut self, code: &str, words: &str) -> &mut Self {
        let said = String::from_utf8(std::mem::take(&mut self.out.to_client)).unwrap();
        assert!(said.starts_with(code) && said.contains(words) && said.ends_with("\r\n"), "{said:?}");
        assert_eq!(said.matches("\r\n").count(), 1, "{said:?}");
        self
    }
}
