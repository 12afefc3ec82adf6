//! Relays with real sockets on loopback: the test is the client and the server.
mod bounds;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

use super::flow::Flow;
use super::state::{Fate, FlowEnd, State, UploadEnd};
use super::{Moved, Relays};
use crate::proto::ftp::{
    Connections, DataPath, Direction, Login, PathReason, Peers, RelayAnswer, RelayId, RelayRequest, Side,
    TransferRecord, Verb,
};
use crate::proxy::Service;

const LOCAL: &str = "127.0.0.1:0";

fn service(relay_ports: &str) -> Arc<Service> {
    let text = format!(
        "[[virtual_server]]\nname = \"v\"\naddresses = [\"127.0.0.1\"]\nrelay_ports = \"{relay_ports}\"\n\
         connect_timeout = \"2s\"\n[[virtual_server.real_server]]\naddress = \"127.0.0.2\"\n"
    );
    let accepted = crate::config::toml::parse(std::path::Path::new("test.toml"), &text);
    let today = std::time::SystemTime::UNIX_EPOCH;
    Service::from_model(&accepted.expect("a configuration").model, today).expect("services").0.remove(0)
}

fn state(service: &Arc<Service>) -> Arc<State> {
    let server = Arc::clone(&service.virtual_server.real_servers()[0]);
    State::new(Arc::clone(service), server, None, Arc::default(), Arc::default(), Waker::noop().clone())
}

/// The far end and the door's, which is as data sockets are.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = crate::sys::data_socket::listen(LOCAL.parse().unwrap()).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (far, listener.accept().await.unwrap().0)
}

/// A flow at work, with its far ends.
struct Running {
    client: TcpStream,
    server: TcpStream,
    state: Arc<State>,
    end: tokio::task::JoinHandle<FlowEnd>,
}

async fn flow(payload: Option<Direction>) -> Running {
    let (client, to_client) = connection().await;
    let (server, to_server) = connection().await;
    let state = state(&service("52000-53000"));
    let mut ticket = state.ticket();
    let flow = Flow::splice(to_client, to_server, payload);
    let end = tokio::spawn(async move { flow.run(&mut ticket).await });
    Running { client, server, state, end }
}

/// Bytes that no two sizes share.
fn content(size: usize) -> Vec<u8> {
    let mut state = size as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

async fn read_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map(|_| bytes)
}

