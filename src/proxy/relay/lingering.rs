//! What is left of a session whose control connection is over while bytes of its last transfer are still under way, or
//! the server has not met their end.
use std::sync::Arc;
use std::task::{Context, Poll};

use super::super::journal::{self, Facts};
use super::super::service::Service;
use super::super::session_table::{Registration, Signal};
use super::Relays;
use crate::balance::RealServer;

/// See the module's text. Registered like any session, so that a door that drains waits for it.
#[derive(Debug)]
pub(in super::super) struct Lingering {
    pub(in super::super) service: Arc<Service>,
    pub(in super::super) server: Arc<RealServer>,
    pub(in super::super) facts: Box<Facts>,
    pub(in super::super) registration: Registration,
    pub(in super::super) relays: Box<Relays>,
}

impl Lingering {
    /// Woken by its relays, and by the door when that closes.
    pub(in super::super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.registration.entry.set_waker(cx.waker());
        if self.registration.signal() == Signal::Shutdown {
            self.relays.cut();
        }
        self.relays.poll_last_word(cx);
        while let Some((record, carried)) = self.relays.take_ended() {
            journal::transfer(&self.service, &self.server, &self.facts, &record, Some(&carried));
        }
        if self.relays.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}
