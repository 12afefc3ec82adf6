//! Data that the kernel carries from the virtual address.
use super::super::super::relay::Unexpected;
use super::*;

const VIP: &str = "203.0.113.1:258";
const OUR_227: &str = "227 Entering Passive Mode (203,0,113,1,1,2)\r\n";
const OUR_229: &str = "229 Entering Extended Passive Mode (|||258|)\r\n";
const THEIR_227: &str = "227 Entering Passive Mode (10,0,0,11,1,2)\r\n";

fn expect(id: u32, from_anywhere: bool) -> RelayRequest {
    RelayRequest::Expect { id: RelayId(id), port: 258, from_anywhere }
}

fn close(id: u32) -> RelayRequest {
    RelayRequest::Close { id: RelayId(id) }
}

fn listen(id: u32) -> RelayRequest {
    RelayRequest::Listen { id: RelayId(id), side: Side::Client, ports: 1 }
}

fn expected() -> RelayAnswer {
    RelayAnswer::Expected(VIP.parse().unwrap())
}

fn carried(path: DataPath) -> Rig {
    Site { path, ..Site::default() }.carried()
}

impl Site {
    fn carried(&self) -> Rig {
        let mut rig = self.rig();
        rig.session = rig.session.with_kernel_path();
        rig
    }
}

impl Rig {
    /// A PASV as far as the client has the server's port at the virtual address.
    #[track_caller]
    fn carried_pasv(&mut self, id: u32) -> &mut Self {
        self.client("PASV\r\n").server_sees("PASV\r\n").client_sees("").server(THEIR_227).client_sees("");
        self.driver_sees(&[expect(id, false)]).driver(id, expected()).client_sees(OUR_227).server_sees("")
    }
}

#[test]
fn a_get_goes_to_the_servers_own_port_at_the_virtual_address() {
    for (path, reason) in
        [(DataPath::Auto, PathReason::OtherClient), (DataPath::Kernel, PathReason::Configured)]
    {
        let mut rig = carried(path);
        rig.user().binary().carried_pasv(1);
        rig.exchange("RETR /a", "150 go").driver_sees(&[]);
        // Another control command on the way takes nothing back.
        rig.server("226 done\r\n").client_sees("226 done\r\n").driver_sees(&[close(1)]);
        let transfers = rig.transfers();
        assert_eq!(
            (transfers[0].data_path, transfers[0].reason, transfers[0].relay),
            (DataPath::Kernel, reason, None)
        );
        rig.carried_pasv(2);
    }
}

#[test]
fn curl_gets_its_file_in_the_type_that_it_sets_afterwards() {
    let mut rig = carried(DataPath::Auto);
    rig.anonymous().client("EPSV\r\n").server_sees("TYPE I\r\nPASV\r\n").client_sees("");
    rig.server("200 I\r\n").client_sees("").server(THEIR_227).driver_sees(&[expect(1, false)]);
    rig.driver(1, expected()).client_sees(OUR_229);
    rig.exchange("TYPE I", "200 ok").exchange("RETR /a", "150 go");
    rig.server("226 done\r\n").client_sees("226 done\r\n").driver_sees(&[close(1)]);
    // A listing goes through either way; a file would be damaged.
    rig.client("EPSV\r\n").server_sees("PASV\r\n").server(THEIR_227).driver(2, expected());
    rig.client_sees(OUR_229).exchange("TYPE A", "200 A");
    rig.refused("RETR /a\r\n", "425 ").exchange("LIST", "150 go");
}

#[test]
fn a_listing_that_is_to_come_crosses_the_door() {
    let mut rig = carried(DataPath::Auto);
    rig.user().exchange("TYPE A", "200 A").client("PASV\r\n").server_sees("").driver_sees(&[listen(1)]);
    assert_eq!(rig.session.relay_reason(data_commands::SetUpForm::Passive), Some(PathReason::Text));
}

