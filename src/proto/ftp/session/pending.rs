//! The queue of commands whose replies have not come.
use std::collections::VecDeque;

/// Most commands a session may have unanswered; beyond it the client is not read. globus-url-copy `-pp` keeps some
/// dozens under way.
pub const MAX_PENDING: usize = 1024;

/// A queue that has grown gives its memory back once it is empty and larger than this.
const KEPT_CAPACITY: usize = 8;

/// A command that the server has not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pending {
    pub(super) kind: Kind,
    /// Asked by the door: the client must not see the reply.
    pub(super) hidden: bool,
}

/// What its reply means to the door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Other,
    /// SIZE, MDTM and MLST of a file, or CWD to a directory, which may be there when its files are not.
    Path {
        file: bool,
    },
    User,
    Pass,
    Auth {
        gssapi: bool,
    },
    Adat,
    Feat,
    /// With its first letter.
    Type(u8),
    Pasv,
    Epsv {
        /// The family in which the server was asked to listen.
        ipv6: bool,
    },
    Spas,
    Port,
    /// MODE; whether it asks for E.
    Mode(bool),
    Rest,
    /// OPTS AllowDelayed; whether addresses are to come with the transfer.
    Delay(bool),
    Rein,
    Transfer,
    Quit,
    /// Some servers close at it.
    Abor,
    /// PASV or EPSV of the door's own, when a transfer begins that crosses it.
    LatePassive,
    /// PORT, EPRT or SPOR, likewise.
    LatePort,
    /// The client's SPAS; what the server answers is kept until the door has its own addresses for it.
    LateSpas,
    /// REST of the client's once more: some servers forget it at PASV or PORT.
    LateRest,
    /// An empty line. Globus closes at it, most servers answer 500, ProFTPD does not answer.
    Blank,
}

/// What a command waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gate {
    /// No command is pending that changes login, TYPE or address.
    Settled,
    /// No command is pending at all: the door is going to answer this one itself.
    Empty,
    /// The driver or the server has told what the data set-up waits for.
    Data,
}

#[derive(Debug, Default)]
pub(super) struct PendingQueue {
    queue: VecDeque<Pending>,
    unsettled: u16,
    blanks: u16,
}

impl Kind {
    fn changes_state(self) -> bool {
        !matches!(
            self,
            Self::Other
                | Self::Path { .. }
                | Self::Adat
                | Self::Feat
                | Self::Delay(_)
                | Self::Mode(_)
                | Self::Rest
                | Self::Transfer
                | Self::Quit
                | Self::Abor
                | Self::Blank
        )
    }
}

impl PendingQueue {
    pub(super) fn push(&mut self, kind: Kind, hidden: bool) {
        self.unsettled += u16::from(kind.changes_state());
        self.blanks += u16::from(kind == Kind::Blank);
        self.queue.push_back(Pending { kind, hidden });
    }

    pub(super) fn front(&self) -> Option<Pending> {
        self.queue.front().copied()
    }

    pub(super) fn back(&self) -> Option<Pending> {
        self.queue.back().copied()
    }

    pub(super) fn pop(&mut self) -> Option<Pending> {
        let pending = self.queue.pop_front()?;
        let kind = pending.kind;
        self.unsettled -= u16::from(kind.changes_state());
        self.blanks -= u16::from(kind == Kind::Blank);
        if self.queue.is_empty() && self.queue.capacity() > KEPT_CAPACITY {
            self.queue = VecDeque::new();
        }
        Some(pending)
    }

    /// Replies that the server owes for certain.
    pub(super) fn owed(&self) -> usize {
        self.queue.len() - usize::from(self.blanks)
    }

    pub(super) fn contains(&self, of: impl Fn(Kind) -> bool) -> bool {
        self.queue.iter().any(|pending| of(pending.kind))
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsettled == 0
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// A hidden command may come on top, hence the room for one more.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= MAX_PENDING
    }
}
