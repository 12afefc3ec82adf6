use super::stub::{Said, Stub};
use super::*;

use std::path::Path;

/// A file with these real servers, asking this name server.
pub(crate) fn file(nameserver: SocketAddr, real_servers: &[&str]) -> Model {
    let mut text =
        format!("[global]\nnameservers = ['{nameserver}']\n[[virtual_server]]\naddresses = ['192.0.2.10']\n");
    for keys in real_servers {
        text.push_str(&format!("[[virtual_server.real_server]]\n{keys}\n"));
    }
    crate::config::toml::parse(Path::new("f"), &text).unwrap().model
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What is known after one round: each name with its servers, and what is wrong.
async fn first(file: &Model) -> Vec<(String, String)> {
    let mut watch = NameWatch::open(file).unwrap();
    watch.first_answers(Duration::from_secs(20)).await;
    let shown = |endpoint: &Endpoint| match &endpoint.service {
        None => endpoint.address.to_string(),
        Some(service) => {
            format!("{}={}:{}/{}", service.target, endpoint.address, service.port, service.weight)
        }
    };
    let line = |(question, resolution): (&Question, &Resolution)| {
        let mut words: Vec<String> = resolution.endpoints().iter().map(shown).collect();
        words.extend(resolution.trouble().map(str::to_owned));
        (question.name().to_owned(), words.join(" "))
    };
    watch.names().iter().map(line).collect()
}

#[tokio::test]
async fn every_kind_of_answer_is_understood() {
    let stub = Stub::start().await;
    stub.says("both.test", Said::Addresses(vec![ip("192.0.2.2"), ip("2001:db8::1"), ip("192.0.2.1")]), 60);
    stub.says("six.test", Said::Addresses(vec![ip("2001:db8::6")]), 60);
    stub.says("none.test", Said::Addresses(Vec::new()), 60);
    stub.says("broken.test", Said::Failure, 60);
    stub.says("silent.test", Said::Silence, 60);
    stub.says(
        "_gsiftp._tcp.test",
        Said::Services(vec![
            (10, 5, 2811, "six.test."),
            (10, 0, 2812, "both.test."),
            (20, 1, 2811, "none.test."),
        ]),
        60,
    );
    let keys: Vec<String> =
        ["both.test", "six.test", "none.test", "broken.test", "silent.test", "no.such.test"]
            .iter()
            .map(|name| format!("address = '{name}'"))
            .chain(["srv = '_gsiftp._tcp.test'".to_owned()])
            .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let nothing = "the name service knows no address; no server is known";
    let said = first(&file(stub.address, &keys)).await;
    let expected = [
        ("both.test", "192.0.2.1 192.0.2.2"),
        ("broken.test", "the name service does not answer: "),
        ("no.such.test", nothing),
        ("none.test", nothing),
        ("silent.test", "the name service does not answer: "),
        ("six.test", "2001:db8::6"),
        (
            "_gsiftp._tcp.test",
            "both.test=192.0.2.1:2812/1 both.test=192.0.2.2:2812/1 six.test=2001:db8::6:2811/5",
        ),
    ];
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for ((name, said), (expected_name, expected)) in said.iter().zip(expected) {
        assert_eq!(name, expected_name);
        assert!(said.starts_with(expected), "{name}: {said}");
    }
}

#[tokio::test]
async fn a_name_service_that_is_not_there_keeps_nobody_waiting_for_long() {
    // Bound and dropped: nobody is there.
    let address = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let start = Instant::now();
    let said = first(&file(address, &["address = 's1.test'"])).await;
    assert!(said[0].1.starts_with("the name service does not answer: "), "{said:?}");
    assert!(start.elapsed() < NAME_WITHIN + Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn another_configuration_keeps_what_is_known_of_its_names() {
    let stub = Stub::start().await;
    stub.says("s1.test", Said::Addresses(vec![ip("192.0.2.1")]), 60);
    let mut watch = NameWatch::open(&file(stub.address, &["address = 's1.test'"])).unwrap();
    watch.first_answers(Duration::from_secs(20)).await;
    let before = watch.names().clone();
    let (s1, s2) = (Question::Host("s1.test".into()), Question::Host("s2.test".into()));
    watch.ask_for(vec![s1.clone(), s2.clone()]);
    assert_eq!(watch.names().endpoints(&s1), before.endpoints(&s1));
    assert_eq!((watch.names().endpoints(&s1).len(), watch.names().endpoints(&s2).len()), (1, 0));
    watch.ask_for(vec![s1]);
    assert_eq!(watch.names(), &before);
}