fn is_reset<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn bytes_of_any_number_arrive_as_they_were_both_ways_with_their_end() {
    for size in [0, 1, 1447, 65_535, 65_536, 1 << 20, (1 << 20) + 1, 5_000_001] {
        let Running { mut client, mut server, state, end } = flow(None).await;
        let (up, down) = (content(size), content(size / 2 + 3));
        let client_side = async {
            let (mut reader, mut writer) = client.split();
            let write = async {
                writer.write_all(&up).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut bytes = Vec::new();
            let (_, read) = tokio::join!(write, reader.read_to_end(&mut bytes));
            read.unwrap();
            bytes
        };
        let server_side = async {
            let (mut reader, mut writer) = server.split();
            let write = async {
                writer.write_all(&down).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut bytes = Vec::new();
            let (_, read) = tokio::join!(write, reader.read_to_end(&mut bytes));
            read.unwrap();
            bytes
        };
        let (at_client, at_server) = tokio::join!(client_side, server_side);
        assert!(at_client == down && at_server == up, "{size}");
        assert!(matches!(end.await.unwrap(), FlowEnd::Complete));
        assert_eq!(state.take_counts(), (up.len() as u64, down.len() as u64));
    }
}

#[tokio::test]
async fn an_idle_flow_owns_no_pipe_and_a_stuck_one_holds_back_its_sender() {
    let Running { client, server, state, end } = flow(Some(Direction::Upload)).await;
    let before = super::pipe_pool::idle();
    let mut sent = 0_usize;
    let chunk = vec![7; 1 << 20];
    // Until nothing is taken any more, though everybody has had their turn: socket buffers and one pipe are full.
    let mut refused = 0;
    while refused < 1000 {
        match client.try_write(&chunk) {
            Ok(bytes) => (sent, refused) = (sent + bytes, 0),
            Err(_) => refused += 1,
        }
        yield_now().await;
    }
    assert!(state.is_loaded());
    let mut server = server;
    let mut left = sent;
    let mut bytes = vec![0; 1 << 20];
    while left > 0 {
        left -= server.read(&mut bytes).await.unwrap();
    }
    while state.is_loaded() {
        yield_now().await;
    }
    // The one that it had is there for others.
    assert_eq!(super::pipe_pool::idle(), before.max(1));
    reset(client);
    assert!(matches!(end.await.unwrap(), FlowEnd::Broken(Side::Client, _)));
}

#[tokio::test]
async fn a_reset_of_either_side_is_a_reset_for_the_other() {
    for direction in [Some(Direction::Upload), Some(Direction::Download), None] {
        let Running { mut client, mut server, end, .. } = flow(direction).await;
        client.write_all(b"part").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        reset(client);
        assert!(is_reset(read_all(&mut server).await), "{direction:?}: the server saw an end of file");
        assert!(matches!(end.await.unwrap(), FlowEnd::Broken(Side::Client, _)));

        let Running { mut client, mut server, end, .. } = flow(direction).await;
        server.write_all(b"part").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
        reset(server);
        assert!(is_reset(read_all(&mut client).await), "{direction:?}: the client saw an end of file");
        assert!(matches!(end.await.unwrap(), FlowEnd::Broken(Side::Server, _)));
    }
}

#[tokio::test]
async fn data_in_the_door_when_its_sender_resets_do_not_look_whole() {
    let Running { client, mut server, end, .. } = flow(Some(Direction::Upload)).await;
    let chunk = vec![7; 1 << 20];
    let mut refused = 0;
    while refused < 1000 {
        refused = if client.try_write(&chunk).is_ok() { 0 } else { refused + 1 };
        yield_now().await;
    }
    reset(client);
    assert!(is_reset(read_all(&mut server).await));
    assert!(matches!(end.await.unwrap(), FlowEnd::Broken(..)));
}

#[tokio::test]
async fn an_upload_s_end_reaches_the_server_when_the_session_allows_and_the_server_s_close_the_client() {
    let Running { mut client, mut server, state, end } = flow(Some(Direction::Upload)).await;
    client.write_all(b"whole").await.unwrap();
    client.shutdown().await.unwrap();
    let mut bytes = [0; 6];
    server.read_exact(&mut bytes[..5]).await.unwrap();
    while state.end_of_upload() != UploadEnd::Asked {
        yield_now().await;
    }
    let early = server.try_read(&mut bytes).map_err(|error| error.kind());
    assert_eq!((&bytes[..5], early), (&b"whole"[..], Err(io::ErrorKind::WouldBlock)));
    state.grant_end_of_upload();
    assert_eq!(read_all(&mut server).await.unwrap(), b"");
    // The file is the server's, and it may take its time.
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(!end.is_finished());
    drop(server);
    assert_eq!(read_all(&mut client).await.unwrap(), b"");
    assert!(matches!(end.await.unwrap(), FlowEnd::Complete));
}

#[tokio::test]
async fn an_end_in_the_idle_direction_ends_nothing_else() {
    let Running { mut client, mut server, end, .. } = flow(Some(Direction::Download)).await;
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut server).await.unwrap(), b"");
    server.write_all(b"whole").await.unwrap();
    drop(server);
    assert_eq!(read_all(&mut client).await.unwrap(), b"whole");
    assert!(matches!(end.await.unwrap(), FlowEnd::Complete));
}

