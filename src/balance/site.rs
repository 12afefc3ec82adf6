//! The sessions of all virtual servers together.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How many sessions there are in all; lives on when the limit changes.
#[derive(Debug, Default)]
pub struct SiteSessions {
    active: AtomicU32,
}

/// A session inside; dropped, it makes room for another.
#[derive(Debug)]
#[must_use = "dropped, it gives the count back"]
pub struct SiteAdmission(Arc<SiteSessions>);

/// The door is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("max_sessions = {max} sessions of all virtual servers are inside; raise max_sessions in [global]")]
pub struct SiteFull {
    /// The limit that is reached.
    pub max: u32,
}

impl SiteSessions {
    /// Lets one session more in, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// `max` are inside.
    pub fn admit(self: &Arc<Self>, max: u32) -> Result<SiteAdmission, SiteFull> {
        match self.active.fetch_update(Relaxed, Relaxed, |active| (active < max).then(|| active + 1)) {
            Ok(_) => Ok(SiteAdmission(Arc::clone(self))),
            Err(_) => Err(SiteFull { max }),
        }
    }

    /// Sessions inside now, of virtual servers that are counted.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }
}

impl Drop for SiteAdmission {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}
