//! What the process may do of what only root may otherwise: capabilities(7).
use rustix::thread::{CapabilitySet, capabilities};

/// What owning virtual addresses takes, and does not have: its name, and what it is for.
#[must_use]
pub fn missing_for_addresses() -> Vec<&'static str> {
    // Where the kernel does not say, it says so when something is refused.
    let Ok(sets) = capabilities(None) else { return Vec::new() };
    [
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN, without which no address can be added"),
        (CapabilitySet::NET_RAW, "CAP_NET_RAW, without which no advert can be sent or heard"),
    ]
    .into_iter()
    .filter(|(capability, _)| !sets.effective.contains(*capability))
    .map(|(_, what)| what)
    .collect()
}
