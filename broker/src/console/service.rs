//! The half of the console that belongs to a session of the broker: answers what is asked about it.
//!
//! Control thread, as tasks of one loop: a bounded number of answers are under way, none holds a borrow across an await,
//! and one that panics costs nothing but itself.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hyper::{Method, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::access::{Access, Viewer};
use super::api::{self, Question};
use super::call::{Answer, Ask, Call, Refused, Verify};
use super::history::{self, History};
use super::kafka::Kafka;
use super::request::{Query, parts};
use super::traffic::Traffic;
use crate::control::context::{Context, wall_clock};
use crate::control::health::HealthState;
use crate::metrics::{Registry, ShardMetrics};
use crate::shard::Shard;

/// Answers under way.
const ANSWERS_MAX: usize = 32;
/// Passwords that are hashed at a time.
const HASHING_MAX: usize = 1;
/// How often the traffic of topics is looked at for the metrics.
const TOPIC_SERIES_EVERY: u64 = 3;

/// What a session tells the console of itself.
pub(crate) struct Facts {
    /// Where the objects lie.
    pub(crate) place: String,
    /// How shards talk to the kernel.
    pub(crate) driver: &'static str,
    /// Where metrics and the console are.
    pub(crate) admin: std::net::SocketAddr,
    /// When it began.
    pub(crate) began: Instant,
    /// Whether it takes requests.
    pub(crate) is_ready: Arc<AtomicBool>,
}

/// Answers what is asked about one session of the broker.
pub(crate) struct Service {
    pub(super) context: Rc<Context>,
    pub(super) registry: Arc<Registry>,
    pub(super) cells: Vec<Arc<ShardMetrics>>,
    pub(super) facts: Facts,
    pub(super) access: Access,
    pub(super) kafka: Kafka,
    pub(super) traffic: Traffic,
    pub(super) history: RefCell<History>,
    hashing: Arc<Semaphore>,
}

/// What every view says beside what it shows.
#[derive(Debug, Serialize)]
struct Summary {
    broker: i32,
    cluster: String,
    version: &'static str,
    /// Whether it takes requests.
    is_ready: bool,
    /// What keeps it from that.
    trouble: Option<&'static str>,
    store: &'static str,
    /// Number of the last event.
    last_event: u64,
    user: Option<String>,
    is_admin: bool,
}

#[derive(Serialize)]
struct View<'a, T> {
    at_ms: i64,
    summary: Summary,
    data: &'a T,
}

/// What a state of the store is called.
pub(super) fn state_word(state: i64) -> &'static str {
    match state {
        it if it == HealthState::Healthy as i64 => "healthy",
        it if it == HealthState::Degraded as i64 => "degraded",
        _ => "unavailable",
    }
}

impl Service {
    pub(crate) async fn new(
        context: Rc<Context>,
        registry: Arc<Registry>,
        cells: Vec<Arc<ShardMetrics>>,
        facts: Facts,
    ) -> Rc<Self> {
        let mut threads = Vec::new();
        for shard in context.shards.iter() {
            let told = shard.call(|_: &Rc<Shard>| history::own_cpu_path()).await;
            threads.push(told.ok().flatten());
        }
        let control = context.metrics.clone();
        let history = History::new(registry.clone(), cells.clone(), control, threads);
        Rc::new(Self {
            access: Access::new(&context.config, context.users.security().clone()),
            kafka: Kafka::new(context.clone()),
            traffic: Traffic::new(context.clone()),
            history: RefCell::new(history),
            hashing: Arc::new(Semaphore::new(HASHING_MAX)),
            context,
            registry,
            cells,
            facts,
        })
    }

    /// Answers for ever.
    pub(crate) async fn run(self: Rc<Self>, calls: flume::Receiver<Call>) {
        let mut under_way: FuturesUnordered<LocalBoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(history::EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ticked = 0_u64;
        loop {
            let has_room = under_way.len() < ANSWERS_MAX;
            tokio::select! {
                call = calls.recv_async(), if has_room => match call {
                    Ok(call) => under_way.push(self.clone().begin(call)),
                    Err(_) => return,
                },
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                _ = ticks.tick() => {
                    self.history.borrow_mut().take();
                    ticked += 1;
                    let has_series = self.context.config.admin.topic_series_max > 0;
                    if has_series && ticked.is_multiple_of(TOPIC_SERIES_EVERY) && has_room {
                        let this = self.clone();
                        under_way.push(Box::pin(async move {
                            let traffic = this.traffic.by_topic().await;
                            this.registry.set_topic_traffic(traffic);
                        }));
                    }
                }
            }
        }
    }

    fn begin(self: Rc<Self>, call: Call) -> LocalBoxFuture<'static, ()> {
        match call {
            Call::Verify(verify) => Box::pin(async move { self.verify(verify).await }),
            Call::Ask(ask) => Box::pin(async move {
                let answer = AssertUnwindSafe(self.answer(&ask)).catch_unwind().await;
                match answer {
                    // Nobody may be waiting any more.
                    Ok(answer) => drop(ask.reply.send(answer)),
                    Err(_) => tracing::error!(path = ask.path, "the console has failed to answer"),
                }
            }),
        }
    }

    async fn verify(&self, verify: Verify) {
        let Verify {
            user,
            password,
            reply,
        } = verify;
        // The semaphore is never closed.
        let _permit = self.hashing.clone().acquire_owned().await;
        let access = self.access.clone();
        let hashed = tokio::task::spawn_blocking(move || access.verify(&user, &password));
        let _ = reply.send(hashed.await.unwrap_or_default());
    }

