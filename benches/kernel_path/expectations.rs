//! What a session waits for: an expectation set in the guest, and the reply to PASV by the door there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use gridfront::balance::{Carrier, Forwarder as _, ForwardingPlan, PortSteering};
use gridfront::forwarding::ipvs::{IpvsEngine, IpvsSettings};

use super::measuring::Outcome;
use super::support::dr_lab::DrLab;
use super::support::netns::Machine;
use super::support::uml::Uml;

/// Live at once.
const LIVE: u16 = 10_000;
const FIRST_PORT: u16 = 20_000;
/// Beside them, one after the other.
const FURTHER: u16 = 10_000;
const ANSWER: Duration = Duration::from_secs(30);

/// In microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(mut all: Vec<f64>) -> Outcome<Self> {
        all.sort_by(f64::total_cmp);
        let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied();
        let most = all.last().copied();
        Some(())
            .and_then(|()| Some(Self { p50: at(50)?, p99: at(99)?, most: most? }))
            .ok_or_else(|| "nothing measured".into())
    }
}

/// Has this program measure inside a guest, which has no door: expectations set while 10,000 are live.
pub(crate) fn in_guest(uml: &Uml, lab: &DrLab) -> Outcome<Spread> {
    let [vip, _] = DrLab::vips();
    let carriers: Vec<String> = lab.real_servers(vip).iter().map(ToString::to_string).collect();
    let program = std::env::current_exe()?;
    let words = format!("'{}' --bench --inside {vip} {}", program.display(), carriers.join(" "));
    let output = uml.attempt(&words, Duration::from_secs(180)).map_err(|why| why.to_string())?;
    let numbers: Vec<f64> =
        output.stdout.split_whitespace().map(str::parse).collect::<Result<_, _>>().unwrap_or_default();
    let [p50, p99, most] = numbers[..] else { return Err(format!("{words}: {output}").into()) };
    Ok(Spread { p50, p99, most })
}

/// The other side of [`in_guest`]: prints three numbers.
pub(crate) fn inside(addresses: &[IpAddr]) -> Outcome<()> {
    let Some((&vip, carriers)) = addresses.split_first() else { return Err("no addresses".into()) };
    let state_file = Path::new("/run/gridfront-bench.forwarding").to_owned();
    let mut engine = IpvsEngine::open(IpvsSettings { state_file })?;
    let plan = ForwardingPlan {
        interfaces: vec!["vec0".into()],
        virtual_addresses: vec![vip],
        services: Vec::new(),
        carriers: carriers.iter().map(|&address| Carrier { address, slices: Vec::new() }).collect(),
    };
    let (_, errors) = engine.apply(&plan);
    if let Some(error) = errors.into_iter().next() {
        return Err(error.into());
    }
    let steering = engine.ports().ok_or("packets cannot be marked")?;
    let client: IpAddr = "10.78.0.2".parse()?;
    let set = |steering: &dyn PortSteering, number: u16| {
        let at = SocketAddr::new(vip, FIRST_PORT + number);
        let carrier = carriers[usize::from(number) % carriers.len()];
        steering.set(Some(client), at, carrier)
    };
    for number in 0..LIVE {
        set(&*steering, number)?;
    }
    let mut took = Vec::with_capacity(usize::from(FURTHER));
    for number in LIVE..LIVE + FURTHER {
        let start = Instant::now();
        set(&*steering, number)?;
        took.push(start.elapsed().as_secs_f64() * 1e6);
        steering.clear(Some(client), SocketAddr::new(vip, FIRST_PORT + number));
    }
    engine.withdraw();
    let Spread { p50, p99, most } = Spread::of(took)?;
    println!("{p50} {p99} {most}");
    Ok(())
}

/// A session of nobody's, from the client's machine.
pub(crate) struct Session {
    reader: BufReader<TcpStream>,
    /// As replies to PASV begin it.
    announced: String,
}

impl Session {
    /// `announced` is the address where its data are to go.
    pub(crate) fn open(client: &Machine, at: SocketAddr, announced: IpAddr) -> Outcome<Self> {
        let stream = client.enter(|| TcpStream::connect_timeout(&at, ANSWER))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        let mut session = Self {
            reader: BufReader::new(stream),
            announced: format!("({},", announced.to_string().replace('.', ",")),
        };
        session.reply("220")?;
        session.ask("USER anonymous", "331")?;
        session.ask("PASS bench@", "230")?;
        session.ask("TYPE I", "200")?;
        Ok(session)
    }

    /// Microseconds from PASV until its reply.
    fn passive(&mut self) -> Outcome<f64> {
        let start = Instant::now();
        let reply = self.ask("PASV", "227")?;
        let took = start.elapsed().as_secs_f64() * 1e6;
        let Self { announced, .. } = self;
        if reply.contains(&**announced) {
            Ok(took)
        } else {
            Err(format!("{reply:?} without {announced}").into())
        }
    }

    fn ask(&mut self, command: &str, code: &str) -> Outcome<String> {
        self.reader.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.reply(code)
    }

    fn reply(&mut self, code: &str) -> Outcome<String> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err("the session has ended".into());
            }
            if line.as_bytes().get(3) == Some(&b' ') {
                return if line.starts_with(code) { Ok(line) } else { Err(line.into()) };
            }
        }
    }
}

/// So many replies to PASV of either session, in turns.
pub(crate) fn replies(kernel: &mut Session, direct: &mut Session, count: usize) -> Outcome<(Spread, Spread)> {
    let (mut by_kernel, mut by_direct) = (Vec::new(), Vec::new());
    // The first one of each asks the server whether it is fit.
    kernel.passive()?;
    direct.passive()?;
    for _ in 0..count {
        by_kernel.push(kernel.passive()?);
        by_direct.push(direct.passive()?);
    }
    Ok((Spread::of(by_kernel)?, Spread::of(by_direct)?))
}
