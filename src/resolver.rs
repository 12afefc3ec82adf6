//! The names of real servers, asked of the name service again and again.
//!
//! What an answer means is decided in [`config`](crate::config); here are the questions, one task for all of them, and
//! hickory-resolver, which this module alone names. Nothing waits for it: sessions use the servers that are known.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::{Answer, Endpoint, Model, Question, Records, Resolution, ServiceRecord};

/// How long one name server may take before the question goes to the next one, or there again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// For all the questions about one name: records, hosts, search domains.
const NAME_WITHIN: Duration = Duration::from_secs(15);

/// Names that are asked for at once; the others wait. Name servers see one burst at the start.
const MAX_ASKED: usize = 16;

/// Why names cannot be asked for.
#[derive(Debug, thiserror::Error)]
#[error("the name service cannot be used: {0}; correct /etc/resolv.conf, or set `nameservers` in [global]")]
pub struct NoNameService(String);

/// What is known of every name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    resolutions: BTreeMap<Question, Resolution>,
}

/// Asks for the names of a configuration.
pub struct NameWatch {
    resolver: Arc<TokioResolver>,
    names: Names,
}

impl std::fmt::Debug for NameWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameWatch").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Names {
    /// The servers that a name stands for now.
    #[must_use]
    pub fn endpoints(&self, question: &Question) -> &[Endpoint] {
        self.resolutions.get(question).map_or(&[], Resolution::endpoints)
    }

    /// What is known of each, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&Question, &Resolution)> {
        self.resolutions.iter()
    }

    /// Whether the servers are the same, and what is wrong.
    fn says_the_same(&self, other: &Self) -> bool {
        let said = |(question, resolution): (_, &Resolution)| {
            (question, resolution.endpoints().to_vec(), resolution.trouble().map(str::to_owned))
        };
        self.iter().map(said).eq(other.iter().map(said))
    }

    /// A configuration with the addresses of now, and what had to be left out: see [`Model::resolved`].
    #[must_use]
    pub fn apply_to(&self, file: &Model) -> (Model, Vec<String>) {
        file.resolved(|question| self.endpoints(question))
    }
}

impl NameWatch {
    /// For the names of `model`, of which nothing is known yet. To be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// The system's configuration cannot be used.
    pub fn open(model: &Model) -> Result<Self, NoNameService> {
        Self::open_with(model, Names::default())
    }

    /// The same for another configuration; what is known of its names stays.
    ///
    /// # Errors
    ///
    /// The system's configuration cannot be used.
    pub fn open_with(model: &Model, known: Names) -> Result<Self, NoNameService> {
        let mut watch = Self { resolver: Arc::new(open(&model.global.nameservers)?), names: known };
        watch.ask_for(model.questions());
        Ok(watch)
    }

    /// What is known now.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Asks for these names from now on; what is known of those that it asks for already stays.
    pub fn ask_for(&mut self, questions: Vec<Question>) {
        let now = Instant::now().into_std();
        let mut known = std::mem::take(&mut self.names.resolutions);
        let keep = |question: Question| {
            let resolution = known.remove(&question).unwrap_or_else(|| Resolution::new(now));
            (question, resolution)
        };
        self.names.resolutions = questions.into_iter().map(keep).collect();
    }

    /// Asks for every name once, for the start; `limit` at most.
    pub async fn first_answers(&mut self, limit: Duration) {
        // What has not come by then is asked for again.
        let _ = timeout(limit, self.round()).await;
    }