/// Lets the kernel's own clock go on, by which a receiver acknowledges; the runtime's stands still while a thread works.
#[allow(clippy::disallowed_methods)] // nothing tells of an acknowledgement
async fn acknowledgements() {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(100))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_its_side_open_has_its_file_and_is_left() {
    let Running { mut client, mut server, end, .. } = flow(Some(Direction::Download)).await;
    server.write_all(b"whole").await.unwrap();
    drop(server);
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, b"whole");
    acknowledgements().await;
    // It never closes; time passes by itself when nobody has anything to do.
    assert!(matches!(end.await.unwrap(), FlowEnd::Complete));
    assert_eq!(read_all(&mut client).await.unwrap(), b"", "still no reset");
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_flow_hangs_on_its_fate_and_on_whether_its_end_has_come() {
    use Direction::{Download, Upload};
    // A source that has said everything, and one that has not.
    for (fate, direction, ended, whole) in [
        (Fate::Cut, Upload, true, false),
        (Fate::Lost, Upload, false, false),
        // A client that is gone has not said that its file is whole.
        (Fate::Lost, Upload, true, false),
        (Fate::Lost, Download, false, false),
        (Fate::Lost, Download, true, true),
        (Fate::Failed, Upload, false, false),
        (Fate::Failed, Upload, true, true),
        (Fate::Failed, Download, true, true),
        (Fate::Complete, Download, true, true),
        (Fate::Orphaned, Download, true, true),
        (Fate::Orphaned, Download, false, false),
        (Fate::Complete, Upload, false, false),
    ] {
        let what = format!("{fate:?} {direction:?} {ended}");
        let Running { client, server, state, end } = flow(Some(direction)).await;
        let (mut source, mut sink) = match direction {
            Upload => (client, server),
            Download => (server, client),
        };
        source.write_all(b"data").await.unwrap();
        sink.read_exact(&mut [0; 4]).await.unwrap();
        if ended {
            source.shutdown().await.unwrap();
        }
        state.decree(fate);
        acknowledgements().await;
        let seen = read_all(&mut sink).await;
        let end = end.await.unwrap();
        if whole {
            assert_eq!(seen.unwrap(), b"", "{what}");
            assert!(matches!(end, FlowEnd::Complete), "{what}: {end}");
        } else if fate == Fate::Cut {
            assert!(matches!(end, FlowEnd::Cut), "{what}: {end}");
        } else {
            assert!(is_reset(seen), "{what}");
            assert!(matches!(end, FlowEnd::Cut | FlowEnd::Stalled), "{what}: {end}");
        }
    }
}

#[tokio::test]
async fn data_sockets_reset_unless_a_clean_end_has_passed() {
    let (_far, accepted) = connection().await;
    assert_eq!(SockRef::from(&accepted).linger().unwrap(), Some(Duration::ZERO), "inherited by accept");
    crate::sys::data_socket::finish(&accepted).unwrap();
    assert_eq!(SockRef::from(&accepted).linger().unwrap(), None);
}

/// The relays of a session between a client and a server on this host.
struct Stage {
    service: Arc<Service>,
    relays: Relays,
}

const ID: RelayId = RelayId(1);

/// An address that no other test process listens on; who connects there does so from 127.0.0.1.
fn door() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 128 | high, middle, low], 2811))
}

fn relays(service: &Arc<Service>, server: Arc<crate::balance::RealServer>) -> Relays {
    let client = "127.0.0.1".parse().unwrap();
    Relays::new(Arc::clone(service), server, client, Some(door()), door(), Waker::noop().clone())
}

impl Stage {
    fn new(relay_ports: &str) -> Self {
        let service = service(relay_ports);
        let server = Arc::clone(&service.virtual_server.real_servers()[0]);
        let relays = relays(&service, server);
        Self { service, relays }
    }

    fn listen(&mut self, side: Side) -> SocketAddr {
        self.relays.handle(RelayRequest::Listen { id: ID, side, ports: 1 });
        match self.relays.take_answer() {
            Some((ID, RelayAnswer::Listening(addresses))) => addresses[0],
            other => panic!("{other:?}"),
        }
    }

    fn start(&mut self, target: SocketAddr, connections: Connections, direction: Direction) {
        self.start_for("127.0.0.1".parse().unwrap(), target, connections, direction);
    }

