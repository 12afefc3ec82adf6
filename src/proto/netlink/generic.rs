//! Generic netlink: families that have a name and get a number when they are loaded (linux/genetlink.h,
//! Documentation/userspace-api/netlink/intro.rst).
use super::attributes::{Attributes, put_text};
use super::message::Request;
use super::{FormatError, array_at};

/// The family that knows the others. It has no other number than this.
const CONTROL: Family = Family { id: 16, version: 1 };
const NEW_FAMILY: u8 = 1;
const GET_FAMILY: u8 = 3;

const ID: u16 = 1;
const NAME: u16 = 2;
const VERSION: u16 = 3;

/// Command, version, and two bytes for later.
const HEADER: usize = 4;
const PART: &str = "a generic message";
const FAMILY_PART: &str = "a family";

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Family {
    /// The type of its messages: another one each time that the family is loaded.
    pub id: u16,
    /// Of what it understands. What we say is in this one.
    pub version: u8,
}

/// What a message of a family is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Command<'b> {
    /// What is done, or told.
    pub number: u8,
    /// What with.
    pub attributes: &'b [u8],
}

/// Asks for the family of this name, of at most 15 bytes. The kernel loads the module that has it, if it may; it refuses with ENOENT
/// if there is none.
#[must_use]
pub fn family_named(name: &str) -> Request {
    CONTROL.request(GET_FAMILY, 0, |body| put_text(body, NAME, name))
}

impl Family {
    /// Of the data of the answer; nothing if it tells of something else.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let command = Command::read(data)?;
        if command.number != NEW_FAMILY {
            return Ok(None);
        }
        let (mut id, mut version) = (None, None);
        for attribute in Attributes::new(command.attributes) {
            let attribute = attribute?;
            match attribute.kind {
                ID => id = Some(attribute.u16()?),
                VERSION => version = Some(attribute.u32()?),
                _ => {}
            }
        }
        let id = id.ok_or(FormatError::Missing("the number of a family"))?;
        let version = version.ok_or(FormatError::Missing("the version of a family"))?;
        let version = u8::try_from(version).map_err(|_| FormatError::Value(FAMILY_PART))?;
        Ok(Some(Self { id, version }))
    }

    /// A request of the family: a command of it, flags as in [`message`](super::message), and the attributes that `write` appends.
    #[must_use]
    pub fn request(self, command: u8, flags: u16, write: impl FnOnce(&mut Vec<u8>)) -> Request {
        let mut body = vec![command, self.version, 0, 0];
        write(&mut body);
        Request::new(self.id, flags, body)
    }
}

impl<'b> Command<'b> {
    /// Of the data of a message.
    ///
    /// # Errors
    ///
    /// There are fewer bytes than a header has.
    pub fn read(data: &'b [u8]) -> Result<Self, FormatError> {
        let [number, ..] = array_at::<HEADER>(data, 0, PART)?;
        Ok(Self { number, attributes: data.get(HEADER..).unwrap_or_default() })
    }
}