    /// Asks for each name when it is due, for ever, and tells what is known after each round that has changed something:
    /// the servers, or why there is no answer.
    pub async fn run(mut self, told: watch::Sender<Names>) {
        loop {
            match self.names.resolutions.values().map(Resolution::due).min() {
                Some(due) => sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
            self.round().await;
            told.send_if_modified(|before| {
                let differs = !before.says_the_same(&self.names);
                before.clone_from(&self.names);
                differs
            });
        }
    }

    /// Asks for everything that is due.
    async fn round(&mut self) {
        let now = Instant::now().into_std();
        let mut waiting: Vec<Question> = self
            .names
            .resolutions
            .iter()
            .filter(|(_, resolution)| resolution.due() <= now)
            .map(|(question, _)| question.clone())
            .collect();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < MAX_ASKED
                && let Some(question) = waiting.pop()
            {
                let resolver = Arc::clone(&self.resolver);
                asked.spawn(async move {
                    let answer = timeout(NAME_WITHIN, ask(&resolver, &question)).await;
                    let late = || Answer::Failed(format!("nothing within {NAME_WITHIN:?}"));
                    (question, answer.unwrap_or_else(|_| late()))
                });
            }
            match asked.join_next().await {
                None => return,
                Some(Ok((question, answer))) => self.take(&question, answer),
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Some(Err(_)) => {}
            }
        }
    }

    fn take(&mut self, question: &Question, answer: Answer) {
        let Some(resolution) = self.names.resolutions.get_mut(question) else { return };
        let before = resolution.trouble().map(str::to_owned);
        let changed = resolution.handle_answer(Instant::now().into_std(), answer);
        let name = question.name();
        if changed {
            let addresses: Vec<String> =
                resolution.endpoints().iter().map(|endpoint| endpoint.address.to_string()).collect();
            tracing::info!(name, addresses = addresses.join(" "), "name resolved");
        }
        match resolution.trouble() {
            Some(reason) if before.as_deref() != Some(reason) => {
                tracing::warn!(name, reason, "name not resolved");
            }
            None if before.is_some() => tracing::info!(name, "name resolved again"),
            _ => {}
        }
    }
}

fn open(nameservers: &[SocketAddr]) -> Result<TokioResolver, NoNameService> {
    let failed = |error: NetError| NoNameService(error.to_string());
    let mut builder = if nameservers.is_empty() {
        TokioResolver::builder_tokio().map_err(failed)?
    } else {
        let servers = nameservers.iter().map(|address| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = ANSWER_WITHIN;
    // Each answer is kept for as long as it holds; a second memory would only make it older.
    options.cache_size = 0;
    builder.build().map_err(failed)
}

async fn ask(resolver: &TokioResolver, question: &Question) -> Answer {
    match question {
        Question::Host(name) => host(resolver, name).await,
        Question::Service(name) => service(resolver, name).await,
    }
}

async fn host(resolver: &TokioResolver, name: &str) -> Answer {
    let addresses = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    let (v4, v6) =
        tokio::join!(resolver.lookup(name, RecordType::A), resolver.lookup(name, RecordType::AAAA));
    Answer::of_host(records(v4, addresses), records(v6, addresses))
}

async fn service(resolver: &TokioResolver, name: &str) -> Answer {
    let service = |data: &RData| match data {
        RData::SRV(record) => {
            Some((record.priority, record.weight, record.port, record.target.to_utf8().to_ascii_lowercase()))
        }
        _ => None,
    };
    match records(resolver.lookup(name, RecordType::SRV).await, service) {
        Records::Missing => Answer::Nothing,
        Records::Failed(why) => Answer::Failed(why),
        Records::Found(found, ttl) => {
            let preferred = ServiceRecord::preferred(&found);
            let mut hosts = Vec::new();
            for record in &preferred {
                // With the final dot: no search domain is tried.
                hosts.push(host(resolver, &format!("{}.", record.target)).await);
            }
            Answer::of_service(preferred, ttl, hosts)
        }
    }
}

/// The records of a lookup that `of` knows. An empty answer, and the word that there is no such name, are `Missing`.
fn records<T>(found: Result<Lookup, NetError>, of: impl Fn(&RData) -> Option<T>) -> Records<T> {
    match found {
        Ok(lookup) => {
            let ttl = lookup.valid_until().saturating_duration_since(Instant::now().into_std());
            let found: Vec<T> = lookup.answers().iter().filter_map(|record| of(&record.data)).collect();
            if found.is_empty() { Records::Missing } else { Records::Found(found, ttl) }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            Records::Missing
        }
        Err(error) => Records::Failed(shown(&error)),
    }
}

/// In the words of the system where it has some.
fn shown(error: &NetError) -> String {
    match error {
        NetError::Io(error) => io::Error::from(error.kind()).to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
pub(crate) mod tests;
