//! Messages: what is asked, and whether what comes back is data, the end of them, or a refusal (`struct nlmsghdr`).
use super::attributes::Attributes;
use super::{FormatError, aligned, array_at, u16_at, u32_at};

/// Length, type, flags, sequence number and port.
const HEADER: usize = 16;

const PART: &str = "a message";
const ERROR_PART: &str = "an acknowledgement";

/// Types below this one mean the same in every family.
const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;

/// Flags of every message.
const REQUEST: u16 = 1;
/// The kernel has to say that it is done.
const ACK: u16 = 4;
/// A list that changed while it was read.
const DUMP_INTERRUPTED: u16 = 0x10;
/// Of a question: all that there are, `NLM_F_ROOT | NLM_F_MATCH`.
pub const DUMP: u16 = 0x300;
/// Of something new: in the place of what there is.
pub const REPLACE: u16 = 0x100;
/// Of something new: not if it is there.
pub const EXCLUSIVE: u16 = 0x200;
/// Of something new: make it if it is not there.
pub const CREATE: u16 = 0x400;

/// Of an acknowledgement: what was asked is not repeated in it but for its header.
const CAPPED: u16 = 0x100;
/// Of an acknowledgement: attributes are at its end.
const WITH_ATTRIBUTES: u16 = 0x200;
/// Of those: a sentence.
const SENTENCE: u16 = 1;

/// Something to ask of the kernel, without what the socket knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

/// Whether a request that succeeds is answered; one that fails is, in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confirm {
    /// An answer comes.
    Yes,
    /// Only if it fails; or its data, if it is a question.
    No,
}

impl Request {
    /// Of a type that the family knows, with its flags (of those above) and its own header and attributes.
    #[must_use]
    pub const fn new(kind: u16, flags: u16, body: Vec<u8>) -> Self {
        Self { kind, flags, body }
    }

    /// Appends it as it goes to the kernel.
    pub fn write(&self, bytes: &mut Vec<u8>, sequence: u32, confirm: Confirm) {
        let length = HEADER + self.body.len();
        let flags = REQUEST | self.flags | if confirm == Confirm::Yes { ACK } else { 0 };
        // Ours are some hundred bytes.
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        // The port is the socket's, which the kernel knows.
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&self.body);
        bytes.resize(bytes.len() + aligned(length) - length, 0);
    }
}

/// One that has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Message<'b> {
    /// What it is, to its family; see [`Self::answer`] for what every family has.
    pub kind: u16,
    /// Of which request it speaks; 0 of none.
    pub sequence: u32,
    flags: u16,
    payload: &'b [u8],
}

/// What a message says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer<'b> {
    /// Something of the family's own: its header and attributes.
    Data(&'b [u8]),
    /// The request is done; what was a list is at its end.
    Done,
    /// The request, or the rest of the list, is refused.
    Refused(Refusal),
    /// Messages were lost.
    Overrun,
    /// Nothing.
    Nothing,
}

/// Why something was not done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// As in errno(3).
    pub errno: i32,
    /// The kernel's own sentence, if it has one (`NLMSGERR_ATTR_MSG`).
    pub text: Option<String>,
}

/// All messages of what was received at once, in order. Ends behind the first that is none.
#[derive(Clone, Debug)]
pub struct Messages<'b>(&'b [u8]);

impl<'b> Messages<'b> {
    /// Of one datagram.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }
}

impl<'b> Iterator for Messages<'b> {
    type Item = Result<Message<'b>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        let (message, rest) = match first(bytes) {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        self.0 = rest;
        Some(Ok(message))
    }
}

fn first(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), FormatError> {
    let length = usize::try_from(u32_at(bytes, 0, PART)?).unwrap_or(usize::MAX);
    let (kind, flags) = (u16_at(bytes, 4, PART)?, u16_at(bytes, 6, PART)?);
    let sequence = u32_at(bytes, 8, PART)?;
    if length < HEADER {
        return Err(FormatError::TooShort(PART));
    }
    let payload = bytes.get(HEADER..length).ok_or(FormatError::Truncated(PART))?;
    let rest = bytes.get(aligned(length)..).unwrap_or_default();
    Ok((Message { kind, flags, sequence, payload }, rest))
}

impl<'b> Message<'b> {
    /// What it says.
    ///
    /// # Errors
    ///
    /// An acknowledgement that is cut short.
    pub fn answer(&self) -> Result<Answer<'b>, FormatError> {
        Ok(match self.kind {
            NOOP => Answer::Nothing,
            OVERRUN => Answer::Overrun,
            ERROR => match self.errno()? {
                0 => Answer::Done,
                errno => {
                    let repeated = if self.flags & CAPPED == 0 {
                        // The request, header and all, stands behind the number.
                        usize::try_from(u32_at(self.payload, 4, ERROR_PART)?).unwrap_or(usize::MAX)
                    } else {
                        HEADER
                    };
                    self.refused(errno, aligned_behind_errno(repeated))
                }
            },
            // Kernels that have nothing to say there have sent it without a number.
            DONE if self.payload.is_empty() => Answer::Done,
            DONE => match self.errno()? {
                0 => Answer::Done,
                errno => self.refused(errno, aligned_behind_errno(0)),
            },
            _ => Answer::Data(self.payload),
        })
    }

    /// Whether it is of a list that changed while it was read, and so may lack something.
    #[must_use]
    pub const fn is_inconsistent(&self) -> bool {
        self.flags & DUMP_INTERRUPTED != 0
    }

    fn errno(&self) -> Result<i32, FormatError> {
        let negative = i32::from_ne_bytes(array_at(self.payload, 0, ERROR_PART)?);
        // Positive numbers are of data that a list ends with, and no errors.
        Ok(negative.min(0).saturating_neg())
    }

    fn refused(&self, errno: i32, attributes: usize) -> Answer<'b> {
        let text = (self.flags & WITH_ATTRIBUTES != 0)
            .then(|| self.payload.get(attributes..).unwrap_or_default())
            // That the sentence cannot be read does not make it less refused.
            .and_then(|bytes| Attributes::new(bytes).find(SENTENCE).ok().flatten())
            .map(|attribute| attribute.text());
        Answer::Refused(Refusal { errno, text })
    }
}

/// Where attributes begin that stand behind the number and so many bytes.
fn aligned_behind_errno(bytes: usize) -> usize {
    bytes
        .checked_next_multiple_of(4)
        .and_then(|bytes| bytes.checked_add(size_of::<i32>()))
        .unwrap_or(usize::MAX)
}
