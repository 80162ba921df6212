//! The check of a store at the start of a broker: can it be used, and does it keep its promises?
//!
//! Works on any [`ObjectStore`]. Owns nothing: no clock, no randomness, no retries.
//!
//! # Invariants
//!
//! - Only keys below `{prefix}probe-{token}/` are touched, and they are deleted again, also after a
//!   failure (best effort then).
//! - "Conditional" is reported only of a store that was seen to refuse: in each of [`ROUNDS`]
//!   rounds one winner among [`RIVALS`] creations at once, and a refusal of a later one.
//! - A race can only be seen where requests overlap, so no number of rounds proves that there is
//!   none: the first opens the connections, the next ones meet closer.

use std::sync::Arc;

use futures_util::future::join_all;
use thiserror::Error;

use crate::ObjectStore;
use crate::error::{DeleteError, GetError, HeadError, ListError, PutError};
use crate::key::{KeyError, ObjectKey};
use crate::object::{Body, ETag, GetRange, ListRequest, PutCondition};

/// Creations of one key that run at once.
pub const RIVALS: usize = 16;
/// Keys for which they run, one after the other.
pub const ROUNDS: usize = 8;
/// An ETag that no store gives to an object of the probe.
const WRONG_ETAG: &str = "\"00000000000000000000000000000000\"";

/// What a store was seen to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// `IfAbsent` is kept: without it two brokers could both write one WAL object.
    pub conditional: bool,
    /// `IfMatch` is kept.
    pub if_match: bool,
    /// LIST shows what was just written and not what was just deleted.
    pub list_is_consistent: bool,
    /// Why one of the above is false: what was done, what came of it and what to do.
    pub problems: Vec<String>,
}

/// Why a store cannot be used, or not be judged now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// The prefix and the token make no key.
    #[error(
        "no object can have a key under {prefix:?}: {source}; check KAFSCALE_S3_PREFIX and \
         KAFSCALE_S3_WAL_PREFIX"
    )]
    Key {
        /// The prefix.
        prefix: String,
        /// The rule that it breaks.
        source: KeyError,
    },
    /// LIST failed: the first request of all.
    #[error(
        "{source}. Nothing can be listed: check KAFSCALE_S3_BUCKET, KAFSCALE_S3_REGION and \
         KAFSCALE_S3_ENDPOINT, that the store can be reached, and that s3:ListBucket is granted \
         on the bucket"
    )]
    List {
        /// The failure.
        source: ListError,
    },
    /// PUT failed without a condition.
    #[error(
        "{source}. Nothing can be written: check that s3:PutObject is granted on the objects of \
         KAFSCALE_S3_BUCKET, and with KAFSCALE_S3_KMS_ARN also kms:GenerateDataKey and kms:Decrypt"
    )]
    Put {
        /// The failure.
        source: PutError,
    },
    /// GET of an object that was just written failed.
    #[error(
        "{source}. What was written cannot be read: check that s3:GetObject is granted on the \
         objects of KAFSCALE_S3_BUCKET, and with KAFSCALE_S3_KMS_ARN also kms:Decrypt"
    )]
    Get {
        /// The failure.
        source: GetError,
    },
    /// HEAD of an object that was just written failed.
    #[error(
        "{source}. What was written cannot be looked up: check that s3:GetObject is granted on \
         the objects of KAFSCALE_S3_BUCKET"
    )]
    Head {
        /// The failure.
        source: HeadError,
    },
    /// DELETE failed.
    #[error(
        "{source}. What was written cannot be deleted: check that s3:DeleteObject is granted on \
         the objects of KAFSCALE_S3_BUCKET and that no object lock holds them"
    )]
    Delete {
        /// The failure.
        source: DeleteError,
    },
    /// An object read back is not what was written.
    #[error(
        "{key} is not what was just written: {reason}. Nothing can be kept in this store: check \
         what KAFSCALE_S3_ENDPOINT (or a proxy before it) and KAFSCALE_S3_READ_BUCKET point to"
    )]
    Differs {
        /// The key.
        key: ObjectKey,
        /// What was expected and what found.
        reason: String,
    },
}

impl ProbeError {
    /// Whether the probe may succeed later, with another token.
    pub fn retriable(&self) -> bool {
        match self {
            Self::List { source } => source.retriable(),
            Self::Put { source } => source.retriable(),
            Self::Get { source } => source.retriable(),
            Self::Head { source } => source.retriable(),
            Self::Delete { source } => source.retriable(),
            Self::Key { .. } | Self::Differs { .. } => false,
        }
    }
}

