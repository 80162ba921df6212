//! [`Desk`]: where tools get what they need: clients of the cluster, and the pages of admin listeners.
//!
//! Tools block, so each call runs on a thread of its own. Invariants: at most [`CALLS_MAX`] calls run, at most
//! [`WAITING_MAX`] wait, and no more clients are kept than calls may run. A client is connected when a tool first needs
//! one, so that the server starts, and can tell what is wrong, while no broker answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Client, ClientError, ClientSettings};
use tokio::sync::Semaphore;

use crate::admin::AdminPages;

/// Tool calls that run at once.
pub(crate) const CALLS_MAX: usize = 8;
/// Tool calls that wait for one that runs.
const WAITING_MAX: usize = 32;

/// What tools work with. Shared by all sessions.
#[derive(Debug)]
pub(crate) struct Desk {
    settings: ClientSettings,
    admin: AdminPages,
    idle: Mutex<Vec<Client>>,
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// Why a call was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeskError {
    /// Too many calls at once.
    #[error(
        "the server is busy: {CALLS_MAX} calls run and {WAITING_MAX} wait; make fewer calls at once, and try again"
    )]
    Busy,
    /// The call took too long. What it has begun may still be carried out.
    #[error(
        "the call was not done within {} s; ask for less (fewer records, partitions or topics), or look at `health`",
        .0.as_secs()
    )]
    Late(Duration),
    /// A defect: the call ended without a result.
    #[error("the call failed inside the server; its log says more")]
    Failed,
}

impl Desk {
    pub(crate) fn new(settings: ClientSettings, admin: AdminPages) -> Self {
        Self {
            settings,
            admin,
            idle: Mutex::new(Vec::new()),
            waiting: Arc::new(Semaphore::new(CALLS_MAX + WAITING_MAX)),
            running: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    /// Longest time for a call: whatever a broker does, its client has given up once by then.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.settings.request_timeout.saturating_mul(2)
    }

    /// Runs a call on a thread that may block. The place of a call that is late is free once it has really ended.
    pub(crate) async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&mut Visit) -> T + Send + 'static,
    ) -> Result<T, DeskError> {
        let queued = Arc::clone(&self.waiting).try_acquire_owned();
        let queued = queued.map_err(|_| DeskError::Busy)?;
        let (desk, limit) = (Arc::clone(self), self.call_timeout());
        let run = async {
            let running = Arc::clone(&desk.running).acquire_owned().await;
            let running = running.map_err(|_| DeskError::Failed)?;
            let work = move || {
                let _places = (queued, running);
                call(&mut Visit { desk, client: None })
            };
            let done = tokio::task::spawn_blocking(work).await;
            done.map_err(|_| DeskError::Failed)
        };
        let done = tokio::time::timeout(limit, run).await;
        done.unwrap_or(Err(DeskError::Late(limit)))
    }

    fn take(&self) -> Option<Client> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    fn give_back(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(idle.len() < CALLS_MAX, "each idle client was a call's");
        idle.push(client);
    }
}

/// One call's use of the desk.
#[derive(Debug)]
pub(crate) struct Visit {
    desk: Arc<Desk>,
    client: Option<Client>,
}

impl Visit {
    pub(crate) fn admin(&self) -> &AdminPages {
        &self.desk.admin
    }

    /// The settings of clients.
    pub(crate) fn settings(&self) -> &ClientSettings {
        &self.desk.settings
    }

    /// A client of the cluster. A connection that an earlier call has broken is opened anew by itself.
    pub(crate) fn client(&mut self) -> Result<&mut Client, ClientError> {
        let client = self.take_client()?;
        Ok(self.client.insert(client))
    }

    /// The client itself, for who gives it back with [`Visit::keep`].
    pub(crate) fn take_client(&mut self) -> Result<Client, ClientError> {
        match self.client.take().or_else(|| self.desk.take()) {
            Some(client) => Ok(client),
            None => Client::connect(self.desk.settings.clone()),
        }
    }

    pub(crate) fn keep(&mut self, client: Client) {
        self.client = Some(client);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.desk.give_back(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn desk(request_timeout: Duration) -> Arc<Desk> {
        let settings = ClientSettings {
            request_timeout,
            ..ClientSettings::with_bootstrap("127.0.0.1:1")
        };
        Arc::new(Desk::new(settings, AdminPages::none()))
    }

    #[tokio::test]
    async fn calls_beyond_those_that_run_and_wait_are_refused() {
        let desk = desk(Duration::from_secs(30));
        let (release, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let mut calls = Vec::new();
        for _ in 0..CALLS_MAX + WAITING_MAX {
            let (desk, wait) = (Arc::clone(&desk), Arc::clone(&wait));
            calls.push(tokio::spawn(async move {
                desk.call(move |_| wait.lock().unwrap().recv().unwrap())
                    .await
            }));
            tokio::task::yield_now().await;
        }
        assert!(matches!(desk.call(|_| ()).await, Err(DeskError::Busy)));
        for _ in 0..calls.len() {
            release.send(()).unwrap();
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
        desk.call(|_| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_is_late_is_answered_and_keeps_its_place() {
        let desk = desk(Duration::from_millis(20));
        let (release, wait) = channel::<()>();
        let late = desk.call(move |_| wait.recv()).await;
        assert!(matches!(late, Err(DeskError::Late(_))));
        assert_eq!(desk.running.available_permits(), CALLS_MAX - 1);
        release.send(()).unwrap();
        while desk.running.available_permits() < CALLS_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error_and_frees_its_place() {
        let desk = desk(Duration::from_secs(30));
        let failed = desk.call(|_| panic!("on purpose")).await;
        assert!(matches!(failed, Err(DeskError::Failed)));
        assert_eq!(desk.running.available_permits(), CALLS_MAX);
    }
}
