//! The way to an address (`RTM_GETROUTE`, rtnetlink(7)).
use std::net::IpAddr;

use super::FormatError;
use super::address::{family_of, host_prefix};
use super::attributes::{Attributes, put_address};
use super::message::Request;

const GET: u16 = 26;

/// Family, lengths of two prefixes, type of service, table, protocol, scope, type, and flags.
const HEADER: usize = 12;
const PART: &str = "a route";

/// `RTN_UNICAST`: to another host.
const UNICAST: u8 = 1;

const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const SOURCE: u16 = 7;
const GATEWAY_OF_OTHER_FAMILY: u16 = 18;

/// How packets go to an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Way {
    /// It is another host's, and not this one's own or one to which nothing goes.
    pub is_to_another_host: bool,
    /// By a router.
    pub is_routed: bool,
    /// The link.
    pub index: u32,
    /// This host's address, where nobody asks for another one.
    pub source: Option<IpAddr>,
}

impl Way {
    /// Of the data of the answer to [`way_to`].
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let (Some(&kind), Some(attributes)) = (data.get(7), data.get(HEADER..)) else {
            return Err(FormatError::Truncated(PART));
        };
        let mut way = Self { is_to_another_host: kind == UNICAST, is_routed: false, index: 0, source: None };
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                INTERFACE => way.index = attribute.u32()?,
                GATEWAY | GATEWAY_OF_OTHER_FAMILY => way.is_routed = true,
                SOURCE => way.source = Some(attribute.address()?),
                _ => {}
            }
        }
        Ok(Some(way))
    }
}

/// How packets go to an address. ENETUNREACH if there is no way. It is confirmed, so that it reads as a list of one.
#[must_use]
pub fn way_to(address: IpAddr) -> Request {
    let mut body = vec![0; HEADER];
    (body[0], body[1]) = (family_of(address), host_prefix(address));
    put_address(&mut body, DESTINATION, address);
    Request::new(GET, 0, body)
}
