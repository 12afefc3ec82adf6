//! What the fuzz targets assert; also run on stable by `integration/corpus.rs`.
#![allow(dead_code)] // each target uses its own part

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use gridfront::proto::ftp::{
    Action, AddressList, BouncePolicy, Command, Connections, DataAddresses, DataPath, ForeignDataAddresses,
    Greeting, HELD_LINE, LineSplitter, Login, Outbox, Piece, RelayAnswer, RelayId, RelayRequest, ReplyCode,
    ReplyFramer, ServerData, Session, SessionPolicy, Side, Unexpected, parse_eprt, parse_port, parse_spor,
    rewrite_address_line,
};
use gridfront::proto::gsi::{
    AcceptStep, Acceptor, AcceptorConfig, Certificate, CertificateDer, Credential, MAX_NAME, PrivateKey,
    RevocationList, SigningPolicy, SigningPolicyVerdict, TrustFile, TrustStore, UnixTime, adat, ciphers,
    verify,
};
use gridfront::proto::proxy_protocol::{Header, MAX_V2, Version};
use gridfront::proto::session_sync;
use gridfront::proto::vrrp::{self, Advertisement, ChecksumForm, Instance, InstanceConfig, Priority, Role};

#[path = "checks/netlink.rs"]
mod netlink;
pub use netlink::netlink;

/// The first byte says how the rest is cut up.
fn cut(data: &[u8]) -> (usize, &[u8]) {
    match data {
        [first, rest @ ..] => (usize::from(*first).max(1), rest),
        [] => (1, data),
    }
}

