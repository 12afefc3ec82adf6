//! A scripted client: speaks to the door as real clients do, and watches where the data comes from.

mod control;
mod data;
mod script;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::journal::Journal;
use super::table::Row;
use control::Control;

pub(super) use script::Spread;

/// What went wrong, and where, for the table.
#[derive(Debug)]
pub(super) struct Failure(String);

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The scripted client.
pub(super) struct Client<'e> {
    door: SocketAddr,
    /// the directory that all real servers serve
    files: &'e Path,
    journal: Arc<Journal>,
    /// bytes of each file
    size: usize,
}

impl<'e> Client<'e> {
    /// A client of the door at `door`, moving files of `size` bytes; `files` and `journal` tell it afterwards what the
    /// servers hold and saw.
    pub(super) fn new(door: SocketAddr, files: &'e Path, journal: Arc<Journal>, size: usize) -> Self {
        Self { door, files, journal, size }
    }

    /// All transfers of the demo, one row each, in the order of the table.
    pub(super) async fn transfers(&self, mut shown: impl FnMut(&Row)) -> Vec<Row> {
        let mut rows = Vec::new();
        for scenario in script::SCENARIOS {
            let row = self.row(scenario).await;
            shown(&row);
            rows.push(row);
        }
        rows
    }

    /// Holds `count` logged-in sessions at once and tells which server has how many.
    pub(super) async fn hold(&self, count: usize) -> Result<Spread, Failure> {
        let mut held = Vec::new();
        let mut spread = Spread::default();
        for _ in 0..count {
            let control = Control::login(self.door).await?;
            spread.count(control.server());
            held.push(control);
        }
        for control in held {
            control.quit().await?;
        }
        Ok(spread)
    }
}
