//! The members of the cluster: one client each, the preferred one first, the next when it fails.
//!
//! Invariants: a request that may have been applied is sent again only if its sender said that it may
//! be; every request ends within the request timeout; a member that is down, or that refuses the
//! login, does not keep the others from being used.

use std::error::Error as _;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, Error};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::fault::{Effect, Fault, Kind};
use super::options::{ConnectError, ENDPOINTS_MAX, EtcdOptions, Password};

/// Whether a request may be sent again when it may already have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Once only: a second application would do harm.
    Never,
    /// As often as it takes: it reads, or doing it twice is doing it once.
    Harmless,
}

/// One endpoint.
pub(super) struct Member {
    pub(super) url: String,
    client: Client,
    login: Option<(String, Password)>,
    logged_in: OnceCell<()>,
}

impl Member {
    async fn new(url: String, options: &EtcdOptions) -> Result<Self, ConnectError> {
        // Without a login nothing is sent yet, so this waits for nobody.
        let made = Client::connect([url.as_str()], Some(options.client(&url)?)).await;
        let client = made.map_err(|error| ConnectError::Settings {
            endpoint: url.clone(),
            reason: with_causes(&error),
        })?;
        Ok(Self {
            url,
            client,
            login: options.login()?,
            logged_in: OnceCell::new(),
        })
    }

    /// The client, logged in.
    async fn ready(&self) -> Result<Client, Fault> {
        self.logged_in.get_or_try_init(|| self.log_in()).await?;
        Ok(self.client.clone())
    }

    async fn log_in(&self) -> Result<(), Fault> {
        let Some((user, password)) = &self.login else {
            return Ok(());
        };
        let user = Some((user.clone(), password.reveal().to_owned()));
        let answered = self.client.clone().update_user(user).await;
        answered.map_err(|error| Fault::from(error).without_effect())
    }

    /// One attempt within `limit`.
    pub(super) async fn attempt<T, F>(
        &self,
        limit: Duration,
        request: impl FnOnce(Client) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let begun = Instant::now();
        let client = match timeout(limit, self.ready()).await {
            Ok(ready) => ready.map_err(|fault| self.name(fault))?,
            Err(_) => return Err(self.name(Fault::unsent("no answer to the login"))),
        };
        let left = limit.saturating_sub(begun.elapsed());
        match timeout(left, request(client)).await {
            Ok(outcome) => outcome.map_err(|fault| self.name(fault)),
            Err(_) => {
                let reason = format!("no answer within {} ms", limit.as_millis());
                Err(self.name(Fault::unanswered(reason)))
            }
        }
    }

    fn name(&self, fault: Fault) -> Fault {
        Fault {
            reason: format!("etcd at {}: {}", self.url, fault.reason),
            ..fault
        }
    }
}

/// All endpoints of a cluster.
pub(super) struct Members {
    pub(super) all: Vec<Member>,
    preferred: AtomicUsize,
    request_timeout: Duration,
}

impl Members {
    /// Clients for every endpoint; nothing is sent.
    pub(super) async fn new(options: &EtcdOptions) -> Result<Self, ConnectError> {
        let mut all = Vec::new();
        for url in options.urls()? {
            all.push(Member::new(url, options).await?);
        }
        assert!(
            (1..=ENDPOINTS_MAX).contains(&all.len()),
            "the number of endpoints has been checked"
        );
        Ok(Self {
            all,
            preferred: AtomicUsize::new(0),
            request_timeout: options.request_timeout,
        })
    }

    /// Limit of one operation.
    pub(super) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Sends a request to the preferred member and, where that is allowed, to the others.
    pub(super) async fn call<T, F>(
        &self,
        repeat: Repeat,
        request: impl Fn(Client) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let deadline = Instant::now() + self.request_timeout;
        let mut fault = Fault::unsent("the request timeout is zero");
        let (mut in_doubt, mut token_renewed) = (false, false);
        // Each member once, the first again: its connection may have been found broken.
        for _ in 0..=self.all.len() + 1 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let index = self.preferred.load(Ordering::Relaxed) % self.all.len();
            let member = &self.all[index];
            match member.attempt(self.share(left, repeat), &request).await {
                Ok(answer) => return Ok(answer),
                Err(found) => fault = found,
            }
            in_doubt |= fault.effect == Effect::Unknown;
            match fault.kind {
                Kind::Token if !token_renewed && member.login.is_some() => {
                    token_renewed = true;
                    let left = deadline.saturating_duration_since(Instant::now());
                    // If it fails, the next attempt tells why.
                    let _ = timeout(left, member.client.refresh_token()).await;
                    continue;
                }
                Kind::Member => self.avoid(index),
                _ => break,
            }
            if in_doubt && repeat == Repeat::Never {
                break;
            }
        }
        if in_doubt {
            fault.effect = Effect::Unknown;
        }
        Err(fault)
    }

    /// The time for one attempt: where another member can be asked, some is left for it.
    fn share(&self, left: Duration, repeat: Repeat) -> Duration {
        if repeat == Repeat::Harmless && self.all.len() > 1 {
            left.min(self.request_timeout / 2)
        } else {
            left
        }
    }

    /// The next member is preferred, unless someone else has moved on already.
    fn avoid(&self, index: usize) {
        assert!(index < self.all.len(), "the index is of a member");
        let next = (index + 1) % self.all.len();
        let ordering = Ordering::Relaxed;
        // Losing the race means that another request has chosen.
        let _ = self
            .preferred
            .compare_exchange(index, next, ordering, ordering);
    }
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    if let Error::TransportError(transport) = error {
        let mut source = transport.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
    }
    text
}
