mod active;
mod bounce;
mod driver;
mod endings;
mod features;
mod filter;
mod kernel_path;
mod limits;
mod lines;
mod order;
mod passive;
mod properties;
mod relay;
mod security;
mod tls;
mod transfer_type;

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::super::bounce::BouncePolicy;
use super::super::command::Verb;
use super::super::passive::DataAddresses;
use super::super::policy::ForeignDataAddresses;
use super::super::relay::{Connections, DataConstraint, Direction, RelayRequest, Side};
use super::super::reply::{ReplyCode, ReplyLine};
use super::*;

/// A session with a client and a server whose parts the test plays.
struct Rig {
    session: Session,
    out: Outbox,
    now: Instant,
    /// What the machine did not take, as the driver would keep it.
    stash: Vec<u8>,
}

/// A client on IPv4, a server on IPv4 with a public address, the default rules.
fn rig() -> Rig {
    Site::default().rig()
}

/// What a test may choose.
#[derive(Clone, Copy)]
struct Site {
    client: &'static str,
    server: &'static str,
    public: &'static [&'static str],
    foreign: ForeignDataAddresses,
    trusted: &'static [&'static str],
    path: DataPath,
    constraint: Option<DataConstraint>,
    tls: TlsPolicy,
    announce: &'static [&'static str],
}

impl Default for Site {
    fn default() -> Self {
        Self {
            client: "192.0.2.7",
            server: "10.0.0.11",
            public: &["198.51.100.11"],
            foreign: ForeignDataAddresses::ThirdParty,
            trusted: &[],
            path: DataPath::Direct,
            constraint: None,
            tls: TlsPolicy::Off,
            announce: &[],
        }
    }
}

impl Site {
    #[allow(clippy::disallowed_methods)] // a starting point; every later instant is derived from it
    fn rig(&self) -> Rig {
        let public: Vec<IpAddr> = self.public.iter().map(|text| text.parse().unwrap()).collect();
        let server: IpAddr = self.server.parse().unwrap();
        let addresses = DataAddresses::new(server, &public, vec![]);
        let bounce = BouncePolicy {
            foreign: self.foreign,
            trusted: self.trusted.iter().map(|text| text.parse::<IpNet>().unwrap()).collect(),
            servers: public,
            services: vec![SocketAddr::new(server, 2811), "192.0.2.7:2811".parse().unwrap()],
        };
        let policy = Arc::new(SessionPolicy {
            bounce,
            data_path: self.path,
            tls: self.tls,
            announce: self.announce.iter().map(|text| text.parse().unwrap()).collect(),
            ..SessionPolicy::default()
        });
        let session = Session::new(
            policy,
            Arc::new(ServerData { addresses, constraint: self.constraint }),
            self.client.parse().unwrap(),
        );
        Rig { session, out: Outbox::default(), now: Instant::now(), stash: Vec::new() }
    }
}

impl Rig {
    fn client(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stash.extend_from_slice(bytes.as_ref());
        self.resume()
    }

    fn server(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let used = self.session.handle_server(self.now, bytes.as_ref(), &mut self.out);
        assert_eq!(used, bytes.as_ref().len(), "the machine takes all that the server says");
        self.resume()
    }

    /// What the driver does when the machine takes input again.
    fn resume(&mut self) -> &mut Self {
        let used = self.session.handle_client(self.now, &self.stash, &mut self.out);
        self.stash.drain(..used);
        self
    }

    fn server_closes(&mut self) -> &mut Self {
        self.session.handle_server_closed(self.now, &mut self.out);
        self
    }

    /// The command goes through and this is its reply.
    #[track_caller]
    fn exchange(&mut self, command: &str, reply: &str) -> &mut Self {
        self.client(format!("{command}\r\n")).server_sees(format!("{command}\r\n"));
        self.server(format!("{reply}\r\n")).client_sees(format!("{reply}\r\n"))
    }

    /// The door answers this itself; the server never hears of it.
    #[track_caller]
    fn refused(&mut self, command: impl AsRef<[u8]>, code: &str) -> &mut Self {
        self.client(command).server_sees("");
        let said = String::from_utf8(std::mem::take(&mut self.out.to_client)).unwrap();
        assert!(said.starts_with(code) && said.ends_with("\r\n"), "{said:?} instead of {code}");
        assert_eq!(said.matches("\r\n").count(), 1, "{said:?}");
        self
    }

    #[track_caller]
    fn anonymous(&mut self) -> &mut Self {
        self.exchange("USER anonymous", "331 Password").exchange("PASS x@", "230 in")
    }

    #[track_caller]
    fn user(&mut self) -> &mut Self {
        self.exchange("USER joe", "331 Password").exchange("PASS secret", "230 in")
    }

    #[track_caller]
    fn binary(&mut self) -> &mut Self {
        self.exchange("TYPE I", "200 ok")
    }

