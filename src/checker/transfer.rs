//! `type = "transfer"`: a file of the site's arrives whole through a data connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::adler32::Adler32;
use super::conversation::Course;
use super::dialogue::{Dialogue, Reply, refusal};
use super::{LocalTrouble, Setback, Verdict, failed};
use crate::config::SampleFile;
use crate::proto::ftp::{DataAddresses, find_extended, find_host_port};
use crate::sys::socket::is_local_shortage;
use crate::tls::SessionConnector;

/// Most that is read of a file whose size nobody has said, in bytes: checks must not be the load that they look for.
const MAX_UNSIZED: u64 = 1 << 30;

/// One read of data, in bytes.
const DATA_READ_SIZE: usize = 16 * 1024;

const FILE_SYSTEM: &str = "see the server's log, and whether its file system hangs";

/// The file's bytes as they come.
#[derive(Debug, Default)]
struct Received {
    bytes: u64,
    sum: Adler32,
}

/// Fetches the file as a client in binary and stream mode does, and says how much came in which time.
pub(super) async fn fetch<S>(
    dialogue: &mut Dialogue<'_, S>,
    file: &SampleFile,
    course: &Course<'_>,
    tls: Option<&SessionConnector>,
) -> Verdict
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    set(dialogue, "TYPE I").await?;
    if tls.is_some() {
        set(dialogue, "PBSZ 0").await?;
        set(dialogue, "PROT P").await?;
    }
    let announced = size(dialogue, &file.path).await?;
    let start = Instant::now();
    let address = passive(dialogue, course.server.ip()).await?;
    let data = connect(dialogue, address, course).await?;
    let opening = open(dialogue, file).await?;
    let limit = announced.into_iter().chain(file.size).max().unwrap_or(MAX_UNSIZED);
    dialogue.await_now(format!("byte on the data connection to {address}"), FILE_SYSTEM);
    let received = match tls {
        None => receive(dialogue, data, opening, limit).await?,
        Some(session) => {
            let encrypted = session.connect(data).await.map_err(|error| {
                failed(
                    &format!("no TLS on the data connection to {address}: {error}"),
                    "see the server's log; it may want the session of the control connection resumed",
                )
            })?;
            receive(dialogue, encrypted, opening, limit).await?
        }
    };
    judge(&received, file, announced)?;
    Ok(format!("{} bytes of `{}` in {} ms", received.bytes, file.path, start.elapsed().as_millis()))
}

/// A command that has to be taken.
async fn set<S>(dialogue: &mut Dialogue<'_, S>, command: &str) -> Result<(), Setback>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reply = dialogue.ask(command).await?;
    if reply.is_success() {
        return Ok(());
    }
    Err(refusal(&reply, &format!("it refuses {command}"), "see the server's log"))
}

/// What the server says that the file has; not every server says.
async fn size<S>(dialogue: &mut Dialogue<'_, S>, path: &str) -> Result<Option<u64>, Setback>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reply = dialogue.ask(&format!("SIZE {path}")).await?;
    if reply.is_busy() {
        return Err(refusal(&reply, "", ""));
    }
    // Whether the file is there RETR shows.
    Ok((reply.code == 213).then(|| reply.words[3..].trim().parse().ok()).flatten())
}

/// Where the server waits for the data connection: exactly there, as a client would go.
async fn passive<S>(dialogue: &mut Dialogue<'_, S>, server: IpAddr) -> Result<SocketAddr, Setback>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let server = server.to_canonical();
    let command = if server.is_ipv6() { "EPSV" } else { "PASV" };
    let reply = dialogue.ask(command).await?;
    let named = match reply.code {
        227 => find_host_port(reply.words.as_bytes()).map(|(_, address)| {
            let own = DataAddresses::new(server, &[], Vec::new());
            SocketAddr::new(own.dial(Some(IpAddr::V4(*address.ip()))), address.port())
        }),
        229 => find_extended(reply.words.as_bytes())
            .map(|(_, named)| SocketAddr::new(named.address.unwrap_or(server), named.port)),
        _ => None,
    };
    named.ok_or_else(|| {
        let mend = "see whether it has free ports for data (GLOBUS_TCP_PORT_RANGE)";
        refusal(&reply, &format!("it opens no port for data at {command}"), mend)
    })
}

