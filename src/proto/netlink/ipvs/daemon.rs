//! The sync daemons: threads of the kernel that tell another host of connections by multicast.
use super::super::FormatError;
use super::super::attributes::{put_nested, put_text, put_u32};
use super::super::generic::{Command, Family};
use super::super::message::{DUMP, Request};
use super::{DAEMON, subject};

const NEW: u8 = 9;
const DELETE: u8 = 10;
const GET: u8 = 11;

const STATE: u16 = 1;
const INTERFACE: u16 = 2;
const SYNC_ID: u16 = 3;

const PART: &str = "a sync daemon";

/// Which end it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DaemonRole {
    /// It tells.
    Master,
    /// It listens.
    Backup,
}

/// One that runs, or is to. There is at most one of each role, and none beside a destination of another family than its service's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Daemon {
    /// Which end it is.
    pub role: DaemonRole,
    /// The interface of the multicast, of at most 15 bytes. It has to be up.
    pub interface: String,
    /// A backup listens to masters of its own number; one with 0 to all.
    pub sync_id: u8,
}

impl DaemonRole {
    const fn number(self) -> u32 {
        match self {
            Self::Master => 1,
            Self::Backup => 2,
        }
    }

    const fn from_number(number: u32) -> Result<Self, FormatError> {
        match number {
            1 => Ok(Self::Master),
            2 => Ok(Self::Backup),
            _ => Err(FormatError::Value("the role of a sync daemon")),
        }
    }
}

impl Daemon {
    /// Of the data of a message that tells of one, by the kernel or to it; nothing if it tells of something else.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let command = Command::read(data)?;
        if command.number != NEW {
            return Ok(None);
        }
        let (mut role, mut interface, mut sync_id) = (None, None, None);
        for attribute in subject(command, DAEMON, PART)? {
            let attribute = attribute?;
            match attribute.kind {
                STATE => role = Some(attribute.u32()?),
                INTERFACE => interface = Some(attribute.text()),
                SYNC_ID => sync_id = Some(attribute.u32()?),
                _ => {}
            }
        }
        let role = role.ok_or(FormatError::Missing("the role of a sync daemon"))?;
        let sync_id = sync_id.ok_or(FormatError::Missing("the number of a sync daemon"))?;
        Ok(Some(Self {
            role: DaemonRole::from_number(role)?,
            interface: interface.ok_or(FormatError::Missing("the interface of a sync daemon"))?,
            sync_id: u8::try_from(sync_id).map_err(|_| FormatError::Value("the number of a sync daemon"))?,
        }))
    }
}

/// Starts one; EEXIST if one of that role runs, ENODEV if there is no such interface.
#[must_use]
pub fn start_daemon(family: Family, daemon: &Daemon) -> Request {
    family.request(NEW, 0, |body| {
        put_nested(body, DAEMON, |body| {
            put_u32(body, STATE, daemon.role.number());
            put_text(body, INTERFACE, &daemon.interface);
            put_u32(body, SYNC_ID, daemon.sync_id.into());
        });
    })
}

/// Stops the one of a role; ESRCH if none runs.
#[must_use]
pub fn stop_daemon(family: Family, role: DaemonRole) -> Request {
    family.request(DELETE, 0, |body| {
        put_nested(body, DAEMON, |body| put_u32(body, STATE, role.number()));
    })
}

/// Those that run.
#[must_use]
pub fn dump_daemons(family: Family) -> Request {
    family.request(GET, DUMP, |_| {})
}