/// No byte is lost, and lines end at CR LF only.
pub fn line(data: &[u8]) {
    let (chunk, data) = cut(data);
    let mut splitter = LineSplitter::default();
    let mut all = Vec::new();
    for mut part in data.chunks(chunk) {
        loop {
            match splitter.next(&mut part) {
                Ok(Some(Piece::Line(line) | Piece::Tail(line))) => {
                    assert!(line.ends_with(b"\n"));
                    all.extend_from_slice(line);
                    assert!(all.ends_with(b"\r\n"));
                }
                Ok(Some(Piece::Head(bytes))) => {
                    assert!(bytes.len() >= HELD_LINE);
                    all.extend_from_slice(bytes);
                }
                Ok(Some(Piece::Middle(bytes))) => all.extend_from_slice(bytes),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        splitter.release();
    }
    all.extend(splitter.into_remainder());
    assert_eq!(all, data);
}

/// Certificates, each behind its length in two bytes.
fn certificates(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let [high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (part, behind) = rest.split_at(length);
        parts.push(part);
        data = behind;
    }
    parts
}

/// A chain is believed only if every certificate in it is one that was really signed: the keys are gone.
pub fn gsi_path(data: &[u8]) {
    const ROOT: &[u8] = include_bytes!("gsi/root.pem");
    const KNOWN: &[u8] = include_bytes!("corpus/gsi_path/known");
    const POLICY: &[u8] = b"access_id_CA X509 '/O=Grid/CN=Root'\npos_rights globus CA:sign\n\
        cond_subjects globus '\"/O=Grid/*\"'\naccess_id_CA X509 '/O=Grid/CN=Middle'\n\
        pos_rights globus CA:sign\ncond_subjects globus '\"/O=Grid/CN=User\"'\n";
    /// In January 2027; the certificates hold until 2046.
    const NOW: Duration = Duration::from_secs(1_800_000_000);
    // The second is for the authority in between, which comes with the chain.
    let files =
        [("0000000a.0", ROOT), ("0000000a.signing_policy", POLICY), ("0000000b.signing_policy", POLICY)];
    let (trust, problems) =
        TrustStore::from_files(files.iter().map(|(name, content)| TrustFile { name, content: Ok(content) }));
    assert_eq!(problems, []);

    let parts = certificates(data);
    for part in &parts {
        if let Ok(certificate) = Certificate::from_der(part) {
            assert_eq!(certificate.der(), *part);
            assert!(certificate.subject_name().as_str().len() <= 8 * MAX_NAME);
            for extension in certificate.extensions() {
                assert!(extension.value.len() < extension.der.len() && extension.der.len() < part.len());
            }
        }
    }
    let chain: Vec<CertificateDer<'_>> = parts.iter().map(|part| CertificateDer::from(*part)).collect();
    let known = certificates(KNOWN);
    let verdict = verify(&chain, &trust, UnixTime::since_unix_epoch(NOW));
    if let Ok(path) = &verdict {
        assert!(path.certificates().iter().all(|certificate| known.contains(&certificate.der())), "BELIEVED");
        assert_eq!(path.leaf().der(), parts[0]);
        assert_eq!(path.identity().as_str(), "/O=Grid/CN=User");
    }
    // The check would hold if nothing were ever believed.
    if data == KNOWN {
        assert!(verdict.is_ok(), "{verdict:?}");
    }
}

/// What is read of a list is in it.
pub fn revocation_list(data: &[u8]) {
    if let Ok(list) = RevocationList::from_der(data) {
        assert!(list.len() * 5 <= data.len() && list.issuer().len() < data.len());
        assert!(!list.revokes(data), "nothing is within itself");
    }
}

/// A file that is understood says something of some authority, and an error names a line of it.
pub fn signing_policy(data: &[u8]) {
    match SigningPolicy::parse(data) {
        Ok(policy) => {
            // What is allowed is allowed by words of the file: without a star, only a name that stands in it.
            let known = certificates(include_bytes!("corpus/gsi_path/known"));
            let name =
                |place: usize| Certificate::from_der(known[place]).expect("a certificate").subject_name();
            let allowed = policy.verdict(&name(4), &name(2)) == SigningPolicyVerdict::Allowed;
            let plain = !data.contains(&b'*') && !data.contains(&b'\\');
            if allowed && plain {
                let text = data.to_ascii_lowercase();
                assert!(text.windows(15).any(|part| part == b"/o=grid/cn=user"), "who allowed it?");
            }
        }
        Err(error) => {
            let lines = 1 + data.iter().filter(|byte| **byte == b'\n').count();
            assert!((1..=lines).contains(&error.line), "{error}");
        }
    }
}

/// Reading a command never fails, and what is read is part of the line.
pub fn command(data: &[u8]) {
    let command = Command::parse(data);
    let (word, rest) = command.sub_command();
    assert!(word.len() + rest.len() <= command.arguments().len());
    assert!(command.start() + command.arguments().len() <= data.len());
}

/// Replies and greetings: what is said does not depend on how it arrives.
pub fn reply(data: &[u8]) {
    let (chunk, data) = cut(data);
    let mut framer = ReplyFramer::default();
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        framer.classify(line);
        if let Some(code) = ReplyCode::parse(line) {
            assert!((100..700).contains(&code.number()));
        }
    }
    let read = |chunk: usize| {
        let mut greeting = Greeting::default();
        let mut taken = 0;
        for part in data.chunks(chunk) {
            match greeting.handle(part) {
                Ok(Some((code, used))) => return Some((code, taken + used)),
                Ok(None) => taken += part.len(),
                Err(_) => return None,
            }
            let _ = greeting.last_line();
        }
        None
    };
    if let (Some(one), Some(other)) = (read(chunk), read(data.len().max(1))) {
        assert_eq!(one, other);
    }
}

/// A rewritten line is still one line, names the public address and is rewritten only once.
pub fn passive_address(data: &[u8]) {
    let (choice, line) = cut(data);
    let kind = match choice % 4 {
        0 => AddressList::HostPort,
        1 => AddressList::Extended { ipv6: false },
        2 => AddressList::Extended { ipv6: true },
        _ => AddressList::Striped,
    };
    let addresses = addresses();
    if let Some(rewritten) = rewrite_address_line(kind, line, &addresses) {
        let ends = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(ends(line), ends(&rewritten));
        let again = rewrite_address_line(kind, &rewritten, &addresses);
        assert_eq!(again.map(|line| line.escape_ascii().to_string()), None, "{}", rewritten.escape_ascii());
    }
    let _ = (parse_port(line), parse_eprt(line), parse_spor(line));
}

fn addresses() -> DataAddresses {
    let public: [IpAddr; 2] = [[198, 51, 100, 11].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11].into()];
    DataAddresses::new([10, 0, 0, 11].into(), &public, Vec::new())
}

