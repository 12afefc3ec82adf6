//! What is kept in mind of sessions at other balancers: by who tells of them, so that nobody crowds out what another has told.
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::proto::session_sync::Connection;

/// How long a session counts that nobody tells of any more: three times all.
const KNOWN_FOR: Duration = Duration::from_secs(15);

/// Sessions that one balancer may tell of: some times what it is made for, some 3 MB.
const MAX_KNOWN: usize = 32_768;

/// Balancers that are listened to, by their addresses, of which those of a host may be several. For another the one goes that was
/// silent for longest.
const MAX_TELLERS: usize = 8;

/// See the module's text. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Elsewhere(Arc<Mutex<HashMap<IpAddr, Told>>>);

#[derive(Debug)]
struct Told {
    connections: HashMap<Connection, Instant>,
    last: Instant,
}

impl Elsewhere {
    /// `served` are the addresses that are the teller's.
    pub(super) fn hear(&self, teller: IpAddr, served: &[IpAddr], connections: Vec<Connection>, now: Instant) {
        let mut tellers = self.lock();
        if !tellers.contains_key(&teller)
            && tellers.len() >= MAX_TELLERS
            && let Some(silent) = tellers.iter().min_by_key(|(_, told)| told.last).map(|(teller, _)| *teller)
        {
            tellers.remove(&silent);
        }
        let told = tellers.entry(teller).or_insert_with(|| Told { connections: HashMap::new(), last: now });
        told.last = now;
        let is_wanted = |of: &Connection| of.is_plausible() && served.contains(&of.reached.ip());
        for connection in connections.into_iter().filter(is_wanted) {
            let is_full = told.connections.len() >= MAX_KNOWN;
            if !is_full || told.connections.contains_key(&connection) {
                told.connections.insert(connection, now);
            }
        }
    }

    pub(super) fn forget_old(&self, now: Instant) {
        self.lock().retain(|_, told| {
            told.connections.retain(|_, heard| *heard + KNOWN_FOR > now);
            !told.connections.is_empty()
        });
    }

    /// Those at these addresses, which are nobody else's any more; once, whoever has told of them.
    pub(in crate::control) fn take(&self, addresses: &[IpAddr]) -> Vec<Connection> {
        let mut taken = HashSet::new();
        for told in self.lock().values_mut() {
            let at_these = told.connections.extract_if(|of, _| addresses.contains(&of.reached.ip()));
            taken.extend(at_these.map(|(connection, _)| connection));
        }
        taken.into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(port: u16, reached: &str) -> Connection {
        let client: IpAddr = "198.51.100.7".parse().unwrap();
        Connection { client: (client, port).into(), reached: reached.parse().unwrap() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn only_sessions_at_the_tellers_addresses_are_kept_and_not_for_ever() {
        let start = Instant::now();
        let elsewhere = Elsewhere::default();
        let (teller, next) = (address("192.0.2.2"), address("192.0.2.3"));
        let (ours, other) = (address("192.0.2.10"), address("192.0.2.11"));
        let told = vec![
            connection(1, "192.0.2.10:2811"),
            connection(2, "192.0.2.99:2811"),
            connection(3, "192.0.2.11:2811"),
        ];
        elsewhere.hear(teller, &[ours, other], told.clone(), start);
        // It has become master of one of them since.
        elsewhere.hear(next, &[ours], told, start);
        elsewhere.forget_old(start + KNOWN_FOR / 2);
        assert_eq!(
            elsewhere.take(&[ours]),
            [connection(1, "192.0.2.10:2811")],
            "once, though two told of it"
        );
        assert!(elsewhere.take(&[ours]).is_empty(), "and not again");
        elsewhere.forget_old(start + KNOWN_FOR);
        assert!(elsewhere.take(&[other]).is_empty());
        assert!(elsewhere.lock().is_empty());
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn nobody_crowds_out_what_another_has_told() {
        let start = Instant::now();
        let elsewhere = Elsewhere::default();
        let ours = address("192.0.2.10");
        let [first, greedy] = ["192.0.2.2", "192.0.2.3"].map(address);
        let many = (0..=u16::MAX).map(|port| connection(port, "192.0.2.10:2811")).collect();
        elsewhere.hear(greedy, &[ours], many, start);
        let late = connection(7, "192.0.2.10:2812");
        elsewhere.hear(greedy, &[ours], vec![late], start);
        elsewhere.hear(first, &[ours], vec![late], start + Duration::from_secs(1));
        assert_eq!(elsewhere.lock()[&greedy].connections.len(), MAX_KNOWN);
        assert!(elsewhere.lock()[&first].connections.contains_key(&late));
        for number in 0..MAX_TELLERS - 1 {
            let teller = address(&format!("192.0.2.{}", 100 + number));
            elsewhere.hear(teller, &[ours], vec![late], start + Duration::from_secs(2));
        }
        let tellers = elsewhere.lock();
        assert!(
            tellers.len() == MAX_TELLERS && tellers.contains_key(&first) && !tellers.contains_key(&greedy)
        );
    }
}