/// Tries every operation on `store` below `prefix`.
///
/// `token` is random text of the caller's (letters, digits, `-`), never used before: two probes
/// with one token would disturb each other.
///
/// # Errors
///
/// See [`ProbeError`]: one of the operations does not work. That a condition is not kept is no error
/// but told by the report.
pub async fn probe(
    store: &Arc<dyn ObjectStore>,
    prefix: &str,
    token: &str,
) -> Result<ProbeReport, ProbeError> {
    let probe = Probe::new(store, prefix, token)?;
    let outcome = probe.run().await;
    let deleted = probe.clean_up().await;
    let mut report = outcome?;
    deleted?;
    if !probe.listed().await?.is_empty() {
        report.list_is_consistent = false;
        report.problems.push(
            "LIST still shows objects after their deletion was answered: the store's listing lags"
                .to_owned(),
        );
    }
    Ok(report)
}

struct Probe<'a> {
    store: &'a Arc<dyn ObjectStore>,
    /// Prefix of all keys of this probe.
    below: String,
    plain: ObjectKey,
    races: Vec<ObjectKey>,
}

impl<'a> Probe<'a> {
    fn new(store: &'a Arc<dyn ObjectStore>, prefix: &str, token: &str) -> Result<Self, ProbeError> {
        let below = format!("{prefix}probe-{token}/");
        let key = |name: &str| {
            ObjectKey::new(format!("{below}{name}")).map_err(|source| ProbeError::Key {
                prefix: prefix.to_owned(),
                source,
            })
        };
        Ok(Self {
            store,
            plain: key("plain")?,
            races: (0..ROUNDS)
                .map(|round| key(&format!("race-{round}")))
                .collect::<Result<_, _>>()?,
            below,
        })
    }

    async fn run(&self) -> Result<ProbeReport, ProbeError> {
        let mut report = ProbeReport {
            conditional: true,
            if_match: true,
            list_is_consistent: true,
            problems: Vec::new(),
        };
        let before = self.listed().await?;
        if !before.is_empty() {
            report.unlisted("LIST shows objects that were never written");
        }
        let etag = self.every_operation().await?;
        for race in &self.races {
            self.creations_at_once(race, &mut report).await?;
            if !report.conditional {
                break;
            }
        }
        self.a_later_creation(&mut report).await?;
        self.replacements(etag, &mut report).await?;
        Ok(report)
    }

    /// PUT, GET and HEAD of one object. Gives its ETag.
    async fn every_operation(&self) -> Result<ETag, ProbeError> {
        let written = self
            .put(&self.plain, "plain", PutCondition::None)
            .await
            .map_err(|source| ProbeError::Put { source })?;
        self.expect(&self.plain, "plain", &written).await?;
        let head = self
            .store
            .head(self.plain.clone())
            .await
            .map_err(|source| ProbeError::Head { source })?;
        if (head.len, &head.etag) != (5, &written) {
            let reason = format!(
                "HEAD tells {} bytes with ETag {}, PUT 5 with {written}",
                head.len, head.etag
            );
            let key = self.plain.clone();
            return Err(ProbeError::Differs { key, reason });
        }
        Ok(written)
    }

    async fn creations_at_once(
        &self,
        race: &ObjectKey,
        report: &mut ProbeReport,
    ) -> Result<(), ProbeError> {
        let creations = (0..RIVALS).map(|rival| {
            let body = format!("rival {rival}");
            async move {
                let outcome = self.put(race, &body, PutCondition::IfAbsent).await;
                (body, outcome)
            }
        });
        let mut winners = Vec::new();
        let mut strange: Option<PutError> = None;
        for (body, outcome) in join_all(creations).await {
            match outcome {
                Ok(etag) => winners.push((body, etag)),
                Err(PutError::AlreadyExists { .. } | PutError::Conflict { .. }) => {}
                // It may have won: nothing can be said of this race.
                Err(source) if source.retriable() => return Err(ProbeError::Put { source }),
                Err(source) => strange = Some(source),
            }
        }
        if let Some(source) = strange {
            report.unconditional(format!("a creation with If-None-Match: * failed: {source}"));
        }
        match winners.as_slice() {
            [(body, etag)] => self.expect(race, body, etag).await?,
            [] => report.unconditional(format!(
                "{RIVALS} creations at once with If-None-Match: * were all refused"
            )),
            more => report.unconditional(format!(
                "{} of {RIVALS} creations at once with If-None-Match: * succeeded",
                more.len()
            )),
        }
        if !winners.is_empty() && !self.listed().await?.contains(race) {
            report.unlisted("LIST does not show an object whose creation was answered");
        }
        Ok(())
    }

