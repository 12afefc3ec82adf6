use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::config::Model;
use crate::proxy::now;
use crate::resolver::stub::{Said, Stub};
use crate::resolver::tests::file;

/// The addresses that a configuration's real servers have.
fn addresses(model: &Model) -> Vec<String> {
    model.virtual_servers[0]
        .real_servers
        .iter()
        .map(|real| format!("{} {}", real.name, real.address))
        .collect()
}

/// TTL 0 is asked again after the shortest time that there is, 5 s.
#[tokio::test(start_paused = true)]
async fn each_change_is_applied_once_and_a_failure_changes_nothing() {
    let stub = Stub::start().await;
    let says = |last: &[u8]| {
        let addresses = last.iter().map(|&last| std::net::IpAddr::from([192, 0, 2, last])).collect();
        stub.says("s.test", Said::Addresses(addresses), 0);
    };
    says(&[1]);
    let file = file(stub.address, &["address = 's.test'", "name = 'fix'\naddress = '192.0.2.99'"]);
    let mut watch = NameWatch::open(&file).unwrap();
    watch.first_answers(Duration::from_secs(10)).await;
    let (running, _) = watch.names().apply_to(&file);
    assert_eq!(addresses(&running), ["s.test 192.0.2.1", "fix 192.0.2.99"]);

    let naming = std::sync::Arc::new(Naming::default());
    naming.ask(Some(watch));
    let mut known = naming.told.subscribe();
    let (applied, mut models) = tokio::sync::mpsc::unbounded_channel();
    let running = Mutex::new(running);
    let of_task = std::sync::Arc::clone(&naming);
    let following = tokio::spawn(async move {
        let apply = || {
            let (model, _) = of_task.known().apply_to(&file);
            let before = std::mem::replace(&mut *running.lock().unwrap(), model.clone());
            if model != before {
                applied.send(addresses(&model)).unwrap();
            }
            std::future::ready(true)
        };
        follow_with(&of_task, apply).await;
    });
    says(&[1, 2]);
    let next = timeout(Duration::from_secs(20), models.recv()).await.unwrap().unwrap();
    assert_eq!(next, ["s.test 192.0.2.1", "s.test:192.0.2.2:2811 192.0.2.2", "fix 192.0.2.99"]);
    // The name service fails, which is told, and then knows one server less, which is applied.
    stub.says("s.test", Said::Failure, 0);
    let failed = known.wait_for(|names| names.iter().any(|(_, of_it)| of_it.trouble().is_some()));
    let names = timeout(Duration::from_secs(20), failed).await.unwrap().unwrap().clone();
    let status = NameStatus::all(&names, names.iter().next().unwrap().1.due());
    assert_eq!(status[0].addresses, ["192.0.2.1", "192.0.2.2"], "the last good answer is kept");
    assert!(
        status[0].reason.as_deref().unwrap_or_default().ends_with("; the last answer is kept"),
        "{status:?}"
    );
    says(&[2]);
    let next = timeout(Duration::from_secs(20), models.recv()).await.unwrap().unwrap();
    assert_eq!(next, ["s.test:192.0.2.2:2811 192.0.2.2", "fix 192.0.2.99"]);
    assert!(models.is_empty(), "nothing else was applied");
    following.abort();
}

/// What a reload does with a configuration, a change of names does, too: servers that stay keep their sessions, those that
/// have gone get no new one.
#[tokio::test]
async fn servers_that_come_and_go_by_name_are_generations_of_one_door() {
    use crate::balance::Tried;
    use crate::proxy::Generation;

    let stub = Stub::start().await;
    let says = |last: &[u8]| {
        let addresses = last.iter().map(|&last| std::net::IpAddr::from([192, 0, 2, last])).collect();
        stub.says("s.test", Said::Addresses(addresses), 0);
    };
    let file = file(stub.address, &["address = 's.test'"]);
    let model = async || {
        let mut watch = NameWatch::open(&file).unwrap();
        watch.first_answers(Duration::from_secs(10)).await;
        watch.names().apply_to(&file).0
    };
    let today = super::super::today();
    says(&[1, 2]);
    let (first, _) = Generation::first(&model().await, today).unwrap();
    let client = std::net::IpAddr::from([198, 51, 100, 7]);
    let place = |generation: &Generation| {
        generation.services()[0].virtual_server.place(now(), client, &Tried::default()).unwrap()
    };
    let held = [place(&first), place(&first)];
    says(&[2, 3]);
    let second =
        first.next(&model().await, today).unwrap().take_over(now(), &crate::proxy::SessionTable::new(now()));
    let servers = second.services()[0].virtual_server.real_servers();
    let shown: Vec<_> =
        servers.iter().map(|server| (server.address().ip().to_string(), server.active())).collect();
    assert_eq!(shown, [("192.0.2.2".to_owned(), 1), ("192.0.2.3".to_owned(), 0)], "counts stay");
    let gone = held.iter().find(|held| held.real_server().address().ip().to_string() == "192.0.2.1").unwrap();
    assert!(gone.real_server().is_removed() && gone.real_server().active() == 1, "its session goes on");
    let next: Vec<_> = (0..4).map(|_| place(&second).real_server().address().ip().to_string()).collect();
    assert!(!next.contains(&"192.0.2.1".to_owned()), "{next:?}");
}
