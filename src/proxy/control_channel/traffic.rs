//! Bytes between the two connections and the machine, and what the machine tells of them.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::io::{AsyncRead as _, ReadBuf};

use super::super::availability::TransferVerdict;
use super::super::backlog::Progress;
use super::super::control_stream::ControlStream;
use super::super::journal::{self, Facts};
use super::super::now;
use super::super::relay::Relays;
use super::{ControlChannel, Scratch};
use crate::balance::{Deed, Flow, LoginVerdict, Outcome};
use crate::proto::ftp::{Action, Ending, Login, Outbox, RelayRequest, ReplyCode, TransferRecord};
use crate::sys;

impl ControlChannel {
    /// Reads the server once and hands it to the machine. Its end, in whatever way, ends the session.
    pub(super) fn read_server(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Progress {
        let Some(server) = &mut self.server else { return false };
        let Scratch { bytes, out } = scratch;
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(server).poll_read(cx, &mut buffer) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                let input = buffer.filled();
                let used = match self.session.tunnel() {
                    Some(_) => 0,
                    None => self.session.handle_server(now, input, out),
                };
                if self.session.tunnel().is_some() {
                    out.to_client.extend_from_slice(&input[used..]);
                }
            }
            // Both have said all: nobody is owed a word.
            Poll::Ready(_) if self.client_is_done && !self.session.is_busy() => {
                self.session.handle_ending(Ending::ClientClosed, now, out);
                self.leave_server();
            }
            Poll::Ready(_) => {
                self.session.handle_server_closed(now, out);
                self.leave_server();
            }
        }
        true
    }

    /// Reads the client once, or takes what was unread, and hands it to the machine.
    pub(super) fn read_client(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> io::Result<Progress> {
        let Scratch { bytes, out } = scratch;
        let tunnel = self.session.tunnel().is_some();
        if tunnel && !self.unread.is_empty() {
            out.to_server.extend_from_slice(&std::mem::take(&mut self.unread));
            return Ok(true);
        }
        if !tunnel {
            if !self.session.accepts_client() {
                return Ok(false);
            }
            if self.session.is_waiting() || !self.unread.is_empty() {
                let unread = std::mem::take(&mut self.unread);
                let used = self.session.handle_client(now, &unread, out);
                self.unread = unread[used..].into();
                return Ok(true);
            }
        }
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut self.client).poll_read(cx, &mut buffer) {
            Poll::Pending => return Ok(false),
            Poll::Ready(result) => result?,
        }
        let input = buffer.filled();
        if input.is_empty() {
            self.client_is_done = true;
        } else if tunnel {
            out.to_server.extend_from_slice(input);
        } else {
            let used = self.session.handle_client(now, input, out);
            self.unread = input[used..].into();
        }
        Ok(true)
    }

    /// Writes what the machine has put out and counts what it has told.
    pub(super) fn deliver(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> io::Result<()> {
        let out = &mut scratch.out;
        self.account_all(out);
        if !out.to_server.is_empty() {
            if let Some(server) = &mut self.server
                && self.to_server.write(server, cx, &out.to_server).is_err()
            {
                self.to_server.abandon();
            }
            out.to_server.clear();
        }
        if !out.to_client.is_empty() {
            let result = self.to_client.write(&mut self.client, cx, &out.to_client);
            out.to_client.clear();
            result?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<Progress> {
        let mut forward = false;
        if !self.to_server.is_empty()
            && let Some(server) = &mut self.server
        {
            match self.to_server.flush(server, cx) {
                Ok(progress) => forward |= progress,
                // What it still has to say is read all the same.
                Err(_) => self.to_server.abandon(),
            }
        }
        if !self.to_client.is_empty() {
            forward |= self.to_client.flush(&mut self.client, cx)?;
        }
        Ok(forward)
    }

    /// Whether the client has closed its control connection in an upload, which is then cut, and lets an upload end whose
    /// client is there. A client that is killed closes all of its connections in order, and what it has sent of a file
    /// looks whole.
    pub(super) fn has_left_upload(&mut self) -> bool {
        self.relays.is_some() && self.has_left_its_upload()
    }

    #[inline(never)]
    fn has_left_its_upload(&mut self) -> bool {
        let Some(relays) = self.relays.as_mut().filter(|relays| relays.is_uploading()) else { return false };
        if self.client_is_done {
            return true;
        }
        if !relays.asks_to_end_upload() {
            return false;
        }
        if self.client.tcp().is_none_or(sys::socket::is_closed_by_peer) {
            return true;
        }
        relays.grant_end_of_upload();
        false
    }

    pub(super) fn end_relays(&mut self) {
        let Some(relays) = &mut self.relays else { return };
        let uploading = relays.is_uploading();
        relays.handle_session_end();
        if let Some(server) = self.server.take_if(|_| uploading) {
            relays.keep_server(server, self.placement.take());
        }
    }

    pub(super) fn leave_server(&mut self) {
        self.server = None;
        self.placement = None;
        self.registration.clear_server();
    }

    pub(super) fn account_all(&mut self, out: &mut Outbox) {
        // Nearly every time there is none, and no room on the stack is to be made for it.
        if !out.commands.is_empty() {
            self.service.lasting.tally.commanded(&mut out.commands);
        }
        if !out.actions.is_empty() {
            self.account_some(out);
        }
    }

    #[inline(never)]
    fn account_some(&mut self, out: &mut Outbox) {
        let mut banned = false;
        for action in out.actions.drain(..) {
            let guessed = matches!(
                action,
                Action::LoginFailed { wrong_password: true } | Action::SecurityFailed { refused: true }
            );
            self.account(action);
            banned |= guessed && self.bans_client();
        }
        if banned && self.session.ended().is_none() {
            self.session.handle_ending(Ending::Banned, now(), out);
        }
    }

    /// A login has failed that somebody may have guessed at. Whether the client is kept out now.
    fn bans_client(&self) -> bool {
        match self.service.admittance.handle_failed_login(self.facts.client.ip(), now()) {
            LoginVerdict::MayTryAgain => false,
            LoginVerdict::Banned { client, rule } => {
                journal::banned(&self.service, client, &rule);
                true
            }
            LoginVerdict::IsBanned => true,
        }
    }

    /// What data connections that cross the door have come to meanwhile.
    pub(super) fn hear_relays(&mut self) -> Progress {
        self.relays.is_some() && self.hear_some_relays()
    }

    #[inline(never)]
    fn hear_some_relays(&mut self) -> Progress {
        let Some(relays) = &mut self.relays else { return false };
        relays.receive();
        let mut forward = false;
        while let Some((id, answer)) = relays.take_answer() {
            self.session.handle_relay(now(), id, answer);
            forward = true;
        }
        while let Some((record, carried)) = relays.take_ended() {
            journal::transfer(&self.service, &self.real_server, &self.facts, &record, Some(&carried));
        }
        forward
    }

    fn relay(&mut self, request: RelayRequest) {
        if self.relays.is_none() {
            let address = self.client.tcp().and_then(|stream| stream.local_addr().ok());
            // Set as long as the session's task runs.
            let waker = self.registration.entry.waker().cloned().unwrap_or_else(|| Waker::noop().clone());
            let client = self.facts.client.ip();
            let (service, server) = (Arc::clone(&self.service), Arc::clone(&self.real_server));
            let connector = self.server.as_ref().and_then(ControlStream::connector);
            self.relays = Some(Box::new(
                Relays::new(service, server, client, address, self.facts.door, waker)
                    .over(connector)
                    .noted_in(self.registration.table()),
            ));
        }
        if let Some(relays) = &mut self.relays {
            relays.handle(request);
        }
    }

    fn account_transfer(&mut self, record: TransferRecord) {
        self.service.lasting.path_counts.count(record.data_path, record.reason);
        let relays = self.relays.as_mut().filter(|_| record.relay.is_some());
        let Some(relays) = relays else {
            return journal::transfer(&self.service, &self.real_server, &self.facts, &record, None);
        };
        self.real_server.stats.relayed_transfers.fetch_add(1, Relaxed);
        if let Some((record, carried)) = relays.end_transfer(record) {
            journal::transfer(&self.service, &self.real_server, &self.facts, &record, Some(&carried));
        }
    }

    fn worked(&mut self, deed: Deed) {
        self.facts.conduct.worked(&self.service, &self.real_server, deed);
    }

    pub(super) fn failed(&mut self, deed: Deed, how: &str) {
        let Facts { conduct, client, .. } = &mut *self.facts;
        conduct.failed(now(), &self.service, &self.real_server, *client, deed, how);
    }

    fn account(&mut self, action: Action) {
        let server = &self.real_server;
        let stats = &server.stats;
        match action {
            Action::LoggedIn { user, took } => {
                stats.logins.fetch_add(1, Relaxed);
                stats.login_times.count(took);
                self.facts.user = Some(user);
                // Anybody can be anonymous: between two guesses for one.
                if self.session.login() == Login::User {
                    self.service.admittance.handle_login(self.facts.client.ip());
                }
                self.worked(Deed::Login);
            }
            Action::LoginFailed { .. } => {
                stats.login_failures.fetch_add(1, Relaxed);
                // A server that is full says 421.
                if self.session.login() == Login::No && !self.session.has_server_parted() {
                    self.failed(Deed::Login, "a refused login");
                }
            }
            Action::Secured(handshake) => {
                stats.count_gsi_login(handshake);
                self.facts.gsi = Some(handshake);
                self.service.admittance.handle_login(self.facts.client.ip());
                self.worked(Deed::Login);
            }
            Action::SecurityFailed { .. } => {
                stats.gsi_failures.fetch_add(1, Relaxed);
                if !self.session.has_server_parted() {
                    self.failed(Deed::Login, "a refused GSI handshake");
                }
            }
            Action::Transfer(record) => {
                let done = record.reply.is_some_and(ReplyCode::is_success);
                let counter = if done { &stats.transfers } else { &stats.transfer_failures };
                counter.fetch_add(1, Relaxed);
                stats.by_kind.count(Flow::of(record.verb), record.data_path, Outcome::of(record.reply));
                self.facts.transfers += 1;
                match TransferVerdict::of(&record, self.session.ended()) {
                    TransferVerdict::Worked => self.worked(Deed::Transfer),
                    TransferVerdict::Failed(how) => self.failed(Deed::Transfer, &how),
                    TransferVerdict::Nothing => {}
                }
                self.account_transfer(record);
            }
            Action::CommandDenied => {
                self.facts.denied += 1;
                self.service.admittance.known.denied_commands.fetch_add(1, Relaxed);
            }
            Action::Relay(request) => self.relay(request),
            Action::StartTls => self.starts_tls = true,
            Action::Tunnel(_) => {}
        }
    }
}
