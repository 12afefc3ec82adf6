//! What a virtual router does as master: it has the addresses, says so, and lets go of them.
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::attachment::Attachment;
use super::{Means, Router};
use crate::proto::vrrp::Priority;
use crate::proto::{arp, ndp};
use crate::vrrp::Event;
use crate::vrrp::guardian::LastWords;
use crate::vrrp::holdings::Order;
use crate::vrrp::settings;

/// Shortest lifetime of a virtual address: it is renewed every second, and one renewal may come late.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(3);

/// After an address could not be added: whoever refuses it now may not later. Each time it is twice as long, for each try costs
/// the sessions of whoever is master meanwhile.
const CLAIM_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The longest of these.
const CLAIM_AGAIN_AT_LATEST: Duration = Duration::from_secs(300);

/// How long priority 0 waits for the addresses to be gone: some ten times what that takes. Later it is said nevertheless, or
/// nobody would have them.
const FAREWELL_WITHIN: Duration = Duration::from_millis(20);

/// Whether it has its addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Claim {
    None,
    /// Ordered with this number; whether neighbours are to be told once it is done.
    Ordered {
        number: u32,
        announce: bool,
    },
    Held,
}

impl Claim {
    /// Ordered once more: what neighbours were to be told of the order before, which nobody hears of any more, they are told of this.
    fn anew(self, number: u32, announce: bool) -> Self {
        let is_owed = matches!(self, Self::Ordered { announce: true, .. });
        Self::Ordered { number, announce: announce || is_owed }
    }
}

/// What the kernel did not let it have.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) why: String,
    /// Until then it is a fault.
    pub(super) until: Instant,
}

impl Router {
    /// Says so with this priority. Priority 0 is said when the addresses are gone: a backup takes over within milliseconds.
    pub(super) fn say(&mut self, now: Instant, priority: Priority) {
        if priority == Priority::RELEASE && self.claim != Claim::None {
            self.farewell_at = Some(now + FAREWELL_WITHIN);
        } else {
            self.advertise(priority);
        }
    }

    /// The kernel has taken the addresses away, or takes too long over it.
    pub(in crate::vrrp) fn say_farewell(&mut self) {
        if self.farewell_at.take().is_some() {
            self.advertise(Priority::RELEASE);
        }
    }

    /// When it is said at the latest, if it is to be said.
    pub(in crate::vrrp) fn farewell_at(&self) -> Option<Instant> {
        self.farewell_at
    }

    fn advertise(&mut self, priority: Priority) {
        let counts = &self.record.counts;
        let is_farewell = priority == Priority::RELEASE;
        let attachment = match (&self.attachment, &self.last_attachment) {
            (Ok(attachment), _) => attachment,
            (Err(_), Some(last)) if is_farewell => last,
            _ => {
                counts.not_sent.fetch_add(1, Relaxed);
                return;
            }
        };
        let advertisement = self.machine.advertisement(priority);
        let count = if is_farewell { &counts.released } else { &counts.sent };
        for destination in settings::destinations(&self.config) {
            let source = attachment.usable.source;
            let bytes = advertisement.encode(self.config.checksum, source, destination);
            let sent = attachment.sender.send(destination, &bytes);
            if sent.is_ok() { count } else { &counts.not_sent }.fetch_add(1, Relaxed);
        }
    }

