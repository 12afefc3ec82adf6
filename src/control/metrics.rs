//! Metrics: what Prometheus is told.
//!
//! ```text
//!   proxy, checker ──▶ atomics of balance::Stats, proxy::Tally, …          counted where it happens
//!                              │ read when somebody asks
//!                              ▼
//!   collect ──▶ metrics::{counter!, gauge!, histogram!} ──▶ Page: a metrics::Recorder, of one scrape ──▶ text
//!                                                             │
//!                                                       catalogue: names, kinds, labels, help
//! ```
//!
//! Nothing of this is there between two scrapes: no handle, no label, no lookup is touched by a session, and a real
//! server that has gone from the configuration has gone from the next page. One metric more is a row in `catalogue`, a line
//! in `collect`, and a row in docs/metrics.md, which a test compares.
mod catalogue;
mod collect;
mod page;

pub use catalogue::{CATALOGUE, Family, Kind};
pub(super) use collect::Observed;
pub(super) use collect::forwarding::Observed as ObservedForwarding;
pub(super) use collect::vrrp::Observed as ObservedVrrp;
use page::Page;

/// What a scrape is answered with: the text format 0.0.4 of Prometheus.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything, as it is now.
pub(super) fn text(observed: &Observed<'_>) -> String {
    let page = Page::new();
    metrics::with_local_recorder(&page, || collect::collect(observed));
    page.into_text()
}
