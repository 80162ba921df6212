//! The cluster asked as any client asks it: by Kafka requests, through the inter-broker listener, as the broker itself
//! asks others. What a person may see of the answers is decided before and after, by `access`.
//!
//! On the pool, since the client blocks: [`CLIENTS_MAX`] at a time, each answered or given up within seconds. A client
//! that is done waits for the next question for a while.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, ClientError, ClientSettings, FailureKind};
use tokio::sync::Semaphore;
use wire::ErrorCode;

use super::call::Refused;
use crate::control::context::Context;

/// Questions to the cluster at a time: threads of the pool that the console may hold.
pub(crate) const CLIENTS_MAX: usize = 2;
/// How long a question waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a connection, and for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);
/// How long something is tried again.
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a client without a question is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Clients that wait for a question.
type Idle = Arc<Mutex<Vec<(Client, Instant)>>>;

/// Asks the cluster.
pub(super) struct Kafka {
    context: Rc<Context>,
    turns: Arc<Semaphore>,
    idle: Idle,
}

impl Kafka {
    pub(super) fn new(context: Rc<Context>) -> Self {
        Self {
            context,
            turns: Arc::new(Semaphore::new(CLIENTS_MAX)),
            idle: Arc::default(),
        }
    }

    fn settings(&self) -> Result<ClientSettings, Refused> {
        let context = &self.context;
        let listener = context.config.inter_broker_listener();
        let own = context.users.security().own();
        if listener.protocol.has_sasl() && own.sasl.is_none() {
            return Err(Refused::unavailable(
                "the broker has no password for its inter-broker listener: set security.admin_password_file and \
                 offer a mechanism with passwords there",
            ));
        }
        let at = context.node.at(&listener.name);
        let at = at
            .ok_or_else(|| Refused::unavailable("there is no inter-broker listener"))?
            .advertised();
        let (host, port) = (&at.host, at.port);
        let address = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Ok(ClientSettings {
            bootstrap: vec![address],
            client_id: "kafscale-console".to_owned(),
            sasl: own.sasl.clone(),
            tls: own.tls.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            retry_timeout: RETRY_TIMEOUT,
            ..ClientSettings::default()
        })
    }

    /// Runs `question` with a client, on the pool.
    ///
    /// # Errors
    /// The cluster does not answer, or says no; too many ask.
    pub(super) async fn ask<T, F>(&self, question: F) -> Result<T, Refused>
    where
        T: Send + 'static,
        F: FnOnce(&mut Client) -> Result<T, ClientError> + Send + 'static,
    {
        let settings = self.settings()?;
        let busy = || Refused::unavailable("the console is busy with other questions: try again");
        let turn = self.turns.clone().acquire_owned();
        let turn = tokio::time::timeout(TURN_TIMEOUT, turn).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let idle = self.idle.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut client = match take(&idle) {
                Some(client) => client,
                None => Client::connect(settings)?,
            };
            let answer = question(&mut client);
            let is_sound = answer
                .as_ref()
                .err()
                .is_none_or(|error| error.code().is_some());
            if is_sound {
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.push((client, Instant::now()));
            }
            answer
        });
        match asked.await {
            Ok(answer) => answer.map_err(|error| refused(&error)),
            Err(_) => Err(Refused::unavailable("the question to the cluster failed")),
        }
    }
}

/// A client that waits, if one does that has not waited for long.
fn take(idle: &Idle) -> Option<Client> {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    idle.retain(|(_, since)| since.elapsed() < IDLE_MAX);
    idle.pop().map(|(client, _)| client)
}

/// What a person is told of a failure.
fn refused(error: &ClientError) -> Refused {
    use hyper::StatusCode;
    let status = match (error.code(), error.kind()) {
        (Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::GROUP_ID_NOT_FOUND), _) => {
            StatusCode::NOT_FOUND
        }
        (Some(ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::NON_EMPTY_GROUP), _) => {
            StatusCode::CONFLICT
        }
        (Some(code), _) if !code.retriable() => StatusCode::BAD_REQUEST,
        (_, FailureKind::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
        (_, FailureKind::Usage) => StatusCode::BAD_REQUEST,
        _ => StatusCode::BAD_GATEWAY,
    };
    Refused::new(status, error.to_string())
}
