//! What the console answers: one file a concern. A number that is not known is `null`; what a viewer may not see is not
//! there.

pub(super) mod cache;
pub(super) mod cluster;
pub(super) mod debug;
pub(super) mod events;
pub(super) mod group;
pub(super) mod groups;
pub(super) mod latency;
pub(super) mod messages;
pub(super) mod overview;
mod record;
pub(super) mod reset;
pub(super) mod security;
pub(super) mod session;
mod shards;
pub(super) mod store;
pub(super) mod topic;
pub(super) mod topics;

use hyper::body::Bytes;
use serde::de::DeserializeOwned;

use super::access::Viewer;
use super::call::Refused;
use super::request::Query;
use super::service::Service;

/// What is asked, and by whom.
pub(super) struct Question<'a> {
    pub(super) service: &'a Service,
    pub(super) viewer: &'a Viewer,
    pub(super) query: &'a Query,
    pub(super) body: &'a Bytes,
}

impl Question<'_> {
    /// The body, which must be such a JSON object.
    fn form<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_json::from_slice(self.body).map_err(|error| Refused::bad(format!("body: {error}")))
    }

    /// A topic that the viewer may know of.
    fn topic(&self, name: &str) -> Result<std::sync::Arc<crate::metadata::Topic>, Refused> {
        let service = self.service;
        let metadata = service.context.metadata.load();
        let found = metadata.topic(name);
        found
            .filter(|_| service.access.may_describe_topic(self.viewer, name))
            .cloned()
            .ok_or_else(|| Refused::unknown("topic", name))
    }
}

/// A page of a list: `page` from 0, `per` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Paging {
    page: usize,
    per: usize,
}

impl Paging {
    fn of(query: &Query) -> Result<Self, Refused> {
        Ok(Self {
            page: query.bounded("page", 0, 0, 100_000)?,
            per: query.bounded("per", 50, 1, 500)?,
        })
    }

    /// The rows of this page.
    fn cut<T>(self, rows: Vec<T>) -> Vec<T> {
        let skip = self.page.saturating_mul(self.per);
        rows.into_iter().skip(skip).take(self.per).collect()
    }
}

/// A rate or size as it is shown: to a tenth.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
