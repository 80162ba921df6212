//! The quotas of one connection: looked up when its client id or the quotas change, and the pause after a
//! request that exceeds one (KIP-219: it is answered at once, and then nothing is read).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wire::RequestHeader;

use crate::control::ControlMsg;
use crate::quota::{Limits, QuotaKind, State};
use crate::security::identity::Identity;
use crate::shard::Shard;

/// What limits a connection. Shard-owned.
#[derive(Default)]
pub(crate) struct ConnectionQuota {
    /// For which state of the quotas, and for which client id.
    state: Cell<State>,
    client: RefCell<Arc<str>>,
    user: RefCell<Arc<str>>,
    limits: RefCell<Option<Rc<Limits>>>,
}

impl ConnectionQuota {
    /// What limits the request in `frame`; none, for the price of a comparison, where no client has a quota.
    pub(crate) async fn limits(
        &self,
        shard: &Shard,
        frame: &[u8],
        identity: &Identity,
    ) -> Option<Rc<Limits>> {
        let state = shard.shared.quotas.state();
        let is_same = state == self.state.get();
        if is_same && !state.is_limited() {
            return None;
        }
        let client = match RequestHeader::decode(&mut wire::Decoder::new(frame)) {
            Ok(header) => header.client_id.unwrap_or_default(),
            // It is refused when it is carried out.
            Err(_) => return None,
        };
        let user = identity.user();
        if !is_same || *client != **self.client.borrow() || user != *self.user.borrow() {
            self.look_up(shard, state, user, client).await;
        }
        let limits = self.limits.borrow().clone();
        limits.inspect(|limits| limits.begin())
    }

    async fn look_up(&self, shard: &Shard, state: State, user: Arc<str>, client: &str) {
        let client: Arc<str> = client.into();
        let mut limits = None;
        if state.is_limited() {
            let (control, of, name) = (&shard.shared.control, user.clone(), client.clone());
            let asked = control.ask(|reply| ControlMsg::Limits(of, name, reply));
            let found = asked.await;
            // A broker that goes down limits nobody.
            let found = found.ok().map(Limits::new);
            limits = found.filter(|limits| !limits.is_empty()).map(Rc::new);
        }
        self.state.set(state);
        self.client.replace(client);
        self.user.replace(user);
        self.limits.replace(limits);
    }

    /// How long nothing is to be read after the present request.
    pub(crate) fn pause(&self, shard: &Shard) -> Option<Duration> {
        let limits = self.limits.borrow();
        let (pause, kind) = limits.as_ref()?.owed()?;
        let metrics = &shard.metrics;
        match kind {
            QuotaKind::Produce => metrics.throttled_produce.increment(),
            QuotaKind::Fetch => metrics.throttled_fetch.increment(),
            QuotaKind::Request => metrics.throttled_request.increment(),
            QuotaKind::Mutation => metrics.throttled_mutation.increment(),
            QuotaKind::NamespaceProduce => metrics.throttled_namespace_produce.increment(),
            QuotaKind::NamespaceFetch => metrics.throttled_namespace_fetch.increment(),
        }
        Some(pause)
    }
}
