//! Which services of the kernel are ours, in a file that outlives the daemon.
//!
//! A service is entered before it is made. So whatever ends us, what is ours is known, and what is not there is of somebody else.
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::os::linux::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::balance::{Entry, FlowSync, SyncRole};
use crate::proto::netlink::ipvs::{AddressFamily, ServiceKey};
use crate::sys::whole_file;

/// Some 100 bytes for each service.
const MAX_REGISTER: u64 = 8 << 20;

/// The first mark of ours: `GF` and a number. Whoever marks packets for other ends keeps away from them.
pub(super) const FIRST_MARK: u32 = 0x4746_0000;
/// As many as the rest of the mark counts; one is a service or a carrier.
const MAX_MARKED: u32 = 1 << 16;

/// The file.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    /// Of which network namespace, and since which boot: in another one nothing here is ours.
    namespace: String,
    services: Vec<Owned>,
    /// The sync daemon that is ours.
    pub(super) sync: Option<OwnedSync>,
}

/// A service that is ours.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owned {
    subject: Subject,
    mark: Option<NonZeroU32>,
}

/// What a service is for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    /// One address and port.
    Single(SocketAddr),
    /// Several, whose order does not matter.
    Group { addresses: Vec<IpAddr>, ports: Vec<RangeInclusive<u16>> },
    /// Data connections of a real server.
    Carrier(IpAddr),
}

/// A sync daemon.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnedSync {
    pub(super) is_master: bool,
    pub(super) interface: String,
    pub(super) id: u8,
}

/// Why a subject gets no service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoKey {
    /// Somebody else has one there.
    Foreign(ServiceKey),
    /// All marks are taken.
    NoMark,
}

impl Register {
    /// Nothing is ours.
    pub(super) fn new(namespace: String) -> Self {
        Self { namespace, ..Self::default() }
    }

    /// What a daemon before us has left in this namespace; nothing if there is no file, or one of another boot or namespace.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is none of ours.
    pub(super) fn load(path: &Path, namespace: String) -> Result<Self, String> {
        let mut text = String::new();
        let read = fs::File::open(path).and_then(|file| file.take(MAX_REGISTER).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::new(namespace)),
            Err(error) => return Err(format!("{}: {error}", path.display())),
            Ok(_) => {}
        }
        let register: Self = serde_json::from_str(&text).map_err(|error| {
            format!(
                "{}: {error}; which services of IPVS are gridfront's is not known: remove them by ipvsadm, and the file",
                path.display()
            )
        })?;
        Ok(if register.namespace == namespace { register } else { Self::new(namespace) })
    }

    /// Writes the file, and makes its directory.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        whole_file::write(path, (serde_json::to_string_pretty(self)? + "\n").as_bytes())
    }

    /// The key of what is ours.
    pub(super) fn keys(&self) -> impl Iterator<Item = ServiceKey> {
        self.services.iter().map(Owned::key)
    }

    /// Whether a service is ours.
    pub(super) fn has(&self, key: &ServiceKey) -> bool {
        self.keys().any(|ours| ours == *key)
    }

    /// The key of what is for a subject.
    pub(super) fn key_of(&self, subject: &Subject) -> Option<ServiceKey> {
        self.services.iter().find(|owned| owned.subject == *subject).map(Owned::key)
    }

    /// What a service of ours is for.
    pub(super) fn subject(&self, key: &ServiceKey) -> Option<&Subject> {
        self.services.iter().find(|owned| owned.key() == *key).map(|owned| &owned.subject)
    }

    /// The key of a subject: that which it has, or a new one among those that nobody has.
    ///
    /// # Errors
    ///
    /// See [`NoKey`].
    pub(super) fn enter(
        &mut self,
        subject: Subject,
        taken: &BTreeSet<ServiceKey>,
    ) -> Result<ServiceKey, NoKey> {
        if let Some(key) = self.key_of(&subject) {
            return Ok(key);
        }
        let mark = match subject {
            Subject::Single(_) => None,
            Subject::Group { .. } | Subject::Carrier(_) => Some(self.free_mark(taken).ok_or(NoKey::NoMark)?),
        };
        let owned = Owned { subject, mark };
        let key = owned.key();
        if taken.contains(&key) {
            return Err(NoKey::Foreign(key));
        }
        self.services.push(owned);
        Ok(key)
    }

    /// A service that is not there any more, or turned out to be somebody else's.
    pub(super) fn strike(&mut self, key: &ServiceKey) {
        self.services.retain(|owned| owned.key() != *key);
    }

    fn free_mark(&self, taken: &BTreeSet<ServiceKey>) -> Option<NonZeroU32> {
        let marks = self.services.iter().filter_map(|owned| owned.mark);
        let used: BTreeSet<NonZeroU32> = marks.chain(taken.iter().filter_map(mark_of)).collect();
        (FIRST_MARK..FIRST_MARK + MAX_MARKED).filter_map(NonZeroU32::new).find(|mark| !used.contains(mark))
    }
}

