//! Tokens of clients, and the keys that they are signed with.
//!
//! Control thread, but for what the pool does: signatures are checked there, few at a time. Invariants: keys are there
//! before the first client is; what cannot be used never replaces what is in use; a token that names an unknown key
//! makes the source be read again, but no more than once in [`ASK_EVERY`], whoever sends such tokens.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_channel::oneshot;
use security::oauth::{KeySet, TokenError, TokenRules, Verified};
use security::secret::Secret;
use tokio::sync::Semaphore;

use super::context::{Context, wall_clock};
use super::jwks::{KeysError, Source};
use super::pool;
use crate::config::Config;
use crate::metrics::ControlMetrics;
use crate::security::audit::Audit;

/// How soon the source is read again because of tokens that name an unknown key.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How soon a URL is asked again that did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Pauses between tries of the first reading of a URL.
const FIRST_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Tokens that are checked at a time.
const CHECKING_MAX: usize = 2;
/// Tokens that wait to be checked, beyond which one is refused.
const WAITING_MAX: usize = 256;

/// What is needed to check tokens.
#[derive(Debug)]
pub struct Tokens {
    rules: Arc<TokenRules>,
    source: Source,
    keys: ArcSwap<KeySet>,
    /// What the keys were read from, to tell whether it has changed.
    read: Mutex<Vec<u8>>,
    /// When tokens last made the source be read.
    asked: tokio::sync::Mutex<Option<Instant>>,
    /// Whether the source could not be read last time, which is told of once.
    is_failing: AtomicBool,
    checking: Semaphore,
    waiting: AtomicUsize,
    audit: Mutex<Audit>,
    began: Instant,
    metrics: Arc<ControlMetrics>,
}

