//! A driver that keeps the machine to the rules of the seam.
use std::collections::BTreeMap;

use super::super::super::relay::Unexpected;
use super::*;

/// What it does with a request that is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    Willing,
    /// There is no port.
    NoPort,
    /// The server does not take the connection.
    NoServer,
    /// It says nothing, ever.
    Silent,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Binding(Side, usize),
    Listening(Side, usize),
    /// MODE S; the server is dialled.
    Dialling,
    Running(Connections),
    /// The kernel is asked.
    Expecting(u16),
    /// It carries.
    Expected,
    /// Listens no more.
    Over,
}

/// Everything that it has been asked for, by number.
#[derive(Default)]
pub(super) struct Driver {
    relays: BTreeMap<u32, State>,
    waiting: Option<(RelayId, RelayAnswer)>,
}

impl Driver {
    /// Takes the requests out of the rig; at most one awaits an answer.
    pub(super) fn hear(&mut self, rig: &mut Rig, mood: Mood) {
        for request in rig.relay_requests() {
            self.take(request, mood);
        }
        assert!(
            self.relays.values().filter(|state| **state != State::Over).count() <= 1,
            "{:?}",
            self.relays
        );
    }

    fn take(&mut self, request: RelayRequest, mood: Mood) {
        assert!(self.waiting.is_none(), "{request:?} before the answer to the last one");
        let (id, state) = match request {
            RelayRequest::Listen { id, side, ports } => {
                assert!(self.relays.keys().all(|known| *known < id.0), "{id:?} is not new");
                assert!((1..=1024).contains(&ports));
                self.answer(id, mood, |door| door.listening(side, ports));
                (id, State::Binding(side, ports))
            }
            RelayRequest::Start { id, targets, connections, .. } => {
                let State::Listening(side, ports) = self.relays[&id.0] else {
                    panic!("{id:?} does not listen")
                };
                assert_eq!(targets.len(), ports);
                if side == Side::Client && connections == Connections::One {
                    self.answer(id, mood, |_| RelayAnswer::Connected);
                    (id, State::Dialling)
                } else {
                    (id, State::Running(connections))
                }
            }
            RelayRequest::Finish { id, .. } => match self.relays[&id.0] {
                State::Running(Connections::One) => (id, State::Over),
                state @ State::Running(Connections::Many) => (id, state),
                state => panic!("finished in {state:?}"),
            },
            RelayRequest::Close { id } => {
                let state = self.relays[&id.0];
                let listens = matches!(
                    state,
                    State::Listening(..) | State::Dialling | State::Running(_) | State::Expected
                );
                assert!(listens, "closed in {state:?}");
                (id, State::Over)
            }
            RelayRequest::Expect { id, port, .. } => {
                assert!(self.relays.keys().all(|known| *known < id.0), "{id:?} is not new");
                let refused = |why| Some((id, RelayAnswer::NotExpected(why)));
                self.waiting = match mood {
                    Mood::Willing => {
                        Some((id, RelayAnswer::Expected(SocketAddr::from(([203, 0, 113, 1], port)))))
                    }
                    Mood::NoPort => refused(Unexpected::PortTaken),
                    Mood::NoServer => refused(Unexpected::Closed),
                    Mood::Silent => None,
                };
                (id, State::Expecting(port))
            }
        };
        self.relays.insert(id.0, state);
    }

    fn answer(&mut self, id: RelayId, mood: Mood, good: impl Fn(&Self) -> RelayAnswer) {
        let good = good(self);
        let listens = matches!(good, RelayAnswer::Listening(_));
        self.waiting = match mood {
            Mood::Silent => return,
            Mood::NoPort if listens => Some((id, RelayAnswer::Failed("no relay port is free".into()))),
            Mood::NoServer if !listens => Some((id, RelayAnswer::Failed("connection refused".into()))),
            _ => Some((id, good)),
        };
    }

    fn listening(&self, side: Side, ports: usize) -> RelayAnswer {
        let first = if side == Side::Client { 52_000 } else { 53_000 };
        let ip: IpAddr = if side == Side::Client { [203, 0, 113, 1] } else { [10, 0, 0, 1] }.into();
        let number = u16::try_from(self.relays.len() % 100).unwrap();
        let port = |at: usize| first + number + u16::try_from(at).unwrap();
        RelayAnswer::Listening((0..ports).map(|at| SocketAddr::new(ip, port(at))).collect())
    }

    /// Gives the answer that is due.
    pub(super) fn speak(&mut self, rig: &mut Rig) {
        let Some((id, answer)) = self.waiting.take() else { return };
        let state = match (&answer, self.relays[&id.0]) {
            (RelayAnswer::Listening(_), State::Binding(side, ports)) => State::Listening(side, ports),
            (RelayAnswer::Connected, State::Dialling) => State::Running(Connections::One),
            (RelayAnswer::Expected(at), State::Expecting(port)) if at.port() == port => State::Expected,
            (RelayAnswer::NotExpected(_), State::Expecting(_))
            | (RelayAnswer::Failed(_), State::Binding(..)) => State::Over,
            (RelayAnswer::Failed(_), state) => state,
            (answer, state) => panic!("{answer:?} in {state:?}"),
        };
        self.relays.insert(id.0, state);
        rig.driver(id.0, answer);
    }

    pub(super) fn owes(&self) -> bool {
        self.waiting.is_some()
    }
}
