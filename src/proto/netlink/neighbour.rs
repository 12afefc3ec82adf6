//! What hosts on the same link have which MAC address (`RTM_GETNEIGH`, rtnetlink(7)).
use std::net::IpAddr;

use super::address::family_of;
use super::attributes::Attributes;
use super::message::{DUMP, Request};
use super::{FormatError, array_at, u16_at, u32_at};

const GET: u16 = 30;

/// Family, padding, index, state, flags and type.
const HEADER: usize = 12;
const PART: &str = "a neighbour";

const ADDRESS: u16 = 1;
const MAC: u16 = 2;

/// `NUD_REACHABLE`, `NUD_STALE`, `NUD_DELAY`, `NUD_PROBE`, `NUD_NOARP`, `NUD_PERMANENT`: packets are sent there.
const USABLE: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;
const FAILED: u16 = 0x20;

/// One as the kernel knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Neighbour {
    /// Of the link.
    pub index: u32,
    /// Its address there.
    pub address: IpAddr,
    /// Where packets for it go, if that is known.
    pub mac: Option<[u8; 6]>,
    /// It was asked for, and did not answer.
    pub is_given_up: bool,
}

impl Neighbour {
    /// Of the data of an answer to [`neighbours`]; nothing for what has no address.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let attributes = Attributes::new(data.get(HEADER..).ok_or(FormatError::Truncated(PART))?);
        let (index, state) = (u32_at(data, 4, PART)?, u16_at(data, 8, PART)?);
        let Some(address) = attributes.clone().find(ADDRESS)? else { return Ok(None) };
        // Families other than those of IP have numbers of other lengths.
        let Ok(address) = address.address() else { return Ok(None) };
        let mac = attributes.find(MAC)?.filter(|mac| state & USABLE != 0 && mac.value.len() == 6);
        let mac = mac.map(|mac| array_at(mac.value, 0, PART)).transpose()?;
        Ok(Some(Self { index, address, mac, is_given_up: state & FAILED != 0 }))
    }
}

/// All neighbours of the family of this address.
#[must_use]
pub fn neighbours(like: IpAddr) -> Request {
    let mut body = vec![0; HEADER];
    body[0] = family_of(like);
    Request::new(GET, DUMP, body)
}
