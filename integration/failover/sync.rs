//! What balancers tell each other of their sessions: from which address, and who is believed.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use gridfront::proto::session_sync::{self, Connection, MAX_DATAGRAM};
use gridfront::proto::vrrp::GROUP_V4;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::{INTERVAL, VIRTUAL, balancer, virtual_address};
use crate::support::balancer::{Balancer, PATIENCE};
use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::grid::PORT;
use crate::support::netns::{Lab, Machine};
use crate::support::ownership::Watch;
use crate::support::skip;

/// Of session sync.
const SYNC_PORT: u16 = 8849;
/// Of the virtual router that has a peer by name.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);
/// Its `source_address`.
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 42);

fn lab() -> Lab {
    Lab::new(&[("door", 12), ("front", 13), ("peer", 31), ("client", 41), ("server", 51)])
}

/// Greets whoever comes, and says nothing more.
fn serve(machine: &Machine) {
    let address = SocketAddr::new(machine.v4().into(), PORT);
    let listener = machine.enter(|| TcpListener::bind(address)).expect("nobody else listens");
    std::thread::spawn(move || {
        let mut clients = Vec::new();
        for mut client in listener.incoming().map_while(Result::ok) {
            let _ = client.write_all(b"220 ready\r\n");
            clients.push(client);
        }
    });
}

fn virtual_server(lab: &Lab, addresses: &str) -> String {
    format!(
        "\n[[virtual_server]]\nname = \"gridftp\"\naddresses = [{addresses}]\nport = {PORT}\n\
         [[virtual_server.real_server]]\nname = \"s\"\naddress = \"{}\"\nport = {PORT}\n",
        lab.machine("server").v4()
    )
}

/// A session at that address.
fn log_in(lab: &Lab, to: Ipv4Addr) -> ControlConnection {
    let address = SocketAddr::new(to.into(), PORT);
    deadline::until("a greeting", PATIENCE, || {
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
        let stream = lab.machine("client").enter(connect).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let mut control = ControlConnection::over(stream);
        let greeting = control.line();
        if greeting.starts_with("220") { Ok(control) } else { Err(greeting) }
    })
    .unwrap_or_else(|why| panic!("{why}"))
}

/// Hears what comes to an address of the machine, or to the group.
fn listen(machine: &Machine, at: Ipv4Addr) -> UdpSocket {
    machine.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        socket.set_reuse_address(true).unwrap();
        if at.is_multicast() {
            let by = InterfaceIndexOrAddress::Address(machine.v4());
            socket.join_multicast_v4_n(&at, &by).unwrap();
        }
        socket.bind(&SocketAddr::new(at.into(), SYNC_PORT).into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.into()
    })
}

/// Who tells of a session at this address, once somebody does.
fn teller(socket: &UdpSocket, reached: Ipv4Addr) -> Result<IpAddr, String> {
    let mut others = BTreeSet::new();
    deadline::until("a word of the session", PATIENCE, || {
        let mut buffer = [0; MAX_DATAGRAM];
        let (length, source) = socket.recv_from(&mut buffer).map_err(|why| format!("{why}, {others:?}"))?;
        let told = session_sync::parse(&buffer[..length]).unwrap_or_default();
        others.extend(told.iter().map(|of| of.reached));
        let is_told = told.iter().any(|of| of.reached.ip() == reached);
        if is_told { Ok(source.ip()) } else { Err(format!("{others:?}")) }
    })
}

#[test]
fn sessions_are_told_from_the_address_of_their_virtual_router_and_by_an_interface_made_anew() {
    if !skip::unless_present("session sync", &["ip", "nsenter"]) {
        return;
    }
    let lab = lab();
    let (door, peer) = (lab.machine("door"), lab.machine("peer"));
    serve(lab.machine("server"));
    door.set_address(SOURCE, true);
    let more = format!(
        "[[vrrp_instance]]\nname = \"VU\"\ninterface = \"eth0\"\nvirtual_router_id = 78\n\
         advert_interval = \"{}ms\"\nvirtual_addresses = [\"{OTHER}/24\"]\n\
         unicast_peers = [\"{}\"]\nsource_address = \"{SOURCE}\"\n{}",
        INTERVAL.as_millis(),
        peer.v4(),
        virtual_server(&lab, &format!("\"{VIRTUAL}\", \"{OTHER}\""))
    );
    let mut balancer = balancer(door, 100, INTERVAL, "", &more);
    balancer.start();
    let (group, own) = (listen(peer, GROUP_V4), listen(peer, peer.v4()));
    for case in ["at first", "with another interface"] {
        if case != "at first" {
            lab.remove_interface("door");
            balancer.until_state("FAULT");
            lab.add_interface("door");
            door.set_address(SOURCE, true);
        }
        for instance in ["VI", "VU"] {
            balancer.until_instance(instance, "MASTER", 100);
        }
        // What was told before is not what is waited for.
        for (socket, reached, source) in [(&group, VIRTUAL, door.v4()), (&own, OTHER, SOURCE)] {
            while socket.recv(&mut [0; MAX_DATAGRAM]).is_ok() {}
            let _session = log_in(&lab, reached);
            let told = teller(socket, reached);
            assert_eq!(told, Ok(source.into()), "{case} {reached}: {}", balancer.log());
        }
    }
}