/// Counts who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tokens {
    /// As the settings say, with keys; none where clients have no tokens. A URL that does not answer is tried three
    /// times, within some half a minute.
    ///
    /// # Errors
    /// There are no keys.
    pub async fn open(
        config: &Config,
        metrics: Arc<ControlMetrics>,
    ) -> Result<Option<Arc<Self>>, KeysError> {
        let source = Source::new(config).filter(|_| config.takes_tokens());
        let Some(source) = source else {
            return Ok(None);
        };
        let mut pauses = FIRST_PAUSES.iter();
        let bytes = loop {
            match (source.read().await, pauses.next()) {
                (Ok(bytes), _) => break bytes,
                (Err(error @ KeysError::Url { .. }), Some(pause)) => {
                    tracing::warn!(%error, "there are no keys for tokens yet; it is tried again");
                    tokio::time::sleep(*pause).await;
                }
                (Err(error), _) => return Err(error),
            }
        };
        let keys = parsed(&source, &bytes)?;
        tracing::info!(
            place = source.place(),
            keys = keys.len(),
            "the keys of tokens are read"
        );
        metrics.token_keys.set(keys.len() as i64);
        metrics.token_keys_read.increment();
        Ok(Some(Arc::new(Self {
            rules: Arc::new(config.token_rules()),
            source,
            keys: ArcSwap::from_pointee(keys),
            read: Mutex::new(bytes),
            asked: tokio::sync::Mutex::new(None),
            is_failing: AtomicBool::new(false),
            checking: Semaphore::new(CHECKING_MAX),
            waiting: AtomicUsize::new(0),
            audit: Mutex::default(),
            began: Instant::now(),
            metrics,
        })))
    }

    /// Checks a token and answers; without an answer where too many wait, which is a refusal.
    pub fn check(
        self: &Arc<Self>,
        token: Secret,
        reply: oneshot::Sender<Result<Verified, TokenError>>,
    ) {
        let this = self.clone();
        tokio::task::spawn_local(async move {
            if this.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
                this.waiting.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let _waiting = Waiting(&this.waiting);
            let token = Arc::new(token);
            let keys = this.keys.load_full();
            let mut verdict = this.verdict(&token, &keys).await;
            if let Some(Err(error)) = &verdict
                && error.is_about_keys()
                && let Some(others) = this.others_than(&keys).await
            {
                verdict = this.verdict(&token, &others).await;
            }
            let Some(verdict) = verdict else {
                return;
            };
            if let Err(error) = &verdict {
                this.tell(error);
            }
            // Whoever asked may have gone: then nobody wants the answer.
            let _ = reply.send(verdict);
        });
    }

    /// None where the pool has ended.
    async fn verdict(
        &self,
        token: &Arc<Secret>,
        keys: &Arc<KeySet>,
    ) -> Option<Result<Verified, TokenError>> {
        let _permit = self.checking.acquire().await.ok()?;
        let (rules, keys, token) = (self.rules.clone(), keys.clone(), token.clone());
        let now = u64::try_from(wall_clock().get()).unwrap_or_default();
        let now = Duration::from_millis(now);
        pool::run(move || rules.verify(&keys, token.expose(), now))
            .await
            .ok()
    }

    /// Other keys than these, which do not have the one that a token names. Reads the source, unless that was done for
    /// such a token a moment ago.
    async fn others_than(&self, keys: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let mut asked = self.asked.lock().await;
        let others = || Some(self.keys.load_full()).filter(|now| !Arc::ptr_eq(now, keys));
        if others().is_none() && asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            // An error has been told of.
            let _ = self.reload().await;
            *asked = Some(Instant::now());
        }
        others()
    }

    /// Reads the source; whether it has other keys than before. An error has been told of.
    async fn reload(&self) -> Result<bool, ()> {
        let outcome = match self.source.read().await {
            Ok(bytes) => self.take(bytes),
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(_) => self.metrics.token_keys_read.increment(),
            Err(error) if !self.is_failing.load(Ordering::Relaxed) => {
                tracing::warn!(%error, "the keys of tokens are not read anew; those from before stay in use");
            }
            Err(error) => tracing::debug!(%error, "the keys of tokens are still not read anew"),
        }
        if outcome.is_err() {
            self.metrics.token_keys_failed.increment();
        }
        self.is_failing.store(outcome.is_err(), Ordering::Relaxed);
        outcome.map_err(drop)
    }

    fn take(&self, bytes: Vec<u8>) -> Result<bool, KeysError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *read == bytes {
            return Ok(false);
        }
        // What is of no use is looked at again and again: the keys are not those of the source until it is mended.
        let keys = parsed(&self.source, &bytes)?;
        *read = bytes;
        tracing::info!(
            place = self.source.place(),
            keys = keys.len(),
            "the keys of tokens have changed and are in use"
        );
        self.metrics.token_keys.set(keys.len() as i64);
        self.keys.store(Arc::new(keys));
        Ok(true)
    }

    fn tell(&self, error: &TokenError) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = audit.tell(now_ms) {
            tracing::info!(target: "kafscale::audit", %error, untold, "a token is refused");
        }
    }
}

fn parsed(source: &Source, bytes: &[u8]) -> Result<KeySet, KeysError> {
    KeySet::parse(bytes).map_err(|error| KeysError::Content {
        place: source.place(),
        source: error,
    })
}

/// Reads the keys anew for ever. Where clients have no tokens there is nothing to read.
pub async fn follow(context: std::rc::Rc<Context>) {
    let Some(tokens) = context.users.security().tokens().cloned() else {
        return std::future::pending().await;
    };
    let refresh = context.config.oauth.jwks_refresh;
    let mut pause = match tokens.source {
        Source::File(_) => LOOK_EVERY,
        Source::Url(..) => refresh,
    };
    loop {
        tokio::time::sleep(pause).await;
        let outcome = tokens.reload().await;
        if let Source::Url(..) = tokens.source {
            pause = match outcome {
                Ok(_) => refresh,
                Err(()) => refresh.min(RETRY_AFTER),
            };
        }
    }
}

#[cfg(test)]
mod tests;