/// A header is read alike however it arrives, and what it says can be written and read again.
pub fn proxy_protocol(data: &[u8]) {
    let whole = Header::read(data);
    if let Ok(Some((header, used))) = whole {
        assert!(used <= data.len().min(MAX_V2));
        for known in 0..used {
            assert_eq!(Header::read(&data[..known]), Ok(None));
        }
        for version in [Version::V1, Version::V2] {
            let written = header.write(version);
            assert_eq!(Header::read(&written), Ok(Some((header, written.len()))));
        }
    } else if whole == Ok(None) {
        assert!(data.len() < MAX_V2);
    }
}

/// What is read is written again as it was, and nothing that is cut is read.
pub fn session_sync(data: &[u8]) {
    let Some(connections) = session_sync::parse(data) else { return };
    // The flags are free.
    if data[5] == 0 && !connections.is_empty() && data.len() <= session_sync::MAX_DATAGRAM {
        let written = session_sync::encode(&connections);
        let is_mapped = |address: SocketAddr| address.ip().to_canonical() != address.ip();
        if !connections.iter().any(|of| is_mapped(of.client) || is_mapped(of.reached)) {
            assert_eq!(written, [data.to_vec()]);
        }
    }
    assert_eq!(session_sync::parse(&data[..data.len() - 1]), None);
}

/// An advertisement is read in one way only, and whatever a link says the router has its timer, and the addresses once or not at
/// all.
#[allow(clippy::disallowed_methods)] // a starting point in time; nothing waits
pub fn vrrp(data: &[u8]) {
    let [kind, records @ ..] = data else { return };
    let is_ipv4 = kind & 1 == 0;
    let version = if is_ipv4 && kind & 2 == 0 { vrrp::Version::V2 } else { vrrp::Version::V3 };
    let host = |last: u8| -> IpAddr {
        if is_ipv4 { [192, 0, 2, last].into() } else { [0xfe80, 0, 0, 0, 0, 0, 0, last.into()].into() }
    };
    let group: IpAddr = if is_ipv4 { vrrp::GROUP_V4.into() } else { vrrp::GROUP_V6.into() };
    let mut now = Instant::now();
    let mut instance = Instance::new(InstanceConfig {
        version,
        virtual_router_id: vrrp::VirtualRouterId::new(51).expect("not 0"),
        priority: Priority::new(100).expect("not 0"),
        interval: Duration::from_secs(1),
        addresses: vec![host(10)],
        primary_address: host(11),
        preempt: kind & 4 == 0,
        preempt_delay: Duration::from_secs(u64::from(kind >> 4)),
        password: None,
        checks_addresses: kind & 8 == 0,
    });
    instance.start(now);
    let mut has_addresses = false;
    let mut records = records;
    while let [flags, length, rest @ ..] = records {
        let (said, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        records = rest;
        if flags & 0x80 != 0 {
            now = instance.poll_timeout().expect("it runs").max(now);
            instance.handle_timeout(now);
        }
        let source = host(10 + (flags & 3));
        let mut said = said.to_vec();
        if flags & 0x40 != 0 && said.len() > 8 {
            make_right(&mut said, source, group);
        }
        if let Ok(advertisement) = Advertisement::parse(&said, source, group) {
            for form in [ChecksumForm::PseudoHeader, ChecksumForm::Rfc9568] {
                let written = advertisement.encode(form, source, group);
                assert_eq!(written.len(), said.len());
                assert_eq!(Advertisement::parse(&written, source, group).as_ref(), Ok(&advertisement));
            }
            if let Err(discard) = instance.handle_advertisement(now, source, &advertisement) {
                assert!(discard.word().is_some_and(|word| vrrp::Discard::WORDS.contains(&word)));
            }
        }
        while let Some(action) = instance.poll_action() {
            match action {
                vrrp::Action::ClaimAddresses => assert!(!std::mem::replace(&mut has_addresses, true)),
                vrrp::Action::ReleaseAddresses => assert!(std::mem::replace(&mut has_addresses, false)),
                vrrp::Action::Advertise { priority } => assert_eq!(priority, instance.priority()),
                _ => {}
            }
        }
        assert_eq!(instance.state().role() == Role::Master, has_addresses);
        assert!(instance.poll_timeout().is_some());
    }
}

/// As many bytes as the number of addresses wants, and their checksum.
fn make_right(said: &mut Vec<u8>, source: IpAddr, group: IpAddr) {
    let trailer = if said[0] >> 4 == 2 { 8 } else { 0 };
    let address = if source.is_ipv4() { 4 } else { 16 };
    said.resize(8 + address * usize::from(said[3]) + trailer, 0);
    said[6..8].fill(0);
    let mut summed = said.clone();
    if let (IpAddr::V6(source), IpAddr::V6(group)) = (source, group) {
        summed.extend([source.octets(), group.octets()].concat());
        summed.extend(u16::try_from(said.len()).expect("at most 255 addresses").to_be_bytes());
        summed.extend([0, vrrp::IP_PROTOCOL]);
    }
    let pairs = summed.as_chunks::<2>().0.iter();
    let sum: u32 = pairs.map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    let folded = (folded >> 16) + (folded & 0xffff);
    said[6..8].copy_from_slice(&(!u16::try_from(folded).expect("it is folded")).to_be_bytes());
}

/// Any text is a configuration or a list of problems.
pub fn config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Err(problems) = gridfront::config::toml::parse(Path::new("gridfront.toml"), text)
    {
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(!problem.to_string().is_empty());
        }
    }
}

