//! What has gone through a service or to a destination.
use super::super::FormatError;
use super::super::attributes::{Attribute, Attributes};

const CONNECTIONS: u16 = 1;
const PACKETS_IN: u16 = 2;
const PACKETS_OUT: u16 = 3;
const BYTES_IN: u16 = 4;
const BYTES_OUT: u16 = 5;

/// Sums since it was made, or somebody else has set them to 0. The kernel adds to them every two seconds.
///
/// With Direct Routing nothing goes out through the balancer, so that what is out stays 0.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// Connections that were given a destination.
    pub connections: u64,
    /// Packets of clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes of clients, with IP headers.
    pub bytes_in: u64,
    /// Bytes to clients, with IP headers.
    pub bytes_out: u64,
}

/// What attributes say, in this order of belief: those of 64 bits, and those of which some have 32, which kernels before 4.1 know
/// alone.
#[derive(Default)]
pub(super) struct Found {
    wide: Option<Statistics>,
    narrow: Option<Statistics>,
}

impl Found {
    pub(super) fn read_wide(&mut self, attribute: &Attribute<'_>) -> Result<(), FormatError> {
        self.wide = Some(Statistics::read(attribute.nested())?);
        Ok(())
    }

    pub(super) fn read_narrow(&mut self, attribute: &Attribute<'_>) -> Result<(), FormatError> {
        self.narrow = Some(Statistics::read(attribute.nested())?);
        Ok(())
    }

    pub(super) fn statistics(self, part: &'static str) -> Result<Statistics, FormatError> {
        self.wide.or(self.narrow).ok_or(FormatError::Missing(part))
    }
}

impl Statistics {
    fn read(attributes: Attributes<'_>) -> Result<Self, FormatError> {
        let mut read = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            let sum = match attribute.kind {
                CONNECTIONS => &mut read.connections,
                PACKETS_IN => &mut read.packets_in,
                PACKETS_OUT => &mut read.packets_out,
                BYTES_IN => &mut read.bytes_in,
                BYTES_OUT => &mut read.bytes_out,
                _ => continue,
            };
            *sum = match attribute.value.len() {
                8 => u64::from_ne_bytes(attribute.array()?),
                _ => attribute.u32()?.into(),
            };
        }
        Ok(read)
    }
}
