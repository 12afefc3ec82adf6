//! A small HTTP server for whoever watches the daemon: HTTP/1.1, GET and HEAD, and nothing to be sent along.
//!
//! It runs beside the supervisor, never on a thread of the door. What a client may take is bounded in every direction: the
//! bytes of its request, the time for it, and how many there are. When all places are taken the client that came first
//! makes room, so that those who dawdle cannot keep out the one that is served at once.
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Longest request, in bytes: Prometheus' takes some 300.
const MAX_REQUEST: usize = 8 * 1024;

/// Most lines of a request's head.
const MAX_HEADERS: usize = 64;

/// Clients at once; more than the monitoring of a site has.
const MAX_CLIENTS: usize = 32;

/// From the first byte of a request to its last, and again for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// From an answer to the next request: longer than what lies between two scrapes.
const KEPT_FOR: Duration = Duration::from_secs(90);

/// How long a client that was refused may take to close.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// How long to leave clients waiting when none can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

/// How it went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Status {
    Fine,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TooLarge,
    Unavailable,
}

/// The request that came, as far as it matters.
#[derive(Debug, Eq, PartialEq)]
struct Request {
    is_head: bool,
    path: String,
    /// The connection is to stay.
    keeps: bool,
    length: usize,
}

/// What an answer is made of.
pub(super) trait Site: Clone + Send + 'static {
    /// The page of this name; none if there is no such page.
    fn page(&self, path: &str) -> impl Future<Output = Option<Answer>> + Send;
}

impl Answer {
    pub(super) fn text(status: Status, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// Opens the listener.
///
/// # Errors
///
/// As `bind(2)`.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, site: impl Site) {
    let mut tasks = JoinSet::new();
    let mut clients: VecDeque<AbortHandle> = VecDeque::new();
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                while tasks.try_join_next().is_some() {}
                clients.retain(|client| !client.is_finished());
                if clients.len() >= MAX_CLIENTS
                    && let Some(first) = clients.pop_front()
                {
                    first.abort();
                }
                clients.push_back(tasks.spawn(converse(stream, site.clone())));
            }
            Err(error) => {
                // Said once until it works again.
                if !failing {
                    tracing::warn!(%error, "http: cannot accept; raise LimitNOFILE if descriptors are short");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A client that breaks the connection, or does not keep to its time, gets no answer.
async fn converse(mut stream: TcpStream, site: impl Site) -> io::Result<()> {
    let mut input = Vec::new();
    let mut patience = PATIENCE;
    loop {
        if input.is_empty() && timeout(patience, stream.read_buf(&mut input)).await?? == 0 {
            return Ok(());
        }
        let (keeps, is_head, answer) = match timeout(PATIENCE, receive(&mut stream, &mut input)).await? {
            Ok(Some(request)) => {
                input.drain(..request.length);
                let page = site.page(&request.path).await;
                let answer = page.unwrap_or_else(|| {
                    Answer::text(Status::NotFound, "there is /metrics, /healthz and /readyz\n")
                });
                (request.keeps, request.is_head, answer)
            }
            Ok(None) => return Ok(()),
            Err(Unanswerable::Broken(error)) => return Err(error),
            Err(Unanswerable::Refused(answer)) => (false, false, answer),
        };
        let bytes = written(&answer, is_head, keeps);
        timeout(PATIENCE, stream.write_all(&bytes)).await??;
        if !keeps {
            return part(stream).await;
        }
        patience = KEPT_FOR;
    }
}

/// Closes behind the answer. To close with bytes unread would be a reset, which may overtake it.
async fn part(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    let drained = async {
        // What a client goes on to send for so long it may be cut off in.
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    };
    timeout(LAST_BYTES, drained).await?
}

/// Why there is no request to answer.
enum Unanswerable {
    Broken(io::Error),
    Refused(Answer),
}

impl From<io::Error> for Unanswerable {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// A whole request, or nothing when the client has closed in the middle of it.
async fn receive(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<Option<Request>, Unanswerable> {
    loop {
        if let Some(request) = parse(input).map_err(Unanswerable::Refused)? {
            return Ok(Some(request));
        }
        if input.len() >= MAX_REQUEST {
            let text = format!("a request has {MAX_REQUEST} bytes at most\n");
            return Err(Unanswerable::Refused(Answer::text(Status::TooLarge, text)));
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

/// The request at the beginning of `input`, once it is whole.
fn parse(input: &[u8]) -> Result<Option<Request>, Answer> {
    let bad = |text: &str| Answer::text(Status::BadRequest, format!("{text}\n"));
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(&input[..input.len().min(MAX_REQUEST)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Answer::text(
                Status::TooLarge,
                format!("a request has {MAX_HEADERS} headers at most\n"),
            ));
        }
        Err(error) => return Err(bad(&format!("not a request of HTTP/1.1: {error}"))),
    };
    let is_new = parsed.version == Some(1);
    let mut keeps = is_new;
    let mut hosts = 0;
    for header in parsed.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let value = header.value.trim_ascii();
        if is("host") {
            hosts += 1;
        } else if is("connection") {
            let mut words = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            if words.clone().any(|word| word.eq_ignore_ascii_case(b"close")) {
                keeps = false;
            } else if words.any(|word| word.eq_ignore_ascii_case(b"keep-alive")) {
                keeps = true;
            }
        } else if is("transfer-encoding") || (is("content-length") && value != b"0") {
            return Err(bad("a request has no body here"));
        }
    }
    // RFC 9112 section 3.2.
    if is_new && hosts != 1 {
        return Err(bad("a request of HTTP/1.1 has one Host"));
    }
    let is_head = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Answer::text(Status::MethodNotAllowed, "there is GET and HEAD\n")),
    };
    let target = parsed.path.unwrap_or_default();
    // The absolute form (RFC 9112 section 3.2.2), and whatever is asked beside the path.
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
    Ok(Some(Request { is_head, path, keeps, length }))
}

fn written(answer: &Answer, is_head: bool, keeps: bool) -> Vec<u8> {
    let Answer { status, content_type, body } = answer;
    let allow = if *status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    let connection = if keeps { "keep-alive" } else { "close" };
    let mut text = format!(
        "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         {allow}Connection: {connection}\r\n\r\n",
        status.line(),
        body.len(),
    );
    if !is_head {
        text.push_str(body);
    }
    text.into_bytes()
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Fine => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

#[cfg(test)]
mod tests;
