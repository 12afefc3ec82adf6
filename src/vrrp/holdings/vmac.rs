//! An interface with the virtual router's MAC address (RFC 9568 section 7.3), so that neighbours need to learn nothing when
//! another router takes over.
use crate::proto::netlink::link::Macvlan;
use crate::sys::netlink::{NetlinkError, Route};
use crate::sys::sysctl::{self, SysctlError};

/// A macvlan that is to be there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::vrrp) struct Vmac {
    pub(in crate::vrrp) name: String,
    pub(in crate::vrrp) mac: [u8; 6],
    /// The index of the interface below it.
    pub(in crate::vrrp) parent: u32,
    /// The name of that.
    pub(in crate::vrrp) parent_name: String,
}

/// Why it is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum VmacError {
    #[error(
        "interface {0} is there and is no VMAC of this virtual router; remove it, or name another one with `vmac_interface`"
    )]
    Foreign(String),
    #[error("interface {name} cannot be made: {source}; the kernel needs the module macvlan")]
    Make { name: String, source: NetlinkError },
    #[error(transparent)]
    Settings(#[from] SysctlError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl Vmac {
    /// Takes one that is there already, such as one that a killed daemon left. Returns its index. `set_parent` makes the settings of
    /// the interface below it.
    pub(super) fn make(
        &self,
        route: &mut Route,
        set_parent: impl FnOnce() -> Result<(), SysctlError>,
    ) -> Result<u32, VmacError> {
        match route.link_named(&self.name)? {
            Some(link) if link.mac == Some(self.mac) && link.parent == Some(self.parent) => {
                self.bring_up(route, link.index, set_parent)
            }
            Some(_) => Err(VmacError::Foreign(self.name.clone())),
            None => {
                let macvlan = Macvlan { name: &self.name, mac: self.mac, parent: self.parent };
                let made = route.add_macvlan(&macvlan);
                let index = made.map_err(|source| VmacError::Make { name: self.name.clone(), source })?;
                // Nobody would remove it at the end, for nobody was told that it is there.
                self.bring_up(route, index, set_parent).inspect_err(|_| drop(route.delete_link(index)))
            }
        }
    }

    fn bring_up(
        &self,
        route: &mut Route,
        index: u32,
        set_parent: impl FnOnce() -> Result<(), SysctlError>,
    ) -> Result<u32, VmacError> {
        sysctl::OF_A_VIRTUAL_MAC.into_iter().try_for_each(|setting| sysctl::set(&self.name, setting))?;
        set_parent()?;
        route.set_up(index)?;
        Ok(index)
    }

    pub(super) fn remove(&self, route: &mut Route) -> Result<(), NetlinkError> {
        match route.link_named(&self.name)? {
            Some(link) if link.mac == Some(self.mac) => route.delete_link(link.index),
            _ => Ok(()),
        }
    }
}
