//! Commands in a few classes, for whoever counts them.
use super::command::Verb;

/// What a command is about; every [`Verb`] is in one class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CommandClass {
    /// Who the client is and how the channel is protected: USER, PASS, AUTH, ADAT, PROT, …
    Login,
    /// Where data connections go: PASV, EPSV, SPAS, PORT, EPRT, SPOR, …
    Address,
    /// How data is to be sent: TYPE, MODE, REST, OPTS.
    Parameter,
    /// A file from the server: RETR, ERET, GET.
    Download,
    /// A file to the server: STOR, APPE, ESTO, STOU, PUT.
    Upload,
    /// LIST, NLST, MLSD, MLSR.
    Listing,
    /// SITE with whatever follows.
    Site,
    /// QUIT, ABOR, FEAT.
    Session,
    /// All on which the door does not act: NOOP, PWD, SIZE, MLST, …
    Other,
}

impl CommandClass {
    /// Every class, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Login,
        Self::Address,
        Self::Parameter,
        Self::Download,
        Self::Upload,
        Self::Listing,
        Self::Site,
        Self::Session,
        Self::Other,
    ];

    /// The class of a command.
    #[must_use]
    pub fn of(verb: Verb) -> Self {
        match verb {
            Verb::Acct
            | Verb::Adat
            | Verb::Auth
            | Verb::Ccc
            | Verb::Pass
            | Verb::Pbsz
            | Verb::Prot
            | Verb::Rein
            | Verb::User => Self::Login,
            Verb::Cpsv
            | Verb::Eprt
            | Verb::Epsv
            | Verb::Lprt
            | Verb::Lpsv
            | Verb::Pasv
            | Verb::Port
            | Verb::Spas
            | Verb::Spor => Self::Address,
            Verb::Mode | Verb::Opts | Verb::Rest | Verb::Type => Self::Parameter,
            Verb::Eret | Verb::Get | Verb::Retr => Self::Download,
            Verb::Appe | Verb::Esto | Verb::Put | Verb::Stor | Verb::Stou => Self::Upload,
            Verb::List | Verb::Mlsd | Verb::Mlsr | Verb::Nlst => Self::Listing,
            Verb::Site => Self::Site,
            Verb::Abor | Verb::Feat | Verb::Quit => Self::Session,
            Verb::Empty | Verb::Unclear | Verb::Other => Self::Other,
        }
    }

    /// A word for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Address => "address",
            Self::Parameter => "parameter",
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Listing => "listing",
            Self::Site => "site",
            Self::Session => "session",
            Self::Other => "other",
        }
    }
}

/// Commands of each class that nobody has counted yet. Plain numbers of one thread: they become shared ones once for
/// all that a wake-up of a session has brought.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CommandTally {
    counts: [u32; CommandClass::ALL.len()],
    /// One bit for each class of which there are some: nearly always there is one command, of one class.
    seen: u16,
}

impl CommandTally {
    pub(super) fn count(&mut self, verb: Verb) {
        let class = CommandClass::of(verb) as usize;
        self.counts[class] += 1;
        self.seen |= 1 << class;
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Hands over what is in it; it is empty afterwards.
    pub fn take(&mut self, mut each: impl FnMut(CommandClass, u32)) {
        while self.seen != 0 {
            let class = self.seen.trailing_zeros() as usize;
            self.seen &= self.seen - 1;
            each(CommandClass::ALL[class], std::mem::take(&mut self.counts[class]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_stands_at_its_number_and_no_two_share_a_word() {
        for (at, class) in CommandClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
            assert_eq!(CommandClass::ALL.iter().filter(|other| other.word() == class.word()).count(), 1);
        }
    }

    #[test]
    fn what_is_counted_is_taken_once() {
        let mut tally = CommandTally::default();
        for verb in [Verb::Retr, Verb::Other, Verb::Eret] {
            tally.count(verb);
        }
        let mut taken = Vec::new();
        tally.take(|class, count| taken.push((class, count)));
        assert_eq!(taken, [(CommandClass::Download, 2), (CommandClass::Other, 1)]);
        assert!(tally.is_empty());
        assert_eq!(tally, CommandTally::default());
        tally.take(|class, _| panic!("{class:?} again"));
    }
}
