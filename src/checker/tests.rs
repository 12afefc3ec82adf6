use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::balance::{CheckResult, RealServerSpec};
use crate::config::CheckKind;

const SECOND: Duration = Duration::from_secs(1);

/// A probe in the configuration's defaults: `delay_loop` 10 s, `retry` 3 after 1 s each.
fn probe(number: usize, address: SocketAddr) -> Probe {
    Probe {
        virtual_server: "gridftp".into(),
        server: Arc::new(RealServer::new(RealServerSpec {
            name: format!("s{number}"),
            address,
            weight: 1,
            max_connections: None,
            fall: 4,
            rise: 1,
        })),
        check: Check {
            kind: CheckKind::Ftp,
            delay_loop: 10 * SECOND,
            connect_timeout: 3 * SECOND,
            max_time: 20 * SECOND,
            retry: 3,
            delay_before_retry: SECOND,
            rise: 1,
        },
        greeting_timeout: 10 * SECOND,
        proxy_protocol: None,
        tls: None,
        gsi: None,
    }
}

fn probes(count: usize) -> Vec<Probe> {
    (0..count).map(|number| probe(number, SocketAddr::from(([127, 0, 0, 1], 1)))).collect()
}

/// Nobody changes these.
fn unchanging(probes: Vec<Probe>) -> watch::Receiver<Vec<Probe>> {
    watch::channel(probes).1
}

/// When each server was probed, since the start.
type Starts = Arc<Mutex<Vec<(String, Duration)>>>;

/// Runs probes for `length` of paused time; `finding` says what the attempt with this number finds.
async fn rehearse(
    probes: Vec<Probe>,
    length: Duration,
    finding: impl Fn(usize) -> Finding + Clone + Send + Sync + 'static,
) -> Vec<(String, Duration)> {
    let (stop, stopped) = watch::channel(false);
    let start = Instant::now();
    let starts = Starts::default();
    let seen = Arc::clone(&starts);
    let attempt = move |probe: Arc<Probe>| {
        let (seen, finding) = (Arc::clone(&seen), finding.clone());
        async move {
            let mut seen = seen.lock().unwrap();
            seen.push((probe.server.name().to_owned(), start.elapsed()));
            finding(seen.len() - 1)
        }
    };
    let end = async {
        sleep(length).await;
        stop.send(true).unwrap();
    };
    tokio::join!(run_with(unchanging(probes), stopped, attempt), end);
    std::mem::take(&mut starts.lock().unwrap())
}

fn failed() -> Finding {
    Ok(CheckOutcome::Failed("refused".into()).into())
}

