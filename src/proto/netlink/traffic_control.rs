//! Programs at the entrance of links (`RTM_NEWQDISC`, `RTM_NEWTFILTER` and their kin, rtnetlink(7), tc-bpf(8)).
use super::attributes::{Attributes, put_nested, put_text, put_u32};
use super::message::{CREATE, DUMP, EXCLUSIVE, Request};
use super::{FormatError, u32_at};

const NEW_QDISC: u16 = 36;
const DELETE_QDISC: u16 = 37;
const GET_QDISC: u16 = 38;
const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;

/// Family, padding, index, handle, parent and what else belongs to it (`struct tcmsg`).
const HEADER: usize = 20;
const PART: &str = "a part of traffic control";

/// `TC_H_CLSACT`, and the number that its qdisc has.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;

/// `ETH_P_ALL`, in the byte order of the network as everywhere here.
const EVERY_PROTOCOL: u16 = 0x0003_u16.to_be();

const KIND: u16 = 1;
const OPTIONS: u16 = 2;

const BPF_DESCRIPTOR: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
/// What the program returns is done, and is no class.
const DIRECT_ACTION: u32 = 1;

/// What is asked before everything that is set without a thought for its place: tc(8) begins at 49152 and counts down.
pub const PRIORITY: u16 = 28;

/// Ours among those of the same priority.
pub const HANDLE: u32 = 2811;

/// By which ours is known, whoever has attached it.
pub const NAME: &str = "gridfront";

/// Where a filter is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hook {
    /// What comes in by the link.
    Ingress,
    /// What goes out.
    Egress,
}

/// What arranges the packets of a link, as far as we care.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Qdisc {
    /// Of its link.
    pub index: u32,
    /// `clsact`, `ingress`, `fq` and so on.
    pub kind: String,
}

/// A filter as the kernel describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// Of its link.
    pub index: u32,
    /// Lower ones are asked first.
    pub priority: u16,
    /// Its number, within the priority.
    pub handle: u32,
    /// `bpf`, `u32`, `flower` and so on.
    pub kind: String,
    /// Of `bpf`: what it is called.
    pub name: Option<String>,
}

impl Hook {
    const fn parent(self) -> u32 {
        match self {
            Self::Ingress => 0xffff_fff2,
            Self::Egress => 0xffff_fff3,
        }
    }
}

impl Qdisc {
    /// Of the data of an answer to [`qdiscs`].
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let attributes = Attributes::new(data.get(HEADER..).ok_or(FormatError::Truncated(PART))?);
        let kind = attributes.find(KIND)?.map(|kind| kind.text()).unwrap_or_default();
        Ok(Some(Self { index: u32_at(data, 4, PART)?, kind }))
    }

    /// Whether filters can be added at the entrance.
    #[must_use]
    pub fn is_at_ingress(&self) -> bool {
        ["clsact", "ingress"].contains(&self.kind.as_str())
    }
}

impl Filter {
    /// Of the data of an answer to [`filters`]; nothing where it tells of a priority and not of a filter.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let attributes = data.get(HEADER..).ok_or(FormatError::Truncated(PART))?;
        let handle = u32_at(data, 8, PART)?;
        if handle == 0 {
            return Ok(None);
        }
        // The upper half; the lower one is the protocol.
        let [_, _, high, low] = u32_at(data, 16, PART)?.to_le_bytes();
        let mut filter = Self {
            index: u32_at(data, 4, PART)?,
            priority: u16::from_le_bytes([high, low]),
            handle,
            kind: String::new(),
            name: None,
        };
        let mut options = None;
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                KIND => filter.kind = attribute.text(),
                OPTIONS => options = Some(attribute.nested()),
                _ => {}
            }
        }
        // Numbers of attributes mean something else to others.
        if let Some(options) = options.filter(|_| filter.kind == "bpf") {
            filter.name = options.find(BPF_NAME)?.map(|name| name.text());
        }
        Ok(Some(filter))
    }

    /// Whether it is one of ours, of this daemon or of one before.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name.as_deref() == Some(NAME)
    }

    /// Whether it stands where ours is put, and would be replaced by it.
    #[must_use]
    pub const fn is_in_our_place(&self) -> bool {
        self.priority == PRIORITY && self.handle == HANDLE
    }
}

/// All qdiscs of the namespace.
#[must_use]
pub fn qdiscs() -> Request {
    Request::new(GET_QDISC, DUMP, header(0, 0, 0, 0))
}

/// Makes room for filters at the entrance and the exit of a link. EEXIST if there is some at the entrance.
#[must_use]
pub fn add_clsact(index: u32) -> Request {
    let mut body = header(index, CLSACT_HANDLE, CLSACT, 0);
    put_text(&mut body, KIND, "clsact");
    Request::new(NEW_QDISC, CREATE | EXCLUSIVE, body)
}

/// Takes it away, with all filters in it. ENOENT if there is none.
#[must_use]
pub fn remove_clsact(index: u32) -> Request {
    let mut body = header(index, CLSACT_HANDLE, CLSACT, 0);
    put_text(&mut body, KIND, "clsact");
    Request::new(DELETE_QDISC, 0, body)
}

/// All filters at one end of a link; none if there is no room for any.
#[must_use]
pub fn filters(index: u32, hook: Hook) -> Request {
    Request::new(GET_FILTER, DUMP, header(index, 0, hook.parent(), 0))
}

/// Has a program see everything that comes in by a link, in the place of what stands in ours, without a packet in between that
/// sees neither. `program` is a descriptor of this process.
#[must_use]
pub fn attach(index: u32, program: u32) -> Request {
    let mut body = header(index, HANDLE, Hook::Ingress.parent(), info(PRIORITY, EVERY_PROTOCOL));
    put_text(&mut body, KIND, "bpf");
    put_nested(&mut body, OPTIONS, |options| {
        put_u32(options, BPF_DESCRIPTOR, program);
        put_text(options, BPF_NAME, NAME);
        put_u32(options, BPF_FLAGS, DIRECT_ACTION);
    });
    Request::new(NEW_FILTER, CREATE, body)
}

/// Takes a filter of the kind `bpf` for every protocol away from the entrance of a link. ENOENT if it is not there.
#[must_use]
pub fn detach(index: u32, priority: u16, handle: u32) -> Request {
    let mut body = header(index, handle, Hook::Ingress.parent(), info(priority, EVERY_PROTOCOL));
    put_text(&mut body, KIND, "bpf");
    Request::new(DELETE_FILTER, 0, body)
}

fn info(priority: u16, protocol: u16) -> u32 {
    u32::from(priority) << 16 | u32::from(protocol)
}

fn header(index: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for number in [index, handle, parent, info] {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    bytes
}
