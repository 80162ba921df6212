//! [`Heartbeat`]: a thread that keeps a member in its group.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wire::ErrorCode;
use wire::messages::HeartbeatRequest;

use super::{GroupSettings, Membership};
use crate::connection::Connection;
use crate::error::ClientError;
use crate::router::Client;

/// What the last heartbeats say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// The member is in the group.
    Alive,
    /// The group rebalances: the member must join again.
    Rebalance,
    /// The group does not know this member or generation.
    Fenced(ErrorCode),
    /// The coordinator cannot be asked.
    Lost,
}

#[derive(Debug)]
struct Shared {
    beat: Beat,
    /// When the caller was last here.
    polled: Instant,
}

/// Sends heartbeats for one generation, until it is dropped or the generation ends.
#[derive(Debug)]
pub(super) struct Heartbeat {
    shared: Arc<Mutex<Shared>>,
    /// Its end stops the thread.
    _stop: SyncSender<()>,
}

struct Task {
    connection: Connection,
    group: String,
    membership: Membership,
    instance_id: Option<String>,
    interval: Duration,
    session_timeout: Duration,
    poll_timeout: Duration,
    shared: Arc<Mutex<Shared>>,
}

impl Heartbeat {
    pub(super) fn start(
        client: &Client,
        settings: &GroupSettings,
        membership: &Membership,
    ) -> Result<Self, ClientError> {
        let now = Instant::now();
        let shared = Arc::new(Mutex::new(Shared {
            beat: Beat::Alive,
            polled: now,
        }));
        let task = Task {
            connection: client.open(membership.coordinator)?,
            group: settings.group.clone(),
            membership: membership.clone(),
            instance_id: settings.instance_id.clone(),
            interval: settings.heartbeat_interval,
            session_timeout: settings.session_timeout,
            poll_timeout: settings.rebalance_timeout,
            shared: shared.clone(),
        };
        let (stop, stopped) = sync_channel(1);
        let run = move || {
            let mut task = task;
            while stopped.recv_timeout(task.interval) == Err(RecvTimeoutError::Timeout) {
                let beat = task.beat();
                lock(&task.shared).beat = beat;
                if beat != Beat::Alive {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(run);
        spawned.map_err(|error| ClientError::Usage(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            shared,
            _stop: stop,
        })
    }

    /// What the last heartbeats say.
    pub(super) fn state(&self) -> Beat {
        lock(&self.shared).beat
    }

    /// Notes that the caller is here.
    pub(super) fn polled(&self) {
        lock(&self.shared).polled = Instant::now();
    }
}

impl Task {
    fn beat(&mut self) -> Beat {
        if lock(&self.shared).polled.elapsed() > self.poll_timeout {
            // The caller does not come back: let the group give its partitions to others.
            return Beat::Fenced(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        let request = HeartbeatRequest {
            group_id: &self.group,
            generation_id: self.membership.generation,
            member_id: &self.membership.member_id,
            group_instance_id: self.instance_id.as_deref(),
        };
        let reply = self
            .connection
            .call_within(&request, i16::MAX, self.session_timeout);
        let code = reply.and_then(|reply| Ok(reply.decode()?.error_code));
        match code {
            Ok(ErrorCode::NONE) => Beat::Alive,
            Ok(ErrorCode::REBALANCE_IN_PROGRESS) => Beat::Rebalance,
            Ok(code) if code.retriable() => Beat::Lost,
            Ok(code) => Beat::Fenced(code),
            Err(_) => Beat::Lost,
        }
    }
}

/// The state is plain data: it is whole even if a thread that held the lock has panicked.
fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
