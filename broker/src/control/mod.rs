//! The control thread: object store, metadata store, flusher, compaction, garbage, listeners. It
//! never touches partition state; it sends to shards and they send to it.
//!
//! One thread with a tokio current-thread runtime; what is blocking or heavy runs on a small pool,
//! so that an acknowledgement never waits behind it. `start.rs` puts the parts together:
//!
//! | part | does |
//! |---|---|
//! | [`session`], [`keeper`] | a life of this broker: begun, kept alive, proven |
//! | [`view`], [`follow`] | what is known of the cluster |
//! | [`ownership`] | who serves what: takes and gives away |
//! | [`takeover`], [`harvest`], [`directories`], [`image`], [`segments`] | take partitions and load them |
//! | [`slots`] | coordinator slots, groups, committed offsets |
//! | [`quotas`], [`broker_configs`] | client quotas; settings of brokers that change while they run |
//! | [`certificates`] | files of TLS that change |
//! | [`tokens`], [`jwks`] | tokens of clients, the keys that they are signed with, and where those come from |
//! | [`acls`] | rules of who may do what |
//! | [`users`] | users: their stored credentials, and passwords that are to be checked |
//! | [`catalog`], `room`, [`sweep`], [`log_start`], [`retention`] | topics, and whether there is room for more |
//! | [`flusher`], [`own_objects`] | WAL objects, in sequence; large sections apart |
//! | [`compactor`], [`policy`], [`put_budget`], [`merge`], [`cleaner`], [`replace`], [`garbage`] | segments, and what they make superfluous |
//! | [`objects`], [`retry`], [`health`] | the object store: when to ask it again, how it is, and what follows |
//! | [`loads`], [`time_index`], [`missing`], [`quarantine`], [`requests`] | what shards ask for; objects that are gone or damaged |
//! | [`lags`], [`bounds`] | how far consumer groups are behind |
//! | [`census`] | how many segments this broker owns |
//! | [`events`] | what has happened, for the console |
//! | [`backups`] | backups of the metadata |
//! | `pool` | blocking and heavy work |
//! | [`memory`] | free memory given back |
//! | [`listener`], [`gate`], [`admin`] | sockets, and who may open one |
//! | [`operator`] | the cluster from outside, for the command line |

pub mod acls;
pub mod admin;
mod arrivals;
pub mod backups;
pub mod bounds;
pub mod broker_configs;
pub mod catalog;
pub mod census;
pub mod certificates;
pub mod cleaner;
pub mod commit;
pub mod compactor;
pub mod context;
pub mod directories;
pub mod events;
pub mod flusher;
pub mod follow;
pub mod garbage;
pub mod gate;
mod handle;
pub mod harvest;
pub mod health;
pub mod image;
pub mod jwks;
pub mod keeper;
pub mod lags;
pub mod listener;
pub mod loads;
#[cfg(test)]
pub(crate) mod log_protocol;
pub mod log_start;
pub mod memory;
pub mod merge;
pub mod missing;
pub mod objects;
pub mod operator;
pub mod own_objects;
pub mod ownership;
pub mod policy;
mod pool;
mod proxied;
pub mod put_budget;
pub mod quarantine;
pub mod quotas;
pub mod reassign;
pub mod replace;
pub mod requests;
pub mod retention;
pub mod retry;
mod room;
pub mod segments;
pub mod session;
pub mod slots;
pub mod sweep;
pub mod takeover;
#[cfg(test)]
pub(crate) mod testing;
pub mod time_index;
pub mod tokens;
pub mod unpack;
pub mod users;
pub mod view;

pub use acls::{AclChangeError, AclsMsg};
pub use broker_configs::BrokerConfigChange;
pub use handle::{
    ControlGone, ControlHandle, ControlMsg, FlushSignal, LoadError, NewConfig, NewTopic, TopicError,
};
pub use missing::Missing;
pub use quotas::{QuotaChange, QuotaError};
pub use reassign::{Moving, ReassignError, Reassignment};
pub use time_index::{TimeBlock, TimeTarget};
pub use users::{CredentialChange, UserError, UsersMsg};
