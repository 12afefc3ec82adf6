//! Requests as tools send them, and as nobody should.
use super::*;
use tokio::time::Instant;

/// A page that says its name, and one that takes for ever.
#[derive(Clone, Debug)]
struct Echo;

impl Site for Echo {
    async fn page(&self, path: &str) -> Option<Answer> {
        match path {
            "/never" => std::future::pending().await,
            "/missing" => None,
            _ => Some(Answer::text(Status::Fine, path)),
        }
    }
}

async fn start() -> SocketAddr {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Echo));
    address
}

/// Everything that is said to this, until the server closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    timeout(2 * KEPT_FOR, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn requests_are_answered_row_by_row() {
    let address = start().await;
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(MAX_REQUEST));
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
    let table: &[(&str, &str, &str)] = &[
        ("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "\r\n\r\n/a"),
        ("GET /a?b=c HTTP/1.1\r\nhost: x\r\nconnection: TE, Close\r\n\r\n", "200 OK", "\r\n\r\n/a"),
        ("GET http://x:1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "\r\n\r\n/a"),
        ("GET /a HTTP/1.0\r\n\r\n", "200 OK", "\r\n\r\n/a"),
        ("\r\nGET /a HTTP/1.0\r\n\r\n", "200 OK", "\r\n\r\n/a"),
        (
            "HEAD /abc HTTP/1.0\r\n\r\n",
            "200 OK",
            "Content-Length: 4\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        ),
        ("GET /missing HTTP/1.0\r\n\r\n", "404 Not Found", "/metrics"),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            "405 Method Not Allowed",
            "Allow: GET, HEAD\r\n",
        ),
        ("GET /a HTTP/1.1\r\n\r\n", "400 Bad Request", "one Host"),
        ("GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400 Bad Request", "one Host"),
        ("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "400 Bad Request", "no body"),
        (
            "GET /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400 Bad Request",
            "no body",
        ),
        ("USER anonymous\r\n", "400 Bad Request", "not a request"),
        ("\x16\x03\x01\x02\x00", "400 Bad Request", "not a request"),
        (&long, "431 Request Header Fields Too Large", "bytes at most"),
        (&headers, "431 Request Header Fields Too Large", "headers at most"),
    ];
    for (request, status, part) in table {
        let answer = exchange(address, request.as_bytes()).await;
        let shown = &request[..request.len().min(60)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{shown:?}: {answer}");
        assert!(answer.contains(part), "{shown:?}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = format!("Content-Length: {}\r\n", body.len());
        assert!(head.contains(&length) || request.starts_with("HEAD"), "{shown:?}: {answer}");
    }
}

#[tokio::test]
async fn a_connection_stays_for_request_after_request_in_any_pieces() {
    let address = start().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let both = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for piece in both.chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let (first, second) = answers.split_once("\r\n\r\n/1").unwrap();
    assert!(first.contains("Connection: keep-alive"), "{answers}");
    assert!(second.starts_with("HTTP/1.1 200 OK") && second.ends_with("\r\n\r\n/2"), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn who_dawdles_is_cut_off_in_its_time() {
    for (request, limit) in [
        ("", PATIENCE),
        ("GET /a HTTP/1.1\r\nHos", PATIENCE),
        ("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", KEPT_FOR),
    ] {
        let address = start().await;
        let began = Instant::now();
        exchange(address, request.as_bytes()).await;
        let took = began.elapsed();
        assert!((limit..limit + Duration::from_secs(1)).contains(&took), "{request:?}: {took:?}");
    }
}

#[tokio::test]
async fn the_first_of_too_many_clients_makes_room_for_the_next() {
    let address = start().await;
    let mut slow = Vec::new();
    for _ in 0..MAX_CLIENTS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        slow.push(stream);
    }
    let began = Instant::now();
    let answer = exchange(address, b"GET /a HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with("/a"), "{answer}");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let mut said = [0; 16];
    let end = slow[0].read(&mut said).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}
