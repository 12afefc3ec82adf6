//! One session as a task: first the approach to a server, then the control channel, and a net under both.
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::approach::{ApproachError, approach};
use super::control_channel::{CLOSING_FOR, ControlChannel};
use super::relay::Lingering;
use super::service::Service;
use super::session_table::{Registration, SessionTable, Signal};
use super::{journal, now};
use crate::balance::Admission;

/// A session that is being served; as a future it completes when the session is over.
///
/// Written by hand, because the future that the compiler would make of it keeps room for every step at once, and
/// thousands of these wait at a time.
pub(super) struct ServedSession {
    service: Arc<Service>,
    stage: Stage,
    _admission: Admission,
}

#[allow(clippy::large_enum_variant, reason = "the large one is the one that lasts")]
enum Stage {
    /// Boxed: its size goes when the server has greeted. With the client's address.
    Approaching(Pin<Box<dyn Future<Output = Option<ControlChannel>> + Send>>, SocketAddr),
    Serving(ControlChannel),
    /// Boxed, and of few: no session waits in it for long.
    Lingering(Box<Lingering>),
    Over,
}

impl ServedSession {
    pub(super) fn new(
        service: Arc<Service>,
        table: &Arc<SessionTable>,
        admission: Admission,
        client: TcpStream,
        address: SocketAddr,
    ) -> Self {
        let approaching = begin(Arc::clone(&service), table.register(), client, address);
        Self { service, stage: Stage::Approaching(Box::pin(approaching), address), _admission: admission }
    }

    fn client(&self) -> Option<SocketAddr> {
        match &self.stage {
            Stage::Approaching(_, client) => Some(*client),
            Stage::Serving(channel) => Some(channel.client()),
            Stage::Lingering(lingering) => Some(lingering.facts.client),
            Stage::Over => None,
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Approaching(approaching, _) = &mut self.stage {
            match ready!(approaching.as_mut().poll(cx)) {
                Some(channel) => self.stage = Stage::Serving(channel),
                None => return Poll::Ready(()),
            }
        }
        if let Stage::Serving(channel) = &mut self.stage {
            ready!(channel.poll(cx));
            if let Stage::Serving(channel) = std::mem::replace(&mut self.stage, Stage::Over)
                && let Some(lingering) = channel.into_lingering()
            {
                self.stage = Stage::Lingering(Box::new(lingering));
            }
        }
        match &mut self.stage {
            Stage::Lingering(lingering) => lingering.poll(cx),
            Stage::Approaching(..) | Stage::Serving(_) | Stage::Over => Poll::Ready(()),
        }
    }
}

impl Future for ServedSession {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Nothing of the session is used after a panic: its guards drop, and its sockets close.
        catch_unwind(AssertUnwindSafe(|| self.advance(cx))).unwrap_or_else(|_| {
            self.service.panics.fetch_add(1, Relaxed);
            journal::panicked(&self.service, self.client());
            Poll::Ready(())
        })
    }
}

async fn begin(
    service: Arc<Service>,
    mut registration: Registration,
    mut client: TcpStream,
    address: SocketAddr,
) -> Option<ControlChannel> {
    let started = now();
    let approached = {
        let mut approaching = pin!(approach(&service, address, &registration));
        poll_fn(|cx| {
            registration.entry.set_waker(cx.waker());
            // Nothing was said to the client yet: another door may serve it.
            if registration.signal() != Signal::None {
                return Poll::Ready(Err(ApproachError::Draining));
            }
            approaching.as_mut().poll(cx)
        })
        .await
    };
    registration.has_begun();
    match approached {
        Ok(approached) => {
            Some(ControlChannel::new(service, client, address, approached, registration, started))
        }
        Err(refusal) => {
            journal::refused(&service, address, &refusal);
            // A client that is gone already needs no reply, and one that stays for ever gets no more.
            let _ = timeout(CLOSING_FOR, say_last(&mut client, refusal.reply())).await;
            None
        }
    }
}

/// Says it and waits until the client closes, for the reason that `control_channel` gives.
async fn say_last(client: &mut TcpStream, reply: &str) -> io::Result<()> {
    client.write_all(reply.as_bytes()).await?;
    client.shutdown().await?;
    let mut bytes = [0; 512];
    while client.read(&mut bytes).await? > 0 {}
    Ok(())
}