#[test]
fn nobody_but_the_master_is_believed_who_its_clients_are() {
    if !skip::unless_present("forged words of sessions", &["ip", "nsenter"]) {
        return;
    }
    let lab = lab();
    serve(lab.machine("server"));
    let more = virtual_server(&lab, &format!("\"{VIRTUAL}\""));
    let machines = ["door", "front"].map(|role| lab.machine(role));
    let mut balancers = [(machines[0], 110), (machines[1], 100)]
        .map(|(of, priority)| balancer(of, priority, INTERVAL, "", &more));
    balancers.iter_mut().for_each(Balancer::start);
    let watch = Watch::start(&machines, virtual_address(), Duration::from_millis(2));
    watch.until_alone("door", PATIENCE).unwrap_or_else(|why| panic!("{why}\n{}", balancers[0].log()));
    balancers[1].until_state("BACKUP");
    let stranger = lab.machine("peer");
    let group = listen(stranger, GROUP_V4);
    let _session = log_in(&lab, VIRTUAL);
    assert_eq!(teller(&group, VIRTUAL), Ok(machines[0].v4().into()));
    let client = lab.machine("client").v4();
    let forged: Vec<Connection> = (1..=20_u16)
        .map(|port| Connection {
            client: SocketAddr::new(client.into(), port),
            reached: SocketAddr::new(virtual_address(), PORT),
        })
        .collect();
    let socket =
        stranger.enter(|| UdpSocket::bind(SocketAddr::new(stranger.v4().into(), SYNC_PORT))).unwrap();
    for datagram in session_sync::encode(&forged) {
        for to in [GROUP_V4, machines[1].v4()] {
            socket.send_to(&datagram, SocketAddr::new(to.into(), SYNC_PORT)).unwrap();
        }
    }
    lab.plug("door", false);
    let said = deadline::until("clients of the master before are told", PATIENCE, || {
        let log = balancers[1].log();
        let line = log.lines().find(|line| line.contains("clients of the master before are told"));
        line.map(str::to_owned).ok_or(log)
    });
    let said = said.unwrap_or_else(|why| panic!("{why}"));
    assert!(said.contains("clients=1") && !said.contains("clients=2"), "{said}");
}

#[test]
fn a_session_that_was_there_before_its_address_could_move_is_told_of_and_ends_with_it() {
    if !skip::unless_present("an address that a reload lets move", &["ip", "nsenter"]) {
        return;
    }
    let lab = lab();
    let (door, peer) = (lab.machine("door"), lab.machine("peer"));
    serve(lab.machine("server"));
    door.set_address(VIRTUAL, true);
    let text = virtual_server(&lab, &format!("\"{VIRTUAL}\""));
    let mut balancer = Balancer::new(door, &text);
    balancer.start();
    let group = listen(peer, GROUP_V4);
    let mut session = log_in(&lab, VIRTUAL);
    let instance = format!(
        "[[vrrp_instance]]\nname = \"VI\"\ninterface = \"eth0\"\nvirtual_router_id = 77\n\
         advert_interval = \"{}ms\"\nvirtual_addresses = [\"{VIRTUAL}/24\"]\n",
        INTERVAL.as_millis()
    );
    balancer.write(&format!("{instance}{text}"));
    balancer.order(&["reload"]).unwrap();
    assert_eq!(teller(&group, VIRTUAL), Ok(door.v4().into()), "{}", balancer.log());
    balancer.until_state("MASTER");
    balancer.order(&["maintenance", "on"]).unwrap();
    // Nothing is under way at it, so it moves soon, and the client hears that before.
    assert!(session.line().starts_with("421"), "{}", balancer.log());
}
