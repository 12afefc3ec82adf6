//! Kernel settings of the interface below a VMAC, which are put back once it has none any more.
use std::fmt;

use crate::sys::netlink::Route;
use crate::sys::sysctl::{self, OF_ITS_PARENT, Setting};

/// One that was changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ParentSetting {
    /// The interface's index and name.
    pub(super) parent: u32,
    pub(super) name: String,
    /// As it is.
    pub(super) setting: Setting,
    /// The value that it had.
    pub(super) before: u8,
}

impl ParentSetting {
    /// Unless the interface or the value is another one by now. Returns what went wrong.
    pub(super) fn put_back(&self, route: &mut Route) -> Result<(), String> {
        let Self { parent, name, setting, before } = self;
        let link = route.link_named(name).map_err(|error| format!("{name}: {error}"))?;
        if link.is_none_or(|link| link.index != *parent) {
            return Ok(());
        }
        sysctl::put_back(name, *setting, *before).map_err(|error| error.to_string())
    }

    /// As [`fmt::Display`] writes it; names of interfaces have no space.
    pub(super) fn parse<'w>(parent: u32, mut words: impl Iterator<Item = &'w str>) -> Option<Self> {
        let (name, key) = (words.next()?.to_owned(), words.next()?);
        let setting = OF_ITS_PARENT.into_iter().find(|setting| setting.key() == key)?;
        Some(Self { parent, name, setting, before: words.next()?.parse().ok()? })
    }
}

impl fmt::Display for ParentSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parent, name, setting, before } = self;
        write!(f, "{parent} {name} {} {before}", setting.key())
    }
}
