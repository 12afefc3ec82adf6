//! A name server for tests: what it answers can be changed while it runs.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// What is said of one name.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Addresses(Vec<IpAddr>),
    /// Priority, weight, port, target.
    Services(Vec<(u16, u16, u16, &'static str)>),
    /// SERVFAIL: it cannot say.
    Failure,
    Silence,
}

/// A running name server; it ends with the runtime of its test.
#[derive(Clone, Debug)]
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<HashMap<String, (Said, u32)>>>,
}

impl Stub {
    /// One that knows no name.
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let stub = Self { address: socket.local_addr().unwrap(), zone: Arc::default() };
        let serving = stub.clone();
        tokio::spawn(async move {
            let mut bytes = [0; 1500];
            while let Ok((count, client)) = socket.recv_from(&mut bytes).await {
                if let Some(answer) = serving.answer(&bytes[..count]) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        stub
    }

    /// From now on this is said of a name, for so many seconds.
    pub(crate) fn says(&self, name: &str, said: Said, ttl: u32) {
        self.zone.lock().unwrap().insert(format!("{name}."), (said, ttl));
    }

    fn answer(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let asked = Message::from_vec(bytes).unwrap();
        let query = asked.queries[0].clone();
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        let known = self.zone.lock().unwrap().get(&query.name().to_string().to_lowercase()).cloned();
        let record = |ttl, data| Record::from_rdata(query.name().clone(), ttl, data);
        match known {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some((Said::Failure, _)) => answer.metadata.response_code = ResponseCode::ServFail,
            Some((Said::Silence, _)) => return None,
            Some((Said::Addresses(addresses), ttl)) => {
                let of_kind =
                    addresses.into_iter().filter_map(|address| match (address, query.query_type()) {
                        (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(v4))),
                        (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(v6))),
                        _ => None,
                    });
                answer.answers = of_kind.map(|data| record(ttl, data)).collect();
            }
            Some((Said::Services(services), ttl)) if query.query_type() == RecordType::SRV => {
                let data = services.into_iter().map(|(priority, weight, port, target)| {
                    RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap()))
                });
                answer.answers = data.map(|data| record(ttl, data)).collect();
            }
            Some((Said::Services(_), _)) => {}
        }
        answer.queries = vec![query];
        Some(answer.to_vec().unwrap())
    }
}
