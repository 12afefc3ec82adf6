//! A name server with a zone that changes, or that is out of order.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};

/// What is said of a name and a kind of record; a name that is not there does not exist.
pub type Zone = HashMap<(&'static str, RecordType), Vec<RData>>;

/// What is answered.
#[derive(Debug)]
enum Service {
    Zone(Zone),
    /// SERVFAIL for every name.
    Fails,
    Silent,
}

/// A name server on a thread.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    service: Arc<Mutex<Service>>,
    socket: UdpSocket,
}

impl NameServer {
    pub fn start(zone: Zone) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), zone)
    }

    pub fn start_at(address: SocketAddr, zone: Zone) -> Self {
        let socket = UdpSocket::bind(address).expect("a port");
        let server = Self {
            address: socket.local_addr().expect("an address"),
            service: Arc::new(Mutex::new(Service::Zone(zone))),
            socket: socket.try_clone().expect("a second handle"),
        };
        let service = Arc::clone(&server.service);
        std::thread::spawn(move || {
            let mut bytes = [0; 1500];
            // Nothing is sent to end it.
            while let Ok((count @ 1.., client)) = socket.recv_from(&mut bytes) {
                let said = answer(&bytes[..count], &service.lock().unwrap_or_else(PoisonError::into_inner));
                if let Some(said) = said {
                    let _ = socket.send_to(&said, client);
                }
            }
        });
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn says(&self, zone: Zone) {
        self.set(Service::Zone(zone));
    }

    pub fn fail(&self) {
        self.set(Service::Fails);
    }

    pub fn fall_silent(&self) {
        self.set(Service::Silent);
    }

    fn set(&self, service: Service) {
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = service;
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.socket.send_to(&[], self.address);
    }
}

fn answer(bytes: &[u8], service: &Service) -> Option<Vec<u8>> {
    let asked = Message::from_vec(bytes).expect("a question");
    let query = asked.queries[0].clone();
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    let name = query.name().to_string().to_lowercase();
    match service {
        Service::Silent => return None,
        Service::Fails => answer.metadata.response_code = ResponseCode::ServFail,
        Service::Zone(zone) if !zone.keys().any(|(known, _)| *known == name) => {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        Service::Zone(zone) => {
            let found = zone.iter().find(|((known, kind), _)| *known == name && *kind == query.query_type());
            let data = found.map(|(_, data)| data.clone()).unwrap_or_default();
            answer.answers =
                data.into_iter().map(|data| Record::from_rdata(query.name().clone(), 0, data)).collect();
        }
    }
    answer.queries = vec![query];
    Some(answer.to_vec().expect("an answer"))
}