    /// Has the addresses put on the interface, as they are configured now.
    pub(super) fn claim(&mut self, announce: bool, means: &Means<'_>) {
        let Ok(Attachment { device, .. }) = &self.attachment else { return };
        let shortest = SHORTEST_LIFETIME.max(self.config.advert_interval * 3).as_secs_f64().ceil();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "3 to 765 seconds")]
        let lifetime = NonZeroU32::new(shortest as u32).unwrap_or(NonZeroU32::MIN);
        let is_ours = |address: &&IpNet| !self.own_addresses.contains(&address.addr());
        let addresses: Vec<IpNet> = self.config.addresses().filter(is_ours).copied().collect();
        let (index, last_words) = (*device, self.last_words());
        self.farewell_at = None;
        self.claims = self.claims.wrapping_add(1);
        let number = self.claims;
        self.claim = self.claim.anew(number, announce);
        (means.order)(Order::Claim { router: self.id, number, index, addresses, lifetime, last_words });
    }

    /// Has them taken away.
    pub(super) fn release(&mut self, means: &Means<'_>) {
        self.announcing.stop();
        self.claim = Claim::None;
        (means.order)(Order::Release { router: self.id });
    }

    /// What was said of the claim of this number. Whether it was refused.
    pub(in crate::vrrp) fn handle_claimed(
        &mut self,
        now: Instant,
        number: u32,
        outcome: Result<(), String>,
        means: &Means<'_>,
    ) -> bool {
        let Claim::Ordered { number: last, announce } = self.claim else { return false };
        if number != last {
            return false;
        }
        match outcome {
            Ok(()) => {
                self.claim = Claim::Held;
                (self.refused, self.refusals) = (None, 0);
                if announce {
                    self.announcing.start(now);
                }
                false
            }
            Err(why) => {
                (means.tell)(Event::Problem { instance: self.config.name.clone(), what: why.clone() });
                let after = CLAIM_AGAIN_AFTER.saturating_mul(1 << self.refusals.min(10));
                self.refusals += 1;
                self.refused = Some(Refusal { why, until: now + after.min(CLAIM_AGAIN_AT_LATEST) });
                true
            }
        }
    }

    pub(super) fn last_words(&self) -> Option<LastWords> {
        let Attachment { sender, usable, sends_by, .. } = self.attachment.as_ref().ok()?;
        let advertisement = self.machine.advertisement(Priority::RELEASE);
        let encode = |to| advertisement.encode(self.config.checksum, usable.source, to);
        let packets = settings::destinations(&self.config).into_iter().map(|to| (to, encode(to))).collect();
        Some(LastWords { interface: *sends_by, source: sender.source(), packets })
    }

    /// Somebody else has taken an address away.
    pub(in crate::vrrp) fn handle_lost_address(&mut self, index: u32, address: IpAddr, means: &Means<'_>) {
        let is_ours = self.claim == Claim::Held
            && self.attachment.as_ref().is_ok_and(|attachment| attachment.device == index)
            && !self.own_addresses.contains(&address)
            && self.config.addresses().any(|ours| ours.addr() == address);
        if is_ours {
            self.record.counts.put_back.fetch_add(1, Relaxed);
            let what = format!(
                "{address} is gone from the interface: somebody has taken it off, or this daemon stood still for longer \
                 than its lifetime; it is put back"
            );
            (means.tell)(Event::Problem { instance: self.config.name.clone(), what });
            self.claim(true, means);
        }
    }

    /// Tells neighbours, if it is time.
    pub(in crate::vrrp) fn announce(&mut self, now: Instant, means: &mut Means<'_>) {
        let count = self.announcing.due(now);
        let Ok(Attachment { device, mac: Some(mac), .. }) = &self.attachment else { return };
        let Ok(packets) = means.wire.packets() else { return };
        for _ in 0..count {
            for address in self.config.addresses().map(IpNet::addr) {
                let sent = match address {
                    IpAddr::V4(address) => packets.send_arp(*device, &arp::gratuitous(*mac, address)),
                    IpAddr::V6(address) => {
                        packets.send_neighbour_advertisement(*device, &ndp::unsolicited(*mac, address, false))
                    }
                };
                let counts = &self.record.counts;
                if sent.is_ok() { &counts.announcements } else { &counts.not_sent }.fetch_add(1, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_told_whatever_is_claimed_before_the_first_claim_is_done() {
        let announced = |claim: Claim| matches!(claim, Claim::Ordered { announce: true, number: 2 });
        for (before, announce, expected) in [
            (Claim::None, true, true),
            (Claim::None, false, false),
            (Claim::Held, false, false),
            (Claim::Ordered { number: 1, announce: true }, false, true),
            (Claim::Ordered { number: 1, announce: false }, true, true),
            (Claim::Ordered { number: 1, announce: false }, false, false),
        ] {
            assert_eq!(announced(before.anew(2, announce)), expected, "{before:?}");
        }
    }
}