#[test]
fn the_server_listens_in_the_family_of_the_client() {
    #[rustfmt::skip]
    let table = [
        ("192.0.2.7",   "10.0.0.11",   "EPSV", "PASV\r\n",   THEIR_227),
        ("2001:db8::7", "2001:db8::b", "EPSV", "EPSV\r\n",   "229 x (|||258|)\r\n"),
        ("192.0.2.7",   "2001:db8::b", "PASV", "EPSV 1\r\n", "229 x (|||258|)\r\n"),
        ("2001:db8::7", "10.0.0.11",   "EPSV", "EPSV 2\r\n", "229 x (|||258|)\r\n"),
    ];
    for (client, server, command, asked, reply) in table {
        let mut rig = Site { path: DataPath::Kernel, client, server, ..Site::default() }.carried();
        rig.user().binary().client(format!("{command}\r\n")).server_sees(asked).server(reply);
        rig.driver_sees(&[expect(1, false)]);
    }
}

#[test]
fn what_the_kernel_does_not_carry_crosses_the_door() {
    for (why, again) in [(Unexpected::PortTaken, true), (Unexpected::Closed, false)] {
        let mut rig = carried(DataPath::Auto);
        rig.user().binary().client("EPSV\r\n").server_sees("PASV\r\n").server(THEIR_227);
        rig.driver_sees(&[expect(1, false)]).driver(1, RelayAnswer::NotExpected(why));
        rig.client_sees("").driver_sees(&[listen(2)]);
        rig.driver(2, RelayAnswer::Listening(vec!["203.0.113.1:52001".parse().unwrap()]));
        rig.client_sees("229 Entering Extended Passive Mode (|||52001|)\r\n");
        // The server is asked when the transfer begins, as ever.
        rig.client("RETR /a\r\n").server_sees("PASV\r\n").server(THEIR_227);
        rig.relay_requests();
        rig.driver(2, RelayAnswer::Connected).server_sees("RETR /a\r\n");
        rig.server("150 go\r\n226 done\r\n").relay_requests();
        rig.out.to_client.clear();
        let transfers = rig.transfers();
        assert_eq!(
            (transfers[0].data_path, transfers[0].reason),
            (DataPath::Relay, PathReason::NoKernelPath)
        );
        rig.client("PASV\r\n");
        if again {
            rig.server_sees("PASV\r\n").driver_sees(&[]);
        } else {
            rig.server_sees("").driver_sees(&[listen(3)]);
        }
    }
}

#[test]
fn a_server_that_gives_no_port_for_it_is_asked_once_more_by_the_door() {
    for reply in ["522 no\r\n", "500 what\r\n", "227 nothing\r\n", "227 x (198,51,100,77,1,2)\r\n"] {
        let mut rig = carried(DataPath::Kernel);
        rig.user().binary().client("PASV\r\n").server_sees("PASV\r\n").server(reply).client_sees("");
        rig.driver_sees(&[listen(2)]);
        rig.driver(2, RelayAnswer::Failed("no relay port is free".into()))
            .client_sees("425 Cannot open the data connection: no relay port is free.\r\n");
        rig.client("PASV\r\n").server_sees("PASV\r\n");
    }
    // One that takes its leave does so to the client.
    let mut rig = carried(DataPath::Kernel);
    rig.user().binary().client("PASV\r\n").server_sees("PASV\r\n");
    rig.server("421 bye\r\n").client_sees("421 bye\r\n").driver_sees(&[]);
    rig.exchange("NOOP", "200 ok");
}

#[test]
fn without_a_kernel_path_the_door_carries_it_or_the_client_goes_direct() {
    #[rustfmt::skip]
    let table = [
        (DataPath::Kernel, false, false, (DataPath::Relay,  PathReason::NoKernelPath)),
        (DataPath::Kernel, false, true,  (DataPath::Direct, PathReason::GlobusClient)),
        (DataPath::Auto,   false, false, (DataPath::Relay,  PathReason::OtherClient)),
        (DataPath::Auto,   false, true,  (DataPath::Direct, PathReason::GlobusClient)),
        (DataPath::Kernel, true,  true,  (DataPath::Kernel, PathReason::Configured)),
        (DataPath::Auto,   true,  true,  (DataPath::Direct, PathReason::GlobusClient)),
        (DataPath::Direct, true,  false, (DataPath::Direct, PathReason::Configured)),
        (DataPath::Relay,  true,  false, (DataPath::Relay,  PathReason::Configured)),
    ];
    for (path, open, globus, expected) in table {
        let site = Site { path, ..Site::default() };
        let mut rig = if open { site.carried() } else { site.rig() };
        rig.user().binary();
        if globus {
            rig.exchange("SITE CLIENTINFO appname=x;", "250 ok");
        }
        let found = rig.session.data_path(data_commands::SetUpForm::Passive);
        assert_eq!(found, expected, "{path} {open} {globus}");
    }
}

