//! `health`: whether the cluster answers, and what brokers say of themselves.

use std::time::{Duration, Instant};

use client::{Client, ClientSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::AdminPages;
use crate::desk::Visit;
use crate::tool::{Effect, Tool, ToolError};

/// Longest wait for one answer of a broker.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a page that are shown.
const PAGE_BYTES_MAX: usize = 8 << 10;
/// What `/readyz` answers where requests are taken.
const OK: u16 = 200;

/// See [`Tool::NAME`].
pub(super) struct Health;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Arguments {}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer {
    /// Whether a broker answers as a Kafka broker, every partition has a leader and every admin listener says ready
    healthy: bool,
    /// What is wrong
    problems: Vec<String>,
    /// Milliseconds that the cluster took to tell its topics; null if it did not
    answered_in_ms: Option<u64>,
    brokers: usize,
    partitions: usize,
    /// What admin listeners say
    listeners: Vec<Listener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct Listener {
    address: String,
    /// Whether /readyz says that the broker takes requests
    ready: bool,
    /// What /readyz says
    readyz: String,
    /// What /healthz says: the state of the broker
    healthz: String,
}

impl Tool for Health {
    type Arguments = Arguments;
    type Answer = Answer;

    const NAME: &'static str = "health";
    const TITLE: &'static str = "Health";
    const DESCRIPTION: &'static str = "Tell whether the cluster is well: whether brokers answer, which partitions no broker \
        serves, and what the brokers' own health pages say (readiness with reasons, state of the object store).";
    const EFFECT: Effect = Effect::Reads;

    fn run(visit: &mut Visit, _: Arguments) -> Result<Answer, ToolError> {
        let mut answer = Answer {
            healthy: true,
            problems: Vec::new(),
            answered_in_ms: None,
            brokers: 0,
            partitions: 0,
            listeners: Vec::new(),
            note: None,
        };
        answer.ask_cluster(visit);
        let pages = visit.admin().clone();
        answer.ask_listeners(&pages);
        if pages.addresses().is_empty() {
            let text = "brokers were not asked for their own state: start this server with --admin URL to have it";
            answer.note = Some(text.to_owned());
        }
        answer.healthy = answer.problems.is_empty();
        Ok(answer)
    }
}

impl Answer {
    /// Asks as any client does. That it fails is what the caller wants to know.
    fn ask_cluster(&mut self, visit: &Visit) {
        let begun = Instant::now();
        // A client of its own, that does not try again: what is wrong now is to be told, and soon.
        let given = visit.settings();
        let settings = ClientSettings {
            connect_timeout: given.connect_timeout.min(ANSWER_TIME_MAX),
            request_timeout: given.request_timeout.min(ANSWER_TIME_MAX),
            retry_timeout: Duration::ZERO,
            ..given.clone()
        };
        let asked = Client::connect(settings).and_then(|mut client| {
            let topics = client.all_topics()?;
            Ok((topics, client.metadata().brokers.len()))
        });
        let (topics, brokers) = match asked {
            Ok(found) => found,
            Err(error) => return self.problems.push(error.to_string()),
        };
        let took = begun.elapsed().as_millis();
        self.answered_in_ms = Some(u64::try_from(took).unwrap_or(u64::MAX));
        self.brokers = brokers;
        let partitions = || topics.iter().flat_map(|topic| &topic.partitions);
        self.partitions = partitions().count();
        let leaderless = partitions().filter(|it| it.leader.is_none()).count();
        if leaderless > 0 {
            let text =
                format!("{leaderless} partitions have no leader; `describe_cluster` names them");
            self.problems.push(text);
        }
    }

    fn ask_listeners(&mut self, pages: &AdminPages) {
        let both = pages
            .read("/readyz")
            .into_iter()
            .zip(pages.read("/healthz"));
        for ((address, ready), (_, health)) in both {
            let (ready, health) = match (ready, health) {
                (Ok(ready), Ok(health)) => (ready, health),
                (Err(error), _) | (_, Err(error)) => {
                    self.problems.push(error);
                    continue;
                }
            };
            let listener = Listener {
                ready: ready.status == OK,
                readyz: shown(&ready.text),
                healthz: shown(&health.text),
                address,
            };
            if !listener.ready {
                let text = format!("{} is not ready: {}", listener.address, listener.readyz);
                self.problems.push(text);
            }
            self.listeners.push(listener);
        }
    }
}

fn shown(text: &str) -> String {
    let text = text.trim_end();
    text[..text.floor_char_boundary(PAGE_BYTES_MAX)].to_owned()
}