    #[track_caller]
    fn client_sees(&mut self, expected: impl AsRef<[u8]>) -> &mut Self {
        assert_eq!(shown(&std::mem::take(&mut self.out.to_client)), shown(expected.as_ref()), "client");
        self
    }

    #[track_caller]
    fn server_sees(&mut self, expected: impl AsRef<[u8]>) -> &mut Self {
        assert_eq!(shown(&std::mem::take(&mut self.out.to_server)), shown(expected.as_ref()), "server");
        self
    }

    #[track_caller]
    fn ended(&mut self, ending: Ending) -> &mut Self {
        assert_eq!(self.session.ended(), Some(ending));
        assert!(!self.session.accepts_client());
        self
    }

    /// What the driver is asked for.
    fn relay_requests(&mut self) -> Vec<RelayRequest> {
        let (relay, others) =
            self.actions().into_iter().partition(|action| matches!(action, Action::Relay(_)));
        self.out.actions = others;
        let request = |action| if let Action::Relay(request) = action { Some(request) } else { None };
        Vec::into_iter(relay).filter_map(request).collect()
    }

    #[track_caller]
    fn driver_sees(&mut self, expected: &[RelayRequest]) -> &mut Self {
        assert_eq!(self.relay_requests(), expected, "driver");
        self
    }

    fn driver(&mut self, id: u32, answer: RelayAnswer) -> &mut Self {
        self.session.handle_relay(self.now, RelayId(id), answer);
        self.resume()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.out.actions)
    }

    fn transfers(&mut self) -> Vec<TransferRecord> {
        let transfer = |action| if let Action::Transfer(record) = action { Some(record) } else { None };
        self.actions().into_iter().filter_map(transfer).collect()
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn a_login_and_a_passive_get_with_the_public_address() {
    let mut rig = rig();
    rig.client("USER anonymous\r\nPASS x\r\n").server_sees("USER anonymous\r\nPASS x\r\n");
    rig.server("331 Password\r\n230 in\r\n").client_sees("331 Password\r\n230 in\r\n");
    rig.client("TYPE I\r\n").server_sees("TYPE I\r\n").server("200 ok\r\n").client_sees("200 ok\r\n");
    rig.client("PASV\r\nRETR /a\r\n").server_sees("PASV\r\n");
    rig.server("227 Entering Passive Mode (10,0,0,11,1,2)\r\n");
    rig.client_sees("227 Entering Passive Mode (198,51,100,11,1,2)\r\n").server_sees("RETR /a\r\n");
    rig.server("150 go\r\n226 done\r\n").client_sees("150 go\r\n226 done\r\n");
    let transfers = rig.transfers();
    assert_eq!(transfers.len(), 1);
    assert_eq!((transfers[0].verb, &*transfers[0].path), (Verb::Retr, "/a"));
    assert_eq!(transfers[0].reply.map(ReplyCode::number), Some(226));
}

#[test]
fn logins_are_told_with_their_name_and_failures_are_counted() {
    #[rustfmt::skip]
    type Row = (&'static str, &'static [(&'static str, &'static str)], Login, usize);
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("anonymous",       &[("USER anonymous", "331 p"), ("PASS x@", "230 in")], Login::Anonymous, 0),
        ("ftp",             &[("USER FTP", "331 p"), ("PASS x@", "230 in")],       Login::Anonymous, 0),
        ("name, then NUL",  &[("USER ftp\0x", "331 p"), ("PASS x@", "230 in")],    Login::Anonymous, 0),
        ("name, then blank", &[("USER anonymous x", "331 p"), ("PASS", "230 in")], Login::Anonymous, 0),
        ("a user",          &[("USER joe", "331 p"), ("PASS x", "230 in")],        Login::User, 0),
        ("no password",     &[("USER joe", "230 in")],                             Login::User, 0),
        ("multi-line",      &[("USER joe", "331 p"), ("PASS x", "230-hi\r\n230 in")], Login::User, 0),
        ("with ACCT",       &[("USER joe", "331 p"), ("PASS x", "332 acct"), ("ACCT y", "230 in")], Login::User, 0),
        ("wrong password",  &[("USER joe", "331 p"), ("PASS x", "530 no")],        Login::No, 1),
        ("wrong name",      &[("USER joe", "530 no")],                             Login::No, 1),
        ("busy",            &[("USER joe", "331 p"), ("PASS x", "421 full")],      Login::No, 1),
        ("guess once in",   &[("USER ftp", "331 p"), ("PASS x", "230 in"), ("USER joe", "331 p"), ("PASS y", "530 no")], Login::Anonymous, 1),
        ("second try",      &[("USER joe", "331 p"), ("PASS x", "530 no"), ("USER joe", "331 p"), ("PASS y", "230 in")], Login::User, 1),
        ("already in",      &[("USER joe", "230 in"), ("USER joe", "503 already")], Login::User, 0),
        ("anonymous once",  &[("USER ftp", "331 p"), ("PASS x", "230 in"), ("USER joe", "331 p"), ("PASS y", "230 in")], Login::Anonymous, 0),
        ("not a login",     &[("USER joe", "331 p"), ("PASS x", "226 late")],      Login::No, 0),
        ("REIN",            &[("USER joe", "230 in"), ("REIN", "220 ready")],      Login::No, 0),
        ("REIN refused",    &[("USER joe", "230 in"), ("REIN", "500 what")],       Login::User, 0),
    ];
    for (name, exchanges, login, failures) in table {
        let mut rig = rig();
        for (command, reply) in *exchanges {
            rig.exchange(command, reply);
        }
        assert_eq!(rig.session.login(), *login, "{name}");
        let told = rig.actions();
        let failed = told.iter().filter(|action| matches!(action, Action::LoginFailed { .. })).count();
        assert_eq!(failed, *failures, "{name}");
        // Only 530 to PASS or ACCT says that somebody may be guessing.
        let guesses =
            told.iter().filter(|action| matches!(action, Action::LoginFailed { wrong_password: true }));
        let refused = exchanges
            .iter()
            .filter(|(command, reply)| !command.starts_with("USER") && reply.starts_with("530"));
        assert_eq!(guesses.count(), refused.count(), "{name}");
    }
    let mut rig = rig();
    let told = Action::LoggedIn { user: "joe".into(), took: Duration::ZERO };
    assert_eq!(rig.user().actions(), [told]);
}

