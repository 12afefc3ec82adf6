//! Values as the file writes them, on one line and without quotes.
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::super::duration;
use super::super::error::shown as bounded;
use super::super::model::{ServerTlsMode, vrrp};
use crate::balance::LbAlgo;
use crate::proto;
use crate::proto::ftp::{DataPath, ForeignDataAddresses};
use crate::proto::proxy_protocol::Version;

/// See the module's text.
pub(super) trait Shown {
    fn shown(&self) -> String;
}

macro_rules! as_displayed {
    ($($kind:ty),*) => {
        $(impl Shown for $kind {
            fn shown(&self) -> String {
                self.to_string()
            }
        })*
    };
}

as_displayed!(
    bool,
    i16,
    i32,
    u16,
    u32,
    u64,
    usize,
    NonZeroU8,
    NonZeroUsize,
    IpAddr,
    SocketAddr,
    ipnet::IpNet,
    LbAlgo,
    DataPath,
    ForeignDataAddresses
);

impl Shown for String {
    fn shown(&self) -> String {
        bounded(self)
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> String {
        bounded(&self.to_string_lossy())
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        duration::shown(*self)
    }
}

impl Shown for RangeInclusive<u16> {
    fn shown(&self) -> String {
        format!("{}-{}", self.start(), self.end())
    }
}

impl Shown for (IpAddr, IpAddr) {
    fn shown(&self) -> String {
        format!("{}={}", self.0, self.1)
    }
}

impl Shown for ServerTlsMode {
    fn shown(&self) -> String {
        match self {
            Self::Explicit => "explicit",
            Self::Implicit => "implicit",
        }
        .into()
    }
}

impl Shown for Version {
    fn shown(&self) -> String {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
        .into()
    }
}

impl Shown for vrrp::InitialState {
    fn shown(&self) -> String {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
        }
        .into()
    }
}

impl Shown for proto::vrrp::Version {
    fn shown(&self) -> String {
        match self {
            Self::V2 => "2",
            Self::V3 => "3",
        }
        .into()
    }
}

impl Shown for proto::vrrp::ChecksumForm {
    fn shown(&self) -> String {
        match self {
            Self::PseudoHeader => "pseudo-header",
            Self::Rfc9568 => "rfc9568",
        }
        .into()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), Shown::shown)
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> String {
        if self.is_empty() {
            return "none".into();
        }
        self.iter().map(Shown::shown).collect::<Vec<_>>().join(" ")
    }
}
