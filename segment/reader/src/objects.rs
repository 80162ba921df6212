//! The object store as a reader uses it: a request that may succeed later is sent again, a bounded
//! number of times.

use std::sync::Arc;
use std::time::Duration;

use store::retry::{Again, Backoff, Failure};
use store::{
    GetError, GetOutcome, GetRange, ListError, ListPage, ListRequest, ObjectKey, ObjectMeta,
    ObjectStore,
};

use crate::pause::{pause, uniform};

/// Tries of one request.
const TRIES_MAX: u32 = 6;
/// Bounds of the first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Pages of one listing at most: a million keys.
const LIST_PAGES_MAX: usize = 1_000;

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// Reads an object or a range of it.
    pub(crate) async fn get(&self, key: &str, range: GetRange) -> Result<GetOutcome, GetError> {
        let name = ObjectKey::new(key).map_err(|error| GetError::Denied {
            key: ObjectKey::new("-").expect("a legal key"),
            reason: format!("{key}: {error}"),
        })?;
        retried(|| self.store.get(name.clone(), range.clone())).await
    }

    /// Lists one page.
    pub(crate) async fn list_page(&self, request: &ListRequest) -> Result<ListPage, ListError> {
        retried(|| self.store.list(request.clone())).await
    }

    /// Lists all objects with a prefix, in order.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, ListError> {
        let mut request = ListRequest::new(prefix);
        let mut all = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let page = self.list_page(&request).await?;
            let next = request.next(&page);
            all.extend(page.objects);
            match next {
                Some(next) => request = next,
                None => return Ok(all),
            }
        }
        Err(ListError::Denied {
            prefix: prefix.to_owned(),
            reason: format!("more than {} objects", all.len()),
        })
    }
}

async fn retried<T, E: Failure, F>(mut send: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    for _ in 1..TRIES_MAX {
        let error = match send().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let rest = match error.again() {
            Again::Never => return Err(error),
            Again::Later => Duration::ZERO,
            Again::SlowDown { retry_after } => retry_after.unwrap_or_default().min(PAUSES.1),
        };
        tracing::debug!(%error, "tried again");
        pause(rest.max(backoff.next(uniform()))).await;
    }
    send().await
}
