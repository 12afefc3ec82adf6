use std::sync::Arc;

use tokio::time::sleep;

use super::*;

async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), held).await.unwrap_or_else(|_| panic!("{what}"));
}

static TWO_PLACES: Semaphore = Semaphore::const_new(2);

#[tokio::test]
async fn a_script_whose_file_system_hangs_keeps_its_place_and_the_next_ones_say_so() {
    let begin = Begin { place_within: Duration::from_millis(50), limit: Duration::from_millis(50) };
    let (lets_go, hangs) = std::sync::mpsc::channel::<()>();
    let hangs = Arc::new(std::sync::Mutex::new(hangs));
    let hanging = || {
        let hangs = Arc::clone(&hangs);
        begin.in_a_place(&TWO_PLACES, move |_place| hangs.lock().unwrap().recv())
    };
    let mut findings = Vec::new();
    for _ in 0..4 {
        findings.push(hanging().await.map(|_| ()));
    }
    assert_eq!(findings, [NotBegun::Slow, NotBegun::Slow, NotBegun::NoPlace, NotBegun::NoPlace].map(Err));
    assert_eq!(TWO_PLACES.available_permits(), 0, "both threads still hang");
    drop(lets_go);
    until("the places come back", || TWO_PLACES.available_permits() == 2).await;
    assert_eq!(begin.in_a_place(&TWO_PLACES, |_place| 7).await.map(|(_, done)| done), Ok(7));
}
