//! The links where clients come in, and the marker at each of them.
use std::io;

use crate::balance::{ForwardError, ForwardingChange};
use crate::forwarding::marker::{Marker, Marks};
use crate::proto::netlink::link::Link;
use crate::proto::netlink::traffic_control::{Filter, Hook};
use crate::sys::netlink::{NetlinkError, Route};

/// Marks of single ports and of whole ranges together, each some 100 bytes of the kernel's memory: four addresses with all ports that
/// are not privileged.
pub(super) const MAX_MARKS: u32 = 256 * 1024;

/// The marker, and where it is to be.
#[derive(Debug)]
pub(super) struct Links {
    marker: Marker,
    route: Route,
    /// Filters that a daemon before us has left elsewhere are gone.
    is_tidy: bool,
}

impl Links {
    /// Has the kernel take the marker. It is nowhere yet.
    ///
    /// # Errors
    ///
    /// The kernel has no BPF, or this process may not use it.
    pub(super) fn load() -> Result<Self, String> {
        let marker = Marker::load(MAX_MARKS).map_err(|error| error.to_string())?;
        let route = Route::open().map_err(|error: io::Error| format!("no socket of netlink: {error}"))?;
        Ok(Self { marker, route, is_tidy: false })
    }

    /// The marker's table.
    pub(super) fn marks(&self) -> Marks {
        self.marker.marks()
    }

    /// Sees to it that the marker is at each of the links of these names that are there, under whatever number, and nowhere
    /// else.
    pub(super) fn follow(&mut self, names: &[String]) -> (Vec<ForwardingChange>, Vec<ForwardError>) {
        let (mut changes, mut errors) = (Vec::new(), Vec::new());
        let links = match self.route.links() {
            Ok(links) => links,
            Err(error) => {
                return (changes, vec![refused("looking for the links where clients come in", &error)]);
            }
        };
        let wanted: Vec<&Link> = links.iter().filter(|link| names.contains(&link.name)).collect();
        let numbers: Vec<u32> = wanted.iter().map(|link| link.index).collect();
        let gone: Vec<u32> = self.marker.attached().filter(|index| !numbers.contains(index)).collect();
        for index in gone {
            // Its number may be another link's some day.
            if let Err(error) = self.marker.detach(&mut self.route, index) {
                errors.push(refused("taking the marker from a link", &error));
            }
        }
        for link in wanted {
            match self.attach(link.index) {
                Ok(true) => changes
                    .push(ForwardingChange(format!("{}: packets that come in are marked now", link.name))),
                Ok(false) => {}
                Err(error) => errors.push(refused(&link.name, &error)),
            }
        }
        if !self.is_tidy {
            match self.marker.detach_stale(&mut self.route, &numbers) {
                Ok(_) => self.is_tidy = true,
                Err(error) => errors.push(refused("taking markers of before from other links", &error)),
            }
        }
        (changes, errors)
    }

    /// Marks nothing anywhere.
    pub(super) fn leave(&mut self) {
        let attached: Vec<u32> = self.marker.attached().collect();
        for index in attached {
            // A link that is not there any more has no filter.
            let _ = self.marker.detach(&mut self.route, index);
        }
        let _ = self.marker.detach_stale(&mut self.route, &[]);
    }

    /// Returns whether it was not there.
    fn attach(&mut self, index: u32) -> Result<bool, String> {
        let is_known = self.marker.attached().any(|attached| attached == index);
        if is_known && self.stands(index).map_err(|error| error.to_string())? {
            return Ok(false);
        }
        let attached = self.marker.attach(&mut self.route, index);
        attached.map(|()| true).map_err(|error| error.to_string())
    }

    /// Whether nobody has taken it away.
    fn stands(&mut self, index: u32) -> Result<bool, NetlinkError> {
        let filters = self.route.filters(index, Hook::Ingress)?;
        Ok(filters.iter().any(|filter: &Filter| filter.is_ours() && filter.is_in_our_place()))
    }
}

fn refused(doing: &str, why: &dyn std::fmt::Display) -> ForwardError {
    ForwardError::Kernel { doing: doing.to_owned(), why: why.to_string() }
}