/// The network namespace of the thread, since this boot.
///
/// # Errors
///
/// There is no /proc.
pub(super) fn namespace() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let namespace = fs::metadata("/proc/thread-self/ns/net")?.st_ino();
    Ok(format!("{} net:[{namespace}]", boot.trim()))
}

/// The mark of a service that has one.
pub(super) fn mark_of(key: &ServiceKey) -> Option<NonZeroU32> {
    match key {
        ServiceKey::Mark { mark, .. } => Some(*mark),
        ServiceKey::Tcp(_) => None,
    }
}

impl Owned {
    fn key(&self) -> ServiceKey {
        match (&self.subject, self.mark) {
            (Subject::Single(address), None) => ServiceKey::Tcp(*address),
            (subject, mark) => ServiceKey::Mark {
                mark: mark.unwrap_or(NonZeroU32::MAX),
                family: AddressFamily::of(subject.address()),
            },
        }
    }
}

impl Subject {
    /// That of clients who come to an entry.
    pub(super) fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Single(address) => Self::Single(*address),
            Entry::Group { addresses, ports } => {
                let (mut addresses, mut ports) = (addresses.clone(), ports.clone());
                addresses.sort_unstable();
                ports.sort_unstable_by_key(|range| (*range.start(), *range.end()));
                Self::Group { addresses, ports }
            }
        }
    }

    /// One of its addresses.
    fn address(&self) -> IpAddr {
        const NONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        match self {
            Self::Single(address) => address.ip(),
            Self::Group { addresses, .. } => addresses.first().copied().unwrap_or(NONE),
            Self::Carrier(address) => *address,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Single(address) => address.fmt(to),
            Self::Group { addresses, ports } => {
                Entry::Group { addresses: addresses.clone(), ports: ports.clone() }.fmt(to)
            }
            Self::Carrier(address) => write!(to, "data connections of {address}"),
        }
    }
}

impl From<&FlowSync> for OwnedSync {
    fn from(FlowSync { role, interface, id }: &FlowSync) -> Self {
        Self { is_master: *role == SyncRole::Master, interface: interface.clone(), id: *id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(text: &str) -> Subject {
        Subject::Single(text.parse().unwrap())
    }

    fn carrier(text: &str) -> Subject {
        Subject::Carrier(text.parse().unwrap())
    }

    #[test]
    fn what_is_ours_is_read_back_where_it_was_written_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/forwarding.json");
        assert_eq!(Register::load(&path, "here".into()), Ok(Register::new("here".into())));
        let mut register = Register::new("here".into());
        let group = Subject::of(&Entry::Group {
            addresses: vec!["2001:db8::2".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            ports: vec![50_000..=50_099, 2811..=2811],
        });
        for subject in [single("192.0.2.10:2811"), group, carrier("10.0.0.1")] {
            register.enter(subject, &BTreeSet::new()).unwrap();
        }
        register.sync = Some(OwnedSync { is_master: true, interface: "eth1".into(), id: 7 });
        register.save(&path).unwrap();
        assert_eq!(Register::load(&path, "here".into()), Ok(register));
        assert_eq!(Register::load(&path, "elsewhere".into()), Ok(Register::new("elsewhere".into())));
        fs::write(&path, "{").unwrap();
        let error = Register::load(&path, "here".into()).unwrap_err();
        assert!(error.contains("forwarding.json: ") && error.contains("ipvsadm"), "{error}");
    }

    #[test]
    fn a_mark_stays_with_its_subject_and_is_free_when_that_has_gone() {
        let mark = |number| ServiceKey::Mark {
            mark: NonZeroU32::new(FIRST_MARK + number).unwrap(),
            family: AddressFamily::V4,
        };
        let mut register = Register::default();
        // Somebody else has one of our numbers.
        let taken = BTreeSet::from([mark(1)]);
        assert_eq!(register.enter(carrier("10.0.0.1"), &taken), Ok(mark(0)));
        assert_eq!(register.enter(carrier("10.0.0.2"), &taken), Ok(mark(2)));
        assert_eq!(register.enter(carrier("10.0.0.1"), &taken), Ok(mark(0)));
        register.strike(&mark(0));
        assert_eq!(register.enter(carrier("10.0.0.3"), &taken), Ok(mark(0)));
        assert_eq!(register.enter(carrier("10.0.0.1"), &taken), Ok(mark(3)));
    }

    #[test]
    fn an_address_that_somebody_else_has_is_not_entered() {
        let key = ServiceKey::Tcp("192.0.2.10:2811".parse().unwrap());
        let mut register = Register::default();
        let entered = register.enter(single("192.0.2.10:2811"), &BTreeSet::from([key]));
        assert_eq!(entered, Err(NoKey::Foreign(key)));
        assert!(!register.has(&key));
        assert_eq!(register.enter(single("192.0.2.10:2811"), &BTreeSet::new()), Ok(key));
        // Ours is taken, too, by us.
        assert_eq!(register.enter(single("192.0.2.10:2811"), &BTreeSet::from([key])), Ok(key));
    }
}
