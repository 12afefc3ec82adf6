//! What nobody can take from others, and what nobody waits for for ever.
use super::*;
use crate::proxy::relay::pipe_pool::SHORT;

#[tokio::test]
async fn strangers_that_come_before_the_transfer_leave_room_for_the_client() {
    let mut stage = Stage::new("22900-22950");
    let own: IpAddr = "127.0.0.77".parse().unwrap();
    stage.relays.client = own;
    let port = stage.listen(Side::Client);
    let mut strangers = Vec::new();
    // More than any queue of the port's holds.
    for _ in 0..300 {
        strangers.push(TcpStream::connect(port).await.unwrap());
        yield_now().await;
        stage.relays.receive();
    }
    let socket = crate::sys::data_socket::from_source(SocketAddr::new(own, 0), false).unwrap();
    let mut client = tokio::net::TcpSocket::from_std_stream(socket.into()).connect(port).await.unwrap();
    let server = TcpListener::bind(LOCAL).await.unwrap();
    stage.start_for(own, server.local_addr().unwrap(), Connections::One, Direction::Download);
    let (mut data, _) = server.accept().await.unwrap();
    data.write_all(b"mine").await.unwrap();
    drop(data);
    assert_eq!(read_all(&mut client).await.unwrap(), b"mine");
    assert!(stage.service.lasting.relaying.strangers.load(Relaxed) >= 284);
}

#[tokio::test]
async fn without_a_pipe_bytes_are_copied() {
    SHORT.set(true);
    let Running { mut client, mut server, end, .. } = flow(Some(Direction::Download)).await;
    let bytes = content(1_000_001);
    let ((), received) = tokio::join!(
        async {
            server.write_all(&bytes).await.unwrap();
            drop(server);
        },
        read_all(&mut client)
    );
    assert!(received.unwrap() == bytes);
    drop(client);
    assert!(matches!(end.await.unwrap(), FlowEnd::Complete));
    assert_eq!(super::super::pipe_pool::idle(), 0);
}

#[tokio::test]
async fn a_task_that_ends_without_its_answer_has_failed() {
    let state = state(&service("52000-53000"));
    state.owe_answer();
    drop(state.ticket());
    assert_eq!(state.take_answer(), Some(RelayAnswer::Failed("the door gave up".into())));
    // Nobody waits for one twice, nor where the session has ended it.
    drop(state.ticket());
    assert_eq!(state.take_answer(), None);
    state.owe_answer();
    state.decree(Fate::Cut);
    drop(state.ticket());
    assert_eq!(state.take_answer(), None);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_its_receiver_has_not_acknowledged_is_not_complete() {
    let Running { client, mut server, state, end } = flow(Some(Direction::Download)).await;
    SockRef::from(&client).set_recv_buffer_size(4096).unwrap();
    server.write_all(&content(60_000)).await.unwrap();
    drop(server);
    state.decree(Fate::Complete);
    let began = tokio::time::Instant::now();
    // It reads nothing; time passes by itself.
    let end = end.await.unwrap();
    assert!(matches!(end, FlowEnd::Stalled), "{end}");
    assert!(began.elapsed() >= Duration::from_secs(100));
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_of_mode_e_that_no_transfer_will_use_end_soon() {
    for fate in [Fate::Complete, Fate::Orphaned] {
        let Running { mut client, mut server, state, end } = flow(None).await;
        let began = tokio::time::Instant::now();
        state.decree(fate);
        assert_eq!(read_all(&mut client).await.unwrap(), b"");
        assert_eq!(read_all(&mut server).await.unwrap(), b"");
        assert!(matches!(end.await.unwrap(), FlowEnd::Complete));
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_second_transfer_that_loses_its_session_is_cut_whatever_became_of_the_first() {
    let mut stage = Stage::new("22960-22970");
    let port = stage.listen(Side::Client);
    let server = TcpListener::bind(LOCAL).await.unwrap();
    stage.start(server.local_addr().unwrap(), Connections::Many, Direction::Upload);
    let mut client = TcpStream::connect(port).await.unwrap();
    let (mut data, _) = server.accept().await.unwrap();
    client.write_all(b"a").await.unwrap();
    data.read_u8().await.unwrap();
    assert_eq!(stage.finish(true).expect("nothing is under way").to_server, 1);
    client.write_all(b"b").await.unwrap();
    data.read_u8().await.unwrap();
    let open = TransferRecord { reply: None, ..record() };
    assert!(stage.relays.end_transfer(open).is_some());
    stage.relays.handle_session_end();
    assert!(is_reset(read_all(&mut data).await));
}

#[tokio::test(start_paused = true)]
async fn a_whole_file_that_nobody_comes_for_is_not_kept_long() {
    let mut stage = Stage::new("22980-22990");
    stage.listen(Side::Client);
    let server = TcpListener::bind(LOCAL).await.unwrap();
    stage.start(server.local_addr().unwrap(), Connections::One, Direction::Download);
    let (mut data, _) = server.accept().await.unwrap();
    assert_eq!(stage.answer().await, RelayAnswer::Connected);
    assert!(stage.finish(true).is_none());
    let began = tokio::time::Instant::now();
    stage.relays.handle_session_end();
    assert!(is_reset(read_all(&mut data).await));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn the_connections_of_a_session_are_bounded_over_all_its_transfers() {
    let mut stage = Stage::new("23000-23010");
    let port = stage.listen(Side::Client);
    let server = TcpListener::bind(LOCAL).await.unwrap();
    // As if earlier transfers had them.
    stage.relays.tasks.fetch_add(512, Relaxed);
    stage.start(server.local_addr().unwrap(), Connections::Many, Direction::Upload);
    let mut client = TcpStream::connect(port).await.unwrap();
    assert!(is_reset(read_all(&mut client).await));
    assert_eq!(stage.service.lasting.relaying.refused.load(Relaxed), 1);
}