/// A whole session with a client, a server and a driver that say anything: nothing panics, memory stays bounded, no
/// server that we know of reads an address that the door has not allowed, and the driver is asked for nothing that the
/// seam does not know.
pub fn session(data: &[u8]) {
    talk(data, DataPath::Direct, Mood::Prompt);
    for path in [DataPath::Relay, DataPath::Auto, DataPath::Kernel] {
        for mood in [Mood::Prompt, Mood::Late, Mood::NoPort, Mood::NoServer, Mood::Silent] {
            talk(data, path, mood);
        }
    }
}

#[allow(clippy::disallowed_methods)] // a starting point in time; nothing waits
fn talk(data: &[u8], data_path: DataPath, mood: Mood) {
    let client: IpAddr = [192, 0, 2, 7].into();
    let bounce = BouncePolicy { foreign: ForeignDataAddresses::Deny, ..BouncePolicy::default() };
    let policy = Arc::new(SessionPolicy { bounce: bounce.clone(), data_path, ..SessionPolicy::default() });
    let mut session =
        Session::new(policy, Arc::new(ServerData { addresses: addresses(), constraint: None }), client);
    if data_path == DataPath::Kernel {
        session = session.with_kernel_path();
    }
    let (mut out, now) = (Outbox::default(), Instant::now());
    let mut stash = Vec::new();
    let mut readers = Readers::default();
    let mut driver = Driver::new(mood);
    let mut rest = data;
    while let [head, tail @ ..] = rest {
        let (said, tail) = tail.split_at(usize::from(head & 0x7f).min(tail.len()));
        rest = tail;
        if head & 0x80 != 0 {
            let used = session.handle_server(now, said, &mut out);
            assert!(used <= said.len());
            assert!(used == said.len() || session.ended().is_some() || session.tunnel().is_some());
        } else {
            stash.extend_from_slice(said);
        }
        // Two answers, at most, take a transfer command through.
        for _ in 0..3 {
            if session.tunnel().is_some() {
                return;
            }
            let used = session.handle_client(now, &stash, &mut out);
            stash.drain(..used);
            assert!(stash.is_empty() || !session.accepts_client());
            assert!(!session.is_quiet() || !session.is_busy());
            driver.hear(out.actions.drain(..), data_path);
            for line in readers.hear(&out.to_server) {
                let text = String::from_utf8_lossy(&line).into_owned();
                for address in named(&line).unwrap_or_else(|| panic!("an address nobody can check: {text:?}"))
                {
                    let own = driver.told.contains(&address);
                    assert!(own || bounce.check(client, Login::No, address).is_ok(), "{text:?}");
                }
            }
            out.clear();
            if session.ended().is_some() {
                return;
            }
            match driver.answer() {
                Some((id, answer)) => session.handle_relay(now, id, answer),
                None => break,
            }
        }
    }
    session.handle_server_closed(now, &mut out);
    assert!(session.ended().is_some() && !session.accepts_client());
    driver.hear(out.actions.drain(..), data_path);
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Mood {
    Prompt,
    /// An answer comes with the record after the next.
    Late,
    NoPort,
    NoServer,
    Silent,
}

/// The driver's side of the seam.
struct Driver {
    mood: Mood,
    /// The last set-up, how many ports it has, and whether it has been started; an older one is over.
    open: Option<(RelayId, Side, usize, Option<Connections>)>,
    newest: u32,
    due: Option<(RelayId, RelayAnswer)>,
    waited: bool,
    /// What the server has been told of the door's own ports.
    told: Vec<SocketAddr>,
}

impl Driver {
    fn new(mood: Mood) -> Self {
        Self { mood, open: None, newest: 0, due: None, waited: false, told: Vec::new() }
    }

    fn hear(&mut self, actions: impl Iterator<Item = Action>, path: DataPath) {
        for action in actions {
            let Action::Relay(request) = action else { continue };
            assert!(path != DataPath::Direct && self.due.is_none(), "{request:?}");
            match request {
                RelayRequest::Listen { id, side, ports } => {
                    assert!(id.0 > self.newest && self.open.is_none() && (1..=1024).contains(&ports));
                    self.newest = id.0;
                    self.open = Some((id, side, ports, None));
                    let (host, first) = if side == Side::Client {
                        ([203, 0, 113, 1], 20_000)
                    } else {
                        ([10, 0, 0, 1], 30_000)
                    };
                    let port = |at| SocketAddr::from((host, first + u16::try_from(at).unwrap()));
                    let bound: Vec<_> = (0..ports).map(port).collect();
                    if self.mood == Mood::NoPort {
                        self.open = None;
                        self.due = Some((id, RelayAnswer::Failed("no relay port is free".into())));
                    } else {
                        if side == Side::Server {
                            self.told.clone_from(&bound);
                        }
                        self.due = Some((id, RelayAnswer::Listening(bound)));
                    }
                }
                RelayRequest::Start { id, targets, connections, .. } => {
                    let Some((known, side, ports, started @ None)) = &mut self.open else {
                        panic!("{id:?} does not listen")
                    };
                    assert_eq!((id, targets.len()), (*known, *ports));
                    *started = Some(connections);
                    if *side == Side::Client && connections == Connections::One {
                        let refused = RelayAnswer::Failed("connection refused".into());
                        let answer =
                            if self.mood == Mood::NoServer { refused } else { RelayAnswer::Connected };
                        self.due = Some((id, answer));
                    }
                }
                RelayRequest::Finish { id, .. } => {
                    let Some((known, _, _, Some(connections))) = self.open else {
                        panic!("{id:?} was not started")
                    };
                    assert_eq!(id, known);
                    if connections == Connections::One {
                        self.open = None;
                    }
                }
                RelayRequest::Close { id } => assert_eq!(self.open.take().map(|open| open.0), Some(id)),
                RelayRequest::Expect { id, port, .. } => {
                    assert!(id.0 > self.newest && self.open.is_none());
                    self.newest = id.0;
                    let answer = match self.mood {
                        Mood::NoPort => RelayAnswer::NotExpected(Unexpected::PortTaken),
                        Mood::NoServer => RelayAnswer::NotExpected(Unexpected::Closed),
                        Mood::Prompt | Mood::Late | Mood::Silent => {
                            self.open = Some((id, Side::Client, 1, None));
                            RelayAnswer::Expected(SocketAddr::from(([203, 0, 113, 1], port)))
                        }
                    };
                    self.due = Some((id, answer));
                }
            }
        }
    }

    fn answer(&mut self) -> Option<(RelayId, RelayAnswer)> {
        self.due.as_ref()?;
        if self.mood == Mood::Silent
            || (self.mood == Mood::Late && !std::mem::replace(&mut self.waited, true))
        {
            return None;
        }
        self.waited = false;
        self.due.take()
    }
}

/// The addresses of a line that some server may take for PORT, EPRT or SPOR: dCache looks at four letters only.
fn named(line: &[u8]) -> Option<Vec<SocketAddr>> {
    let line = line.trim_ascii_start();
    let (Some(verb), Some(arguments)) = (line.get(..4), line.get(4..)) else { return Some(Vec::new()) };
    let arguments = arguments.trim_ascii();
    match &verb.to_ascii_uppercase()[..] {
        b"PORT" => parse_port(arguments).map(|address| vec![address]),
        b"EPRT" => parse_eprt(arguments).map(|address| vec![address]),
        b"SPOR" => parse_spor(arguments),
        _ => Some(Vec::new()),
    }
}

/// How servers find lines in what they receive.
#[derive(Default)]
struct Readers {
    globus: Globus,
    /// Of servers that end a line at LF, whatever comes before it.
    open: Vec<u8>,
}

impl Readers {
    fn hear(&mut self, segment: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = self.globus.hear(segment);
        for byte in segment {
            if *byte == b'\n' {
                lines.push(std::mem::take(&mut self.open));
            } else {
                self.open.push(*byte);
            }
        }
        lines
    }
}

/// The telnet layer of a Globus server: whatever is left of an unfinished line is read again with each segment, with
/// the last byte of the segment before in mind.
#[derive(Default)]
struct Globus {
    buffer: Vec<u8>,
    last: u8,
}

impl Globus {
    fn hear(&mut self, segment: &[u8]) -> Vec<Vec<u8>> {
        self.buffer.extend_from_slice(segment);
        let mut lines = Vec::new();
        let mut kept = Vec::new();
        for byte in std::mem::take(&mut self.buffer) {
            // IAC takes one byte with it, WILL, WONT and DO (even without IAC) another.
            let eaten = matches!(self.last, 251..=253 | 255);
            let last = std::mem::replace(&mut self.last, byte);
            if eaten {
                continue;
            }
            match byte {
                b'\n' if last == b'\r' => {
                    kept.pop();
                    lines.push(std::mem::take(&mut kept));
                    self.last = 0;
                }
                32..=126 | 0 | 7..=9 | 11..=13 => kept.push(byte),
                _ => {}
            }
        }
        self.buffer = kept;
        lines
    }
}

/// Whatever a stranger sends behind AUTH GSSAPI is a token in one way only, and never a login.
pub fn adat(data: &[u8]) {
    static CONFIG: LazyLock<AcceptorConfig> = LazyLock::new(acceptor_config);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));
    let mut acceptor = Acceptor::new(&CONFIG, Arc::default(), now).expect("an acceptor");
    let mut is_over = false;
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        if let Ok(adat::AdatReply::Continue(token)) = adat::parse_reply(line) {
            assert_eq!(adat::parse_reply(&adat::reply(&token)), Ok(adat::AdatReply::Continue(token)));
        }
        let Ok(token) = adat::parse_command(line) else { continue };
        assert!(token.len() <= adat::MAX_TOKEN);
        assert_eq!(adat::parse_command(&adat::command(&token)).as_deref(), Ok(&token[..]));
        match acceptor.step(&token, now) {
            Ok(AcceptStep::Reply(reply)) => assert!(!is_over && !reply.is_empty()),
            Ok(other) => panic!("nobody is trusted: {other:?}"),
            Err(error) => {
                assert!(adat::refusal(&error.to_string()).ends_with(b"\r\n530 End.\r\n"));
                is_over = true;
            }
        }
    }
}

/// A key, and a certificate for it that nobody has signed: it is shown, and never looked at.
fn acceptor_config() -> AcceptorConfig {
    let element = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u16::try_from(content.len()).expect("a small certificate").to_be_bytes();
        match content.len() {
            0..0x80 => [&[tag, length[1]], &content[..]].concat(),
            0x80..0x100 => [&[tag, 0x81, length[1]], &content[..]].concat(),
            _ => [&[tag, 0x82], &length[..], &content].concat(),
        }
    };
    let key = PrivateKey::generate().expect("a key");
    let algorithm = element(0x30, &[b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"]);
    let name = element(0x30, &[&element(0x31, &[&element(0x30, &[b"\x06\x03\x55\x04\x03\x13\x01x"])])]);
    let validity = element(0x30, &[b"\x17\x0d250101000000Z\x17\x0d350101000000Z"]);
    let tbs = element(0x30, &[b"\x02\x01\x01", &algorithm, &name, &validity, &name, key.spki()]);
    let certificate = element(0x30, &[&tbs, &algorithm, b"\x03\x02\x00\x00"]);
    let credential = Credential::new(vec![certificate.into()], key).expect("a credential");
    AcceptorConfig::new(ciphers(), &credential)
}
