//! What may go wrong between the kernel and us.
use std::fmt;
use std::io;

use rustix::io::Errno;

use crate::proto::netlink::FormatError;
use crate::proto::netlink::message::Refusal;

/// Why a request was not done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NetlinkError {
    /// The kernel says so, or the socket.
    Refused {
        /// As in errno(3).
        errno: Errno,
        /// The kernel's own sentence, if it has one.
        text: Option<String>,
    },
    /// No answer came. What was asked may have been done.
    Silent,
    /// What came cannot be read.
    Format(FormatError),
    /// What was asked for changed meanwhile.
    Inconsistent,
    /// Some of the answer is lost: there was no room for it in the socket's buffer (ENOBUFS).
    Overflow,
    /// Some of the answer is lost: a part of it was larger than the kernel makes them.
    CutShort,
}

impl NetlinkError {
    pub(super) const fn of(errno: Errno) -> Self {
        Self::Refused { errno, text: None }
    }

    /// The kernel's reason, if it gave one.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Silent | Self::Format(_) | Self::Inconsistent | Self::Overflow | Self::CutShort => None,
        }
    }

    /// Whether what was to be changed or taken away, or what it is part of, was not there. A scheduler that the kernel does not
    /// have is an absence, too.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::SRCH | Errno::ADDRNOTAVAIL | Errno::NODEV))
    }

    /// Whether what was to be made was there.
    #[must_use]
    pub fn is_presence(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { errno, text } => {
                write!(to, "the kernel refused: {}", io::Error::from(*errno))?;
                if let Some(text) = text {
                    write!(to, ": {text}")?;
                }
                match *errno {
                    Errno::PERM | Errno::ACCESS => to.write_str("; it takes CAP_NET_ADMIN"),
                    _ => Ok(()),
                }
            }
            Self::Silent => to.write_str("the kernel did not answer"),
            Self::Format(error) => write!(to, "the kernel's answer cannot be read: {error}"),
            Self::Inconsistent => to.write_str("what was asked for changed meanwhile"),
            Self::Overflow => to.write_str("some of the kernel's answer is lost: there was no room for it"),
            Self::CutShort => to.write_str("some of the kernel's answer is lost: it is longer than expected"),
        }
    }
}

impl std::error::Error for NetlinkError {}

impl From<FormatError> for NetlinkError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<Errno> for NetlinkError {
    fn from(errno: Errno) -> Self {
        Self::of(errno)
    }
}

impl From<Refusal> for NetlinkError {
    fn from(Refusal { errno, text }: Refusal) -> Self {
        Self::Refused { errno: Errno::from_raw_os_error(errno), text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_kernels_words_and_what_it_takes() {
        let refused = |errno, text: Option<&str>| {
            NetlinkError::from(Refusal { errno, text: text.map(str::to_owned) }).to_string()
        };
        assert_eq!(
            refused(1, None),
            "the kernel refused: Operation not permitted (os error 1); it takes CAP_NET_ADMIN"
        );
        assert_eq!(
            refused(22, Some("ipv4: Invalid prefix length")),
            "the kernel refused: Invalid argument (os error 22): ipv4: Invalid prefix length"
        );
        assert_eq!(NetlinkError::Silent.errno(), None);
    }

    #[test]
    fn what_is_there_is_told_from_what_is_not() {
        for (errno, is_presence, is_absence) in [
            (Errno::EXIST, true, false),
            (Errno::NOENT, false, true),
            (Errno::SRCH, false, true),
            (Errno::NODEV, false, true),
            (Errno::ADDRNOTAVAIL, false, true),
            (Errno::INVAL, false, false),
        ] {
            let error = NetlinkError::of(errno);
            assert_eq!((error.is_presence(), error.is_absence()), (is_presence, is_absence), "{errno}");
        }
        assert!(!NetlinkError::Overflow.is_absence() && !NetlinkError::CutShort.is_absence());
    }
}