#[test]
fn the_name_is_that_of_the_user_whom_the_server_let_in() {
    // What is sent at once, and what the server says to it; who is told to be in, one after the other.
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("pipelined",          &[("USER joe|PASS x", "331 p|230 in")],                                           &["joe"]),
        ("a forged one after", &[("USER joe|PASS x|USER root", "331 p|230 in|503 already")],                     &["joe"]),
        ("an open one after",  &[("USER joe|PASS x|USER root", "331 p|230 in|331 p")],                           &["joe"]),
        ("one after the other", &[("USER joe|PASS x|USER ann|PASS y", "331 p|230 in|331 p|230 in")],             &["joe", "ann"]),
        ("the first refused",  &[("USER joe|PASS x|USER ann|PASS y", "331 p|530 no|331 p|230 in")],              &["ann"]),
        ("a refused name",     &[("USER joe", "331 p"), ("USER root", "530 no"), ("PASS x", "230 in")],          &["joe"]),
        ("refused, pipelined", &[("USER joe|USER root|PASS x", "331 p|500 no|230 in")],                          &["joe"]),
        ("the second taken",   &[("USER joe|USER ann|PASS x", "331 p|331 p|230 in")],                            &["ann"]),
        ("no password",        &[("USER joe|USER root", "230 in|530 no")],                                       &["joe"]),
        ("232",                &[("USER joe|USER root", "232 in|530 no")],                                       &["joe"]),
        ("told twice",         &[("USER joe", "331 p"), ("PASS x", "230 in"), ("PASS x", "230 already")],        &["joe"]),
        ("told thrice, at once", &[("USER joe|PASS x|PASS x|PASS x", "331 p|230 in|230 already|230 already")],   &["joe"]),
        ("with ACCT",          &[("USER joe|PASS x|ACCT y|USER root", "331 p|332 a|230 in|530 no")],             &["joe"]),
        ("nobody named",       &[("PASS x", "230 in")],                                                          &[""]),
        ("after REIN",         &[("USER joe|PASS x", "331 p|230 in"), ("USER ann|REIN", "331 p|220 new"), ("PASS x", "230 in")], &["joe", ""]),
        ("begun before REIN's reply", &[("USER joe|REIN|USER ann|PASS x", "331 p|220 new|331 p|230 in")],        &["ann"]),
    ];
    for (name, exchanges, expected) in table {
        let mut rig = rig();
        for (commands, replies) in *exchanges {
            let lines = |text: &str| text.replace('|', "\r\n") + "\r\n";
            rig.client(lines(commands)).server_sees(lines(commands)).server(lines(replies));
        }
        let told: Vec<String> = rig
            .actions()
            .into_iter()
            .filter_map(|action| match action {
                Action::LoggedIn { user, .. } => Some(user.into()),
                _ => None,
            })
            .collect();
        assert_eq!(told, *expected, "{name}");
    }
}

#[test]
fn a_long_name_is_shortened_for_the_log() {
    let mut rig = rig();
    rig.exchange(&format!("USER {}", "j".repeat(4000)), "230 in");
    let [Action::LoggedIn { user, .. }] = &rig.actions()[..] else { panic!() };
    assert_eq!(user.len(), 512);
}