    async fn a_later_creation(&self, report: &mut ProbeReport) -> Result<(), ProbeError> {
        let outcome = self.put(&self.plain, "later", PutCondition::IfAbsent).await;
        match outcome {
            Err(PutError::AlreadyExists { .. }) => {}
            Ok(_) => report.unconditional(
                "a creation with If-None-Match: * replaced an object that existed".to_owned(),
            ),
            Err(source) if source.retriable() => return Err(ProbeError::Put { source }),
            Err(source) => report.unconditional(format!(
                "a creation with If-None-Match: * of an object that exists failed: {source}"
            )),
        }
        Ok(())
    }

    async fn replacements(&self, etag: ETag, report: &mut ProbeReport) -> Result<(), ProbeError> {
        // Where conditions are ignored the object was replaced, and its ETag is another by now.
        let etag = match report.conditional {
            true => etag,
            false => match self.store.head(self.plain.clone()).await {
                Ok(head) => head.etag,
                Err(source) => return Err(ProbeError::Head { source }),
            },
        };
        let wrong = PutCondition::IfMatch(ETag::new(WRONG_ETAG));
        match self.put(&self.plain, "wrong", wrong).await {
            Err(PutError::Mismatch { .. }) => {}
            Ok(_) => {
                report.unmatched("a PUT with If-Match and a wrong ETag replaced the object");
                return Ok(());
            }
            Err(source) if source.retriable() => return Err(ProbeError::Put { source }),
            Err(source) => {
                report.unmatched(&format!("a PUT with If-Match failed: {source}"));
                return Ok(());
            }
        }
        match self
            .put(&self.plain, "match", PutCondition::IfMatch(etag))
            .await
        {
            Ok(etag) => self.expect(&self.plain, "match", &etag).await,
            Err(source) if source.retriable() => Err(ProbeError::Put { source }),
            Err(source) => {
                report.unmatched(&format!(
                    "a PUT with If-Match and the right ETag failed: {source}"
                ));
                Ok(())
            }
        }
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: &str,
        condition: PutCondition,
    ) -> Result<ETag, PutError> {
        let body = Body::from(body.as_bytes().to_vec());
        let body = body.clone().with_crc32(body.compute_crc32());
        let outcome = self.store.put(key.clone(), body, condition).await;
        outcome.map(|outcome| outcome.etag)
    }

    /// Reads an object back and compares.
    async fn expect(&self, key: &ObjectKey, body: &str, etag: &ETag) -> Result<(), ProbeError> {
        let found = self
            .store
            .get(key.clone(), GetRange::Full)
            .await
            .map_err(|source| ProbeError::Get { source })?;
        if found.bytes == body.as_bytes() && found.etag == *etag {
            return Ok(());
        }
        let reason = format!(
            "read {} bytes with ETag {}, wrote {} with {etag}",
            found.bytes.len(),
            found.etag,
            body.len()
        );
        let key = key.clone();
        Err(ProbeError::Differs { key, reason })
    }

    async fn listed(&self) -> Result<Vec<ObjectKey>, ProbeError> {
        let page = self.store.list(ListRequest::new(self.below.clone())).await;
        let page = page.map_err(|source| ProbeError::List { source })?;
        Ok(page.objects.into_iter().map(|object| object.key).collect())
    }

    async fn clean_up(&self) -> Result<(), ProbeError> {
        let keys = std::iter::once(&self.plain).chain(&self.races);
        let keys = keys.cloned().collect();
        let results = self.store.delete(keys).await;
        let failed = results.into_iter().find_map(|(_, result)| result.err());
        failed.map_or(Ok(()), |source| Err(ProbeError::Delete { source }))
    }
}

impl ProbeReport {
    fn unconditional(&mut self, what: String) {
        self.conditional = false;
        self.problems.push(format!(
            "{what}: this store cannot keep two brokers apart; use one with atomic conditional \
             writes (AWS S3, MinIO), or look for a proxy before KAFSCALE_S3_ENDPOINT that drops \
             If-None-Match"
        ));
    }

    fn unmatched(&mut self, what: &str) {
        self.if_match = false;
        self.problems
            .push(format!("{what}: the store does not keep If-Match"));
    }

    fn unlisted(&mut self, what: &str) {
        self.list_is_consistent = false;
        self.problems
            .push(format!("{what}: the store's listing lags or is cached"));
    }
}

#[cfg(test)]
mod tests;
