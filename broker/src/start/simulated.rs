//! A broker of a simulation: everything but its sockets, its admin pages and its signals.

use std::cell::Cell;
use std::sync::Arc;

use super::life::{Entrance, Lasting};
use super::pages::Switch;
use super::{Running, StartError, Stores, lives_on};
use crate::config::Config;
use crate::metrics::ControlMetrics;
use crate::runtime::simulated::Wire;

/// Runs a broker on these stores, whose connections come from `wires`, until `stop` completes; tells
/// when it serves. Runs within a `LocalSet` of a thread that is simulated.
///
/// # Errors
/// [`StartError`]: why it did not start or go on.
pub async fn run(
    config: Config,
    stores: Stores,
    wires: flume::Receiver<Wire>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<(), StartError> {
    let running = Running {
        kafka: config.broker.addr,
        admin: config.admin.addr,
    };
    let lasting = Lasting {
        config: Arc::new(config),
        stores,
        entrance: Entrance::Simulated(wires),
        running,
        metrics: Arc::new(ControlMetrics::default()),
        tokens: None,
        pages: Arc::new(Switch::default()),
        broker: Cell::new(None),
        events: Arc::default(),
        console: None,
    };
    lives_on(lasting, stop, |_, _| ready()).await
}