#[tokio::test(start_paused = true)]
async fn first_probes_are_spread_over_the_first_second() {
    for count in [1, 2, 3, 10, 100] {
        let mut starts = rehearse(probes(count), SECOND, |_| Ok(CheckOutcome::Passed.into())).await;
        assert_eq!(starts.len(), count);
        starts.sort_by_key(|(_, at)| *at);
        assert!(starts[0].1 < SECOND / 100, "the first one begins at once");
        let apart = SECOND / u32::try_from(count).unwrap();
        for pair in starts.windows(2) {
            assert!((pair[1].1 - pair[0].1).abs_diff(apart) <= 2 * SECOND / 1000, "{pair:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn later_probes_come_within_delay_loop_and_drift_apart() {
    let starts = rehearse(probes(3), 300 * SECOND, |_| Ok(CheckOutcome::Passed.into())).await;
    let mut pauses = Vec::new();
    for name in ["s0", "s1", "s2"] {
        let mine: Vec<_> = starts.iter().filter(|(of, _)| of == name).map(|(_, at)| *at).collect();
        assert!((30..=34).contains(&mine.len()), "{name}: {}", mine.len());
        pauses.extend(mine.windows(2).map(|pair| pair[1] - pair[0]));
    }
    let slack = SECOND / 100;
    assert!(pauses.iter().all(|pause| (9 * SECOND..=10 * SECOND + slack).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().max().unwrap().abs_diff(*pauses.iter().min().unwrap()) > SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_repeated_soon_until_the_server_is_down() {
    let probes = probes(1);
    let server = Arc::clone(&probes[0].server);
    let starts = rehearse(probes, 25 * SECOND, |_| failed()).await;
    let at: Vec<_> = starts.iter().map(|(_, at)| at.as_secs_f64().round()).collect();
    assert_eq!(at[..4], [0.0, 1.0, 2.0, 3.0]);
    assert!(at[4] >= 12.0 && at.len() == 6, "down, it is asked every delay_loop: {at:?}");
    let health = server.health();
    assert_eq!((health.up, health.last_error.as_deref()), (false, Some("refused")));
}

#[tokio::test(start_paused = true)]
async fn one_failure_among_passes_changes_nothing_but_the_next_pause() {
    let probes = probes(1);
    let server = Arc::clone(&probes[0].server);
    let starts =
        rehearse(probes, 15 * SECOND, |n| if n == 0 { failed() } else { Ok(CheckOutcome::Passed.into()) })
            .await;
    let at: Vec<_> = starts.iter().map(|(_, at)| at.as_secs_f64().round()).collect();
    assert_eq!(at[..2], [0.0, 1.0]);
    assert!(at[2] >= 10.0, "{at:?}");
    assert!(server.is_up() && server.health().since.is_none());
}

#[tokio::test(start_paused = true)]
async fn busy_and_local_trouble_leave_the_server_as_it_is() {
    for local in [false, true] {
        let probes = probes(1);
        let server = Arc::clone(&probes[0].server);
        let starts = rehearse(probes, 60 * SECOND, move |_| {
            if local {
                Err(LocalTrouble::Socket(io::Error::other("too many open files")))
            } else {
                Ok(CheckOutcome::Busy("421 full".into()).into())
            }
        })
        .await;
        assert!((6..=7).contains(&starts.len()), "no hurry: {starts:?}");
        assert!(server.is_up());
        assert_eq!(server.health().busy, !local);
        let last = server.last_check().unwrap();
        let (result, words) = if local {
            (CheckResult::NotRun, "too many open files")
        } else {
            (CheckResult::Busy, "421 full")
        };
        assert_eq!(last.result, result);
        assert!(last.found.contains(words), "{last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_configuration_makes_probes_spin() {
    let mut probes = probes(1);
    probes[0].check.delay_loop = Duration::ZERO;
    probes[0].check.delay_before_retry = Duration::ZERO;
    let starts = rehearse(probes, 10 * SECOND, |number| {
        assert!(number < 1000, "it spins");
        failed()
    })
    .await;
    assert!((90..=101).contains(&starts.len()), "{}", starts.len());
}

#[test]
fn a_delay_loop_of_ages_does_not_overflow() {
    let spread = Spread { probes: 3 };
    for round in 0..11 {
        assert!(spread.later(1, round, Duration::MAX) >= Duration::MAX / 10 * 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_one_probe_comes_out_of_run() {
    let (_stop, stopped) = watch::channel(false);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let attempt = move |_| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if call == 1 {
                resume_unwind(Box::new("a probe died"));
            }
            Ok(CheckOutcome::Passed.into())
        }
    };
    let running = tokio::spawn(run_with(unchanging(probes(3)), stopped, attempt));
    let ended = timeout(10 * SECOND, running).await.expect("it ends at once");
    let payload = ended.unwrap_err().into_panic();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"a probe died"));
    assert_eq!(calls.load(Ordering::Relaxed), 2, "the others end with it");
}

#[tokio::test(start_paused = true)]
async fn stop_lets_a_probe_finish_but_not_for_ever() {
    // An attempt takes so long after a stop at 0.5 s; when `run` returns; whether the attempt was done.
    for (takes, returns_after, finished) in [(1100, 1100, true), (10_000, 1500, false)] {
        let (stop, stopped) = watch::channel(false);
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let attempt = move |_| {
            let seen = Arc::clone(&seen);
            async move {
                sleep(Duration::from_millis(takes)).await;
                seen.store(true, Ordering::Relaxed);
                Ok(CheckOutcome::Passed.into())
            }
        };
        let start = Instant::now();
        let end = async {
            sleep(SECOND / 2).await;
            stop.send(true).unwrap();
        };
        tokio::join!(run_with(unchanging(probes(1)), stopped, attempt), end);
        assert!(start.elapsed().abs_diff(Duration::from_millis(returns_after)) < SECOND / 100, "{takes}");
        assert_eq!(done.load(Ordering::Relaxed), finished, "{takes}");
    }
}

#[tokio::test(start_paused = true)]
async fn run_waits_for_stop_without_probes_and_ends_when_nobody_can_stop_it() {
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(unchanging(Vec::new()), stopped));
    sleep(SECOND).await;
    assert!(!running.is_finished());
    drop(stop);
    running.await.unwrap();
}

/// A server that greets and parts politely until it is dropped.
async fn polite_server(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let mut quit = [0; 6];
        stream.read_exact(&mut quit).await.unwrap();
        assert_eq!(&quit, b"QUIT\r\n");
        stream.write_all(b"221 Goodbye.\r\n").await.unwrap();
    }
}

async fn in_time(happens: impl Fn() -> bool) {
    let happened = async {
        while !happens() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(10 * SECOND, happened).await.expect("it happens in time");
}

#[tokio::test]
async fn a_server_that_dies_goes_down_and_comes_back_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut probe = probe(1, address);
    probe.check.delay_loop = SHORTEST_PAUSE;
    probe.check.delay_before_retry = SHORTEST_PAUSE;
    let server = Arc::clone(&probe.server);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(unchanging(vec![probe]), stopped));

    // A reason that the first check takes away.
    let _ = server.handle_greeting(Instant::now().into_std(), Err("not yet".into()));
    let serving = tokio::spawn(polite_server(listener));
    in_time(|| server.health().last_error.is_none()).await;
    assert!(server.is_up() && server.health().since.is_none());

    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    in_time(|| !server.is_up()).await;
    assert!(server.health().last_error.unwrap().starts_with("no connection: Connection refused"));

    let again = TcpListener::bind(address).await.unwrap();
    let serving = tokio::spawn(polite_server(again));
    in_time(|| server.is_up()).await;
    assert_eq!(server.health().last_error, None);

    stop.send(true).unwrap();
    timeout(5 * SECOND, running).await.unwrap().unwrap();
    serving.abort();
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn each_change_is_one_log_line() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().json().without_time().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    rehearse(probes(1), 90 * SECOND, |number| match number {
        0..6 => failed(),
        6..9 => Err(LocalTrouble::Socket(io::Error::other("too many open files"))),
        _ => Ok(CheckOutcome::Passed.into()),
    })
    .await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["level"].as_str().unwrap(), line["fields"]["message"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("WARN", "real server down"), ("WARN", "check could not run"), ("INFO", "real server up")]
    );
    for line in &lines {
        assert_eq!(line["fields"]["virtual_server"], "gridftp");
        assert_eq!(line["fields"]["real_server"], "s0");
    }
    assert_eq!(lines[0]["fields"]["reason"], "refused");
    assert_eq!(lines[2]["fields"]["reason"], "check passed");
}

#[tokio::test(start_paused = true)]
async fn a_change_leaves_the_probes_alone_that_stay() {
    let (stop, stopped) = watch::channel(false);
    let start = Instant::now();
    let starts = Starts::default();
    let seen = Arc::clone(&starts);
    let attempt = move |probe: Arc<Probe>| {
        seen.lock().unwrap().push((probe.server.name().to_owned(), start.elapsed()));
        async { Ok(CheckOutcome::Passed.into()) }
    };
    let three = probes(3);
    let mut other = three[1].clone();
    other.check.delay_loop = 20 * SECOND;
    let (change, changing) = watch::channel(three[..2].to_vec());
    let script = async {
        sleep(25 * SECOND).await;
        // s0 stays, s1 is asked in another way, s2 is new; then all but s0 go, and it stands elsewhere in the list.
        change.send_replace(vec![three[2].clone(), three[0].clone(), other]);
        sleep(25 * SECOND).await;
        change.send_replace(vec![three[0].clone()]);
        sleep(50 * SECOND).await;
        stop.send(true).unwrap();
    };
    tokio::join!(run_with(changing, stopped, attempt), script);
    let starts = std::mem::take(&mut *starts.lock().unwrap());
    let of = |name: &str| -> Vec<Duration> {
        starts.iter().filter(|(server, _)| server == name).map(|&(_, at)| at).collect()
    };
    let undisturbed = rehearse(
        vec![
            probe(0, SocketAddr::from(([127, 0, 0, 1], 1))),
            probe(1, SocketAddr::from(([127, 0, 0, 1], 1))),
        ],
        100 * SECOND,
        |_| Ok(CheckOutcome::Passed.into()),
    )
    .await;
    let undisturbed: Vec<Duration> =
        undisturbed.into_iter().filter(|(server, _)| server == "s0").map(|(_, at)| at).collect();
    assert_eq!(of("s0"), undisturbed, "its rhythm is that of two probes that nobody changes");
    let within = |from: u64, to: u64, at: &Duration| (from * SECOND.as_secs()..to).contains(&at.as_secs());
    assert!(of("s2").iter().all(|at| within(25, 50, at)) && of("s2").len() == 3, "{starts:?}");
    assert_eq!(of("s1").iter().filter(|at| within(0, 25, at)).count(), 3, "{starts:?}");
    assert_eq!(of("s1").iter().filter(|at| within(25, 50, at)).count(), 2, "{starts:?}");
    assert_eq!(of("s1").iter().filter(|at| within(50, 100, at)).count(), 0, "{starts:?}");
}