async fn connect<S>(
    dialogue: &mut Dialogue<'_, S>,
    address: SocketAddr,
    course: &Course<'_>,
) -> Result<TcpStream, Setback>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let unreachable = |why: String| {
        let elsewhere = if address.ip() == course.server.ip().to_canonical() {
            "pass its data ports in the firewall between"
        } else {
            "let it announce an address that this balancer reaches too, or use type = \"login\""
        };
        failed(&format!("its data address {address} is not reachable from this balancer: {why}"), elsewhere)
    };
    let limit = course.check.connect_timeout;
    dialogue
        .await_now(format!("data connection to {address}"), "pass its data ports in the firewall between");
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if is_local_shortage(&error) => Err(Setback::Local(LocalTrouble::Socket(error))),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("nothing answers within {limit:?}"))),
    }
}

/// RETR and the first reply to it.
async fn open<S>(dialogue: &mut Dialogue<'_, S>, file: &SampleFile) -> Result<Reply, Setback>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    dialogue.say(&format!("RETR {}", file.path)).await?;
    let reply = dialogue.reply().await?;
    if reply.is_preliminary() || reply.is_success() {
        return Ok(reply);
    }
    let mend = if reply.code == 550 || reply.code == 500 {
        "put the file there, readable for the check's user, or correct `file`"
    } else {
        FILE_SYSTEM
    };
    Err(refusal(&reply, &format!("it does not send `{}`", file.path), mend))
}

/// Reads both connections until the data end and the final reply is there, in whichever order.
async fn receive<S, D>(
    dialogue: &mut Dialogue<'_, S>,
    mut data: D,
    opening: Reply,
    limit: u64,
) -> Result<Received, Setback>
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    let mut received = Received::default();
    let mut buffer = vec![0; DATA_READ_SIZE];
    let mut ended = false;
    let mut complete = opening.is_success();
    while !ended || !complete {
        tokio::select! {
            biased;
            read = data.read(&mut buffer), if !ended => match read {
                Ok(0) => {
                    ended = true;
                    // ProFTPD sends its 226 when the client has closed, too. One that has gone meanwhile has.
                    let _ = data.shutdown().await;
                    dialogue.await_now(format!("226 after the {} bytes and their end", received.bytes), FILE_SYSTEM);
                }
                Ok(count) => {
                    received.take(&buffer[..count]);
                    if received.bytes > limit {
                        return Err(failed(
                            &format!("it sends more than {limit} bytes of the file"),
                            "correct `size`, or name a smaller `file`",
                        ));
                    }
                    dialogue.await_now(format!("end of the data, {} bytes came", received.bytes), FILE_SYSTEM);
                }
                Err(error) => return Err(broken(dialogue, &received, &error).await),
            },
            reply = dialogue.reply(), if !complete => {
                let reply = reply?;
                if reply.is_success() {
                    complete = true;
                    dialogue.await_now(
                        format!("end of the data after its 226, {} bytes came", received.bytes),
                        FILE_SYSTEM,
                    );
                } else if !reply.is_preliminary() {
                    let what = format!("it stopped after {} bytes", received.bytes);
                    return Err(refusal(&reply, &what, FILE_SYSTEM));
                }
            }
        }
    }
    Ok(received)
}

/// How long the server may take to say why the data connection broke.
const REASON_WITHIN: Duration = Duration::from_secs(1);

async fn broken<S>(dialogue: &mut Dialogue<'_, S>, received: &Received, error: &io::Error) -> Setback
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let what = format!("the data connection broke after {} bytes: {error}", received.bytes);
    match timeout(REASON_WITHIN, dialogue.reply()).await {
        Ok(Ok(reply)) if !reply.is_preliminary() => {
            failed(&format!("{what}, `{}`", reply.words), FILE_SYSTEM)
        }
        _ => failed(&what, FILE_SYSTEM),
    }
}

impl Received {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sum.update(bytes);
    }
}

/// Whether what came is the file, now that the server has said so.
fn judge(received: &Received, file: &SampleFile, announced: Option<u64>) -> Result<(), Setback> {
    let count = received.bytes;
    if let Some(announced) = announced.filter(|&announced| announced != count) {
        return Err(failed(
            &format!("it says that all is sent after {count} of {announced} bytes"),
            "see the server's log and its file system: transfers that break off count as complete there",
        ));
    }
    if let Some(size) = file.size.filter(|&size| size != count) {
        return Err(failed(
            &format!("`{}` has {count} bytes there, not {size}", file.path),
            "put the whole file there, or correct `size`",
        ));
    }
    let sum = received.sum.value();
    if let Some(expected) = file.adler32.filter(|&expected| expected != sum) {
        return Err(failed(
            &format!("`{}` arrives as adler32:{sum:08x}, not {expected:08x}", file.path),
            "put the right file there, or correct `checksum`; see the server's disks",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
