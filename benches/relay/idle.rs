//! What relays own that do nothing: pipes, in each state a data connection waits in.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::Session;
use crate::proxies::{Product, Proxy};
use crate::results::{Results, Row};
use crate::support::usage;

/// Relays at once; as many sessions.
const RELAYS: usize = 64;
/// A little data, all of which has crossed when the relay idles again.
const LITTLE: usize = 3 << 20;
/// Many times what that takes.
const MOMENT: Duration = Duration::from_secs(1);

/// Pipes of a process: both ends of each are in its table of descriptors.
fn pipes(pid: u32) -> Outcome<usize> {
    let mut ends = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = fs::read_link(entry?.path()).unwrap_or_default();
        ends += usize::from(target.to_string_lossy().starts_with("pipe:"));
    }
    Ok(ends / 2)
}

/// Pipes of a proxy in each state, one after the other: the fewest within a moment, for bytes may still be on their way.
fn states(proxy: &Proxy) -> Outcome<[usize; 4]> {
    let count = || -> Outcome<usize> {
        let start = Instant::now();
        let mut fewest = usize::MAX;
        while start.elapsed() < MOMENT {
            usage::settle(proxy.pid())?;
            fewest = fewest.min(pipes(proxy.pid())?);
        }
        Ok(fewest)
    };
    let mut sessions = (0..RELAYS).map(|_| Session::open(proxy.address)).collect::<Outcome<Vec<_>>>()?;
    for session in &mut sessions {
        session.passive_port()?;
    }
    let announced = count()?;
    let mut data = sessions.iter_mut().map(Session::connect_data).collect::<Outcome<Vec<TcpStream>>>()?;
    let connected = count()?;
    for session in &mut sessions {
        session.begin_put(0)?;
    }
    let begun = count()?;
    let little = vec![0; LITTLE];
    for stream in &mut data {
        stream.write_all(&little)?;
    }
    let crossed = count()?;
    drop((data, sessions));
    usage::settle(proxy.pid())?;
    Ok([announced, connected, begun, crossed])
}

/// Announced ports, connections that wait for a transfer, transfers that wait for their first byte, and for the next:
/// pipes beyond those that the process keeps after a first burst.
pub(crate) fn measure(proxies: &[Proxy], results: &mut Results) -> Outcome<()> {
    let mut rows: Vec<Row> = [
        "with a port announced each",
        "with a data connection each, no transfer yet",
        "in a put each, no byte yet",
        "in a put each, 3 MiB have crossed",
    ]
    .map(|state| Row { must: Some(0.0), ..Row::new(format!("Pipes of {RELAYS} sessions {state}"), "pipes") })
    .into();
    for product in [Product::Haproxy, Product::Door] {
        let Some(proxy) = proxies.iter().find(|proxy| proxy.product == product) else { continue };
        // What the process keeps for everybody is there after a burst.
        let [.., base] = states(proxy)?;
        results.notes.push(format!("pipes that {} keeps for all: {base}", product.name()));
        let counts = states(proxy)?.map(|pipes| pipes.saturating_sub(base) as f64);
        for (row, count) in rows.iter_mut().zip(counts) {
            match product {
                Product::Haproxy => row.haproxy = Some(count),
                _ => row.door = Some(count),
            }
        }
    }
    results.rows.extend(rows);
    Ok(())
}