    async fn answer(&self, ask: &Ask) -> Answer {
        match self.route(ask).await {
            Ok(answer) => answer,
            Err(refused) => refused.into(),
        }
    }

    async fn route(&self, ask: &Ask) -> Result<Answer, Refused> {
        let no_page = || Refused::new(StatusCode::NOT_FOUND, "there is no such page");
        let parts = parts(&ask.path).ok_or_else(no_page)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let login = ask.login.clone().filter(|login| self.access.holds(login));
        let viewer = Viewer::new(login, ask.from);
        let query = Query::parse(&ask.query);
        let question = Question {
            service: self,
            viewer: &viewer,
            query: &query,
            body: &ask.body,
        };
        if let ["api", "v1", "session"] = parts.as_slice() {
            return Ok(Answer::ok(&api::session::show(&question, ask.is_tls)));
        }
        if !self.access.may_look(&viewer) {
            return Err(Refused::new(StatusCode::UNAUTHORIZED, "log in first"));
        }
        match (&ask.method, parts.as_slice()) {
            (&Method::GET, ["api", "v1", rest @ ..]) => self.view(&question, rest).await,
            (&Method::GET, ["debug", what]) => api::debug::show(&question, what).await,
            (method, ["api", "v1", rest @ ..]) => {
                if !self.access.is_admin(&viewer) {
                    return Err(self.not_admin(&viewer));
                }
                self.change(&question, method, rest).await
            }
            _ => Err(no_page()),
        }
    }

    fn not_admin(&self, viewer: &Viewer) -> Refused {
        if !self.access.has_login() {
            return Refused::forbidden(
                "this console is read-only: to change things set KAFSCALE_UI_USERNAME and KAFSCALE_UI_PASSWORD, or \
                 let clients authenticate, and log in",
            );
        }
        match viewer.login {
            None => Refused::new(StatusCode::UNAUTHORIZED, "log in first"),
            Some(_) => Refused::forbidden("this needs ALTER on the cluster"),
        }
    }

    async fn view(&self, question: &Question<'_>, rest: &[&str]) -> Result<Answer, Refused> {
        let q = question;
        match rest {
            ["overview"] => Ok(self.show(q, &api::overview::show(q).await)),
            ["cluster"] => Ok(self.show(q, &api::cluster::show(q))),
            ["topics"] => Ok(self.show(q, &api::topics::list(q).await?)),
            ["topics", topic] => Ok(self.show(q, &api::topic::show(q, topic).await?)),
            ["topics", topic, "configs"] => Ok(self.show(q, &api::topic::configs(q, topic)?)),
            ["topics", topic, "messages"] => {
                Ok(self.show(q, &api::messages::browse(q, topic).await?))
            }
            ["groups"] => Ok(self.show(q, &api::groups::list(q).await?)),
            ["groups", group] => Ok(self.show(q, &api::group::show(q, group).await?)),
            ["store"] => Ok(self.show(q, &api::store::show(q))),
            ["cache"] => Ok(self.show(q, &api::cache::show(q).await)),
            ["latency"] => Ok(self.show(q, &api::latency::show(q))),
            ["events"] => Ok(self.show(q, &api::events::show(q).await)),
            ["security"] => Ok(self.show(q, &api::security::show(q)?)),
            _ => Err(Refused::new(StatusCode::NOT_FOUND, "there is no such page")),
        }
    }

    async fn change(
        &self,
        q: &Question<'_>,
        method: &Method,
        rest: &[&str],
    ) -> Result<Answer, Refused> {
        match (method, rest) {
            (&Method::POST, ["topics"]) => Ok(Answer::ok(&api::topics::create(q).await?)),
            (&Method::DELETE, ["topics", topic]) => {
                Ok(Answer::ok(&api::topics::delete(q, topic).await?))
            }
            (&Method::POST, ["groups", group, "offsets"]) => {
                Ok(Answer::ok(&api::reset::reset(q, group).await?))
            }
            _ => Err(Refused::new(
                StatusCode::NOT_FOUND,
                "there is nothing to change there",
            )),
        }
    }

    /// A view with what every view says.
    fn show<T: Serialize>(&self, question: &Question<'_>, data: &T) -> Answer {
        let context = &self.context;
        let metrics = &context.metrics;
        let trouble = self.trouble();
        let summary = Summary {
            broker: context.node.id.get(),
            cluster: context.config.broker.cluster.clone(),
            version: env!("CARGO_PKG_VERSION"),
            is_ready: trouble.is_none(),
            trouble,
            store: state_word(metrics.health_state.get()),
            last_event: context.events.last(),
            user: question.viewer.name().map(str::to_owned),
            is_admin: self.access.is_admin(question.viewer),
        };
        Answer::ok(&View {
            at_ms: wall_clock().get(),
            summary,
            data,
        })
    }

    /// What keeps the broker from taking requests.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        if !self.facts.is_ready.load(Ordering::Relaxed) {
            return Some("the broker is stopping");
        }
        if !self.context.proof.holds() {
            return Some("the session is not proven: the metadata store is out of reach");
        }
        self.context.refusal.reason()
    }

    /// How long this session has lasted.
    pub(super) fn age(&self) -> Duration {
        self.facts.began.elapsed()
    }
}