    fn start_for(
        &mut self,
        client: IpAddr,
        target: SocketAddr,
        connections: Connections,
        direction: Direction,
    ) {
        let peers =
            Peers { client, login: Login::Anonymous, private: false, policy: Arc::default(), server: None };
        let targets = vec![target];
        self.relays.handle(RelayRequest::Start { id: ID, targets, connections, direction, peers });
    }

    async fn answer(&mut self) -> RelayAnswer {
        poll_fn(|cx| match self.relays.take_answer() {
            Some((_, answer)) => Poll::Ready(answer),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await
    }

    async fn ended(&mut self) -> Moved {
        loop {
            if let Some((_, carried)) = self.relays.take_ended() {
                return carried;
            }
            self.relays.receive();
            // The client is there.
            self.relays.grant_end_of_upload();
            yield_now().await;
        }
    }

    fn finish(&mut self, complete: bool) -> Option<Moved> {
        self.relays.handle(RelayRequest::Finish { id: ID, complete });
        self.relays.end_transfer(record()).map(|(_, carried)| carried)
    }
}

fn record() -> TransferRecord {
    TransferRecord {
        verb: Verb::Retr,
        path: "f".into(),
        reply: crate::proto::ftp::ReplyCode::parse(b"226"),
        duration: Duration::ZERO,
        data_path: DataPath::Relay,
        reason: PathReason::Configured,
        relay: Some(ID),
        failure: None,
    }
}

#[tokio::test]
async fn a_download_goes_on_after_the_server_s_last_word_and_is_told_of_when_it_has_ended() {
    let mut stage = Stage::new("22000-22050");
    let port = stage.listen(Side::Client);
    let server = TcpListener::bind(LOCAL).await.unwrap();
    stage.start(server.local_addr().unwrap(), Connections::One, Direction::Download);
    let (mut data, _) = server.accept().await.unwrap();
    assert_eq!(stage.answer().await, RelayAnswer::Connected);
    // The server is done before the client has even connected.
    data.write_all(b"whole").await.unwrap();
    drop(data);
    assert!(stage.finish(true).is_none(), "its line waits");
    assert!(stage.relays.is_flowing());
    let mut client = TcpStream::connect(port).await.unwrap();
    stage.relays.handle_session_end();
    assert_eq!(read_all(&mut client).await.unwrap(), b"whole");
    drop(client);
    let carried = stage.ended().await;
    assert_eq!((carried.to_server, carried.to_client), (0, 5));
    assert_eq!(carried.end.as_deref(), Some("complete"));
    assert!(stage.relays.take_ended().is_none() && stage.relays.is_over());
    assert_eq!(stage.service.lasting.relaying.ports.in_use(), 0);
}

#[tokio::test]
async fn one_connection_is_taken_and_then_nobody_listens() {
    let mut stage = Stage::new("22100-22150");
    let port = stage.listen(Side::Client);
    let server = TcpListener::bind(LOCAL).await.unwrap();
    stage.start(server.local_addr().unwrap(), Connections::One, Direction::Upload);
    let mut client = TcpStream::connect(port).await.unwrap();
    let (mut data, _) = server.accept().await.unwrap();
    client.write_all(b"x").await.unwrap();
    data.read_exact(&mut [0]).await.unwrap();
    assert!(TcpStream::connect(port).await.is_err());
    assert_eq!(stage.service.lasting.relaying.ports.in_use(), 0);
    drop(stage);
    assert!(is_reset(read_all(&mut data).await), "dropped with its session");
    assert!(is_reset(read_all(&mut client).await));
}

#[tokio::test]
async fn strangers_are_reset_and_counted_and_change_nothing() {
    let mut stage = Stage::new("22200-22250");
    let port = stage.listen(Side::Client);
    let server = TcpListener::bind(LOCAL).await.unwrap();
    let mut stranger = TcpStream::connect(port).await.unwrap();
    let own = "127.0.0.77".parse().unwrap();
    stage.start_for(own, server.local_addr().unwrap(), Connections::One, Direction::Download);
    assert!(is_reset(read_all(&mut stranger).await));
    let socket = crate::sys::data_socket::from_source(SocketAddr::new(own, 0), false).unwrap();
    let mut client = tokio::net::TcpSocket::from_std_stream(socket.into()).connect(port).await.unwrap();
    let (mut data, _) = server.accept().await.unwrap();
    data.write_all(b"mine").await.unwrap();
    drop(data);
    assert_eq!(read_all(&mut client).await.unwrap(), b"mine");
    assert_eq!(stage.service.lasting.relaying.strangers.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_comes_costs_the_server_its_connection() {
    let mut stage = Stage::new("22300-22350");
    stage.listen(Side::Client);
    let server = TcpListener::bind(LOCAL).await.unwrap();
    stage.start(server.local_addr().unwrap(), Connections::One, Direction::Upload);
    let (mut data, _) = server.accept().await.unwrap();
    assert!(is_reset(read_all(&mut data).await));
    let carried = stage.finish(false).expect("all is over");
    assert_eq!(carried.end.as_deref(), Some("the client did not connect"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let mut stage = Stage::new("22400-22400");
    stage.listen(Side::Client);
    let nobody = {
        let listener = TcpListener::bind(LOCAL).await.unwrap();
        listener.local_addr().unwrap()
    };
    stage.start(nobody, Connections::One, Direction::Upload);
    let RelayAnswer::Failed(why) = stage.answer().await else { panic!("connected to nobody") };
    assert!(why.starts_with(&format!("the server's data connection: cannot connect to {nobody}: ")), "{why}");
    assert_eq!(stage.service.virtual_server.real_servers()[0].stats.data_failures.load(Relaxed), 1);
    // Its port is free again.
    while stage.service.lasting.relaying.ports.in_use() > 0 {
        yield_now().await;
    }
}

#[tokio::test]
async fn no_free_port_is_an_answer() {
    let mut stage = Stage::new("22500-22500");
    stage.listen(Side::Client);
    stage.relays.handle(RelayRequest::Listen { id: RelayId(2), side: Side::Server, ports: 1 });
    let Some((RelayId(2), RelayAnswer::Failed(why))) = stage.relays.take_answer() else { panic!() };
    assert_eq!(why, "no free port in relay_ports 22500-22500; 1 are in use");
    stage.relays.handle(RelayRequest::Close { id: ID });
    stage.listen(Side::Server);
}

#[tokio::test]
async fn a_server_s_connection_is_found_even_when_its_last_word_was_quicker() {
    let mut stage = Stage::new("22600-22650");
    let port = stage.listen(Side::Server);
    let client = TcpListener::bind(LOCAL).await.unwrap();
    let mut data = TcpStream::connect(port).await.unwrap();
    data.write_all(b"whole").await.unwrap();
    drop(data);
    stage.start(client.local_addr().unwrap(), Connections::One, Direction::Download);
    assert!(stage.finish(true).is_none());
    let (mut received, _) = client.accept().await.unwrap();
    assert_eq!(read_all(&mut received).await.unwrap(), b"whole");
    drop(received);
    assert_eq!(stage.ended().await.to_client, 5);
}

#[tokio::test]
async fn many_connections_are_kept_over_transfers_until_the_port_closes() {
    let mut stage = Stage::new("22700-22750");
    let port = stage.listen(Side::Client);
    let server = TcpListener::bind(LOCAL).await.unwrap();
    stage.start(server.local_addr().unwrap(), Connections::Many, Direction::Upload);
    let mut pairs = Vec::new();
    for number in 0..8_u8 {
        let mut client = TcpStream::connect(port).await.unwrap();
        let (mut data, _) = server.accept().await.unwrap();
        client.write_all(&[number]).await.unwrap();
        assert_eq!(data.read_u8().await.unwrap(), number);
        pairs.push((client, data));
    }
    assert_eq!(stage.finish(true).expect("nothing is under way").to_server, 8);
    for (client, data) in &mut pairs {
        data.write_all(b"back").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
    }
    let carried = stage.finish(true).expect("nothing is under way");
    assert_eq!((carried.to_server, carried.to_client, carried.end), (0, 32, None));
    stage.relays.handle(RelayRequest::Close { id: ID });
    while stage.service.lasting.relaying.ports.in_use() > 0 {
        yield_now().await;
    }
    // What was joined lives on, to its own end.
    for (mut client, mut data) in pairs {
        client.write_all(b"x").await.unwrap();
        drop(client);
        assert_eq!(read_all(&mut data).await.unwrap(), b"x");
    }
}

#[tokio::test]
async fn an_upload_of_which_one_connection_does_not_reach_the_server_breaks_at_both_sides() {
    let mut stage = Stage::new("22850-22899");
    let port = stage.listen(Side::Client);
    let server = TcpListener::bind(LOCAL).await.unwrap();
    stage.start(server.local_addr().unwrap(), Connections::Many, Direction::Upload);
    let mut first = TcpStream::connect(port).await.unwrap();
    let (mut data, _) = server.accept().await.unwrap();
    first.write_all(b"x").await.unwrap();
    assert_eq!(data.read_u8().await.unwrap(), b'x');
    // The server takes no more.
    drop(server);
    let mut second = TcpStream::connect(port).await.unwrap();
    for stream in [&mut second, &mut first, &mut data] {
        assert!(is_reset(read_all(stream).await));
    }
    let Some((ID, RelayAnswer::Broken(why))) = stage.relays.take_answer() else { panic!("it is not told") };
    assert!(why.contains("Connection refused"), "{why}");
}

#[tokio::test]
async fn a_relay_reaches_another_relay_of_the_door_under_its_clients_name() {
    let service = service("22800-22850");
    let server = Arc::clone(&service.virtual_server.real_servers()[0]);
    let new = || relays(&service, Arc::clone(&server));
    let (mut from, mut to) = (
        Stage { service: Arc::clone(&service), relays: new() },
        Stage { service: Arc::clone(&service), relays: new() },
    );
    let client: IpAddr = "127.0.0.99".parse().unwrap();
    let destination = TcpListener::bind(LOCAL).await.unwrap();
    let (passive, active) = (to.listen(Side::Client), from.listen(Side::Server));
    to.start_for(client, destination.local_addr().unwrap(), Connections::One, Direction::Upload);
    from.start(passive, Connections::One, Direction::Download);
    // Not as `client`: nobody gets in for having the door's address.
    let mut source = TcpStream::connect(active).await.unwrap();
    assert!(is_reset(read_all(&mut source).await));
    assert_eq!(service.lasting.relaying.strangers.load(Relaxed), 1);

    let mut from = Stage { service: Arc::clone(&service), relays: new() };
    let active = from.listen(Side::Server);
    let peers = Peers { client, login: Login::User, private: false, policy: Arc::default(), server: None };
    from.relays.handle(RelayRequest::Start {
        id: ID,
        targets: vec![passive],
        connections: Connections::One,
        direction: Direction::Download,
        peers: Peers { policy: trusting(), ..peers },
    });
    let mut source = TcpStream::connect(active).await.unwrap();
    source.write_all(b"third party").await.unwrap();
    drop(source);
    let (mut data, _) = destination.accept().await.unwrap();
    let whole = async { assert_eq!(read_all(&mut data).await.unwrap(), b"third party") };
    let client_is_there = async {
        loop {
            to.relays.grant_end_of_upload();
            yield_now().await;
        }
    };
    tokio::select! { () = whole => {} () = client_is_there => {} }
}

/// The test's source connects from loopback, as anybody may with this.
fn trusting() -> Arc<crate::proto::ftp::SessionPolicy> {
    let bounce = crate::proto::ftp::BouncePolicy {
        trusted: vec!["127.0.0.1/32".parse().unwrap()],
        ..crate::proto::ftp::BouncePolicy::default()
    };
    Arc::new(crate::proto::ftp::SessionPolicy { bounce, ..Default::default() })
}