#[test]
fn whoever_must_cross_the_door_does() {
    for constraint in [DataConstraint::ChecksPeer, DataConstraint::Tls] {
        let site = Site { path: DataPath::Kernel, constraint: Some(constraint), ..Site::default() };
        site.carried().user().client("PASV\r\n").server_sees("").driver_sees(&[listen(1)]);
    }
}

#[test]
fn what_is_expected_ends_with_what_comes_next() {
    for (command, reply) in [("PORT 192,0,2,7,200,1", ""), ("REIN", "220 new"), ("PASV", "")] {
        let mut rig = carried(DataPath::Kernel);
        rig.user().binary().carried_pasv(1);
        rig.client(format!("{command}\r\n"));
        if !reply.is_empty() {
            rig.server(format!("{reply}\r\n"));
        }
        let requests = rig.relay_requests();
        assert_eq!(requests.first(), Some(&close(1)), "{command}");
    }
    // Not with a file that is not there: the client may try another one at the same port.
    let mut rig = carried(DataPath::Kernel);
    rig.user().binary().carried_pasv(1).exchange("RETR /none", "550 none").driver_sees(&[]);
    rig.exchange("RETR /a", "150 go").server("226 done\r\n").driver_sees(&[close(1)]);
    // Nor with a file of MODE E, whose connections are kept.
    let mut rig = carried(DataPath::Kernel);
    rig.user().binary().exchange("MODE E", "200 E").carried_pasv_from_anywhere();
    for file in ["STOR /a", "STOR /b"] {
        rig.exchange(file, "150 go").server("226 done\r\n").client_sees("226 done\r\n").driver_sees(&[]);
    }
}

impl Rig {
    #[track_caller]
    fn carried_pasv_from_anywhere(&mut self) -> &mut Self {
        self.client("PASV\r\n").server_sees("PASV\r\n").server(THEIR_227);
        self.driver_sees(&[expect(1, true)]).driver(1, expected()).client_sees(OUR_227)
    }
}

#[test]
fn another_server_is_sent_to_the_servers_own_address() {
    let mut one = carried(DataPath::Kernel);
    one.user().exchange("SITE CLIENTINFO appname=x;", "250 ok").binary().carried_pasv_from_anywhere();
    let mut other = Rig { session: one.beside(), out: Outbox::default(), now: one.now, stash: Vec::new() };
    other.user().exchange("SITE CLIENTINFO appname=x;", "250 ok").binary();
    other.client("PORT 203,0,113,1,1,2\r\n").server_sees("PORT 10,0,0,11,1,2\r\n").driver_sees(&[]);
    // Once it is over nobody is expected there, and the address is the door's.
    one.exchange("RETR /a", "150 go").server("226 done\r\n").driver_sees(&[close(1)]);
    other.server("200 ok\r\n").out.to_client.clear();
    other.refused("PORT 203,0,113,1,1,2\r\n", "504 ");
}

impl Rig {
    /// Another session of the same virtual server and client.
    fn beside(&self) -> Session {
        let (policy, server) = (Arc::clone(&self.session.policy), Arc::clone(&self.session.server));
        Session::new(policy, server, self.session.client)
    }
}

#[test]
fn nobody_is_carried_before_login_or_in_the_wrong_way() {
    let mut rig = carried(DataPath::Kernel);
    rig.refused("PASV\r\n", "530 ").refused("EPSV\r\n", "530 ");
    rig.user().refused("EPSV 2\r\n", "522 ").refused("EPSV ALL\r\n", "200 ").refused("PASV\r\n", "501 ");
    let mut rig = Site { path: DataPath::Kernel, client: "2001:db8::7", ..Site::default() }.carried();
    rig.user().refused("PASV\r\n", "522 ").driver_sees(&[]);
}
