//! What the admin listener shows, between two lives too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::console::Console;
use crate::control::admin::{Answering, Asked, Closures, Pages};
use crate::metrics::{Exposition, Registry};
use crate::proof::Proof;

/// The pages of the present life, if one serves.
#[derive(Default)]
pub(super) struct Switch {
    now: Mutex<Option<Arc<dyn Pages>>>,
    /// What is there for people, in every life.
    console: Option<Arc<Console>>,
}

impl Switch {
    /// With a console.
    pub(super) fn with_console(console: Arc<Console>) -> Self {
        Self {
            console: Some(console),
            ..Self::default()
        }
    }

    /// A life serves.
    pub(super) fn set(&self, pages: Arc<dyn Pages>) {
        *self.lock() = Some(pages);
    }

    /// It is over.
    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<dyn Pages>>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self) -> Option<Arc<dyn Pages>> {
        self.lock().clone()
    }
}

impl Pages for Switch {
    fn metrics(&self, exposition: Exposition) -> String {
        let pages = self.get();
        pages.map_or_else(String::new, |pages| pages.metrics(exposition))
    }

    fn health(&self) -> String {
        let between = || "ok; no session: one is being begun".to_owned();
        self.get().map_or_else(between, |pages| pages.health())
    }

    fn ready(&self) -> Result<String, String> {
        let between = || Err("no session: one is being begun".to_owned());
        self.get().map_or_else(between, |pages| pages.ready())
    }

    fn has_more(&self, path: &str) -> bool {
        self.console.is_some() && Console::has(path)
    }

    fn more(&self, asked: Asked) -> Answering {
        match &self.console {
            Some(console) => console.answer(asked),
            None => unreachable!("it is asked for what it has"),
        }
    }
}

/// The pages of a life.
pub(super) fn pages(
    registry: Arc<Registry>,
    is_ready: Arc<AtomicBool>,
    refused: Arc<AtomicBool>,
    proof: Arc<Proof>,
) -> Arc<dyn Pages> {
    let (of_health, proven) = (refused.clone(), proof.clone());
    Arc::new(Closures {
        metrics: move |exposition| registry.render(Instant::now(), exposition),
        health: move || match (of_health.load(Ordering::Relaxed), proven.holds()) {
            (_, false) => "ok; the session is not proven: reads are refused".to_owned(),
            (true, true) => "ok; produce is refused".to_owned(),
            (false, true) => "ok".to_owned(),
        },
        ready: move || {
            if !is_ready.load(Ordering::Relaxed) {
                Err("the broker is stopping".to_owned())
            } else if !proof.holds() {
                Err("the session is not proven: the metadata store is out of reach".to_owned())
            } else if refused.load(Ordering::Relaxed) {
                Err(
                    "produce is refused: the store takes no writes or compaction is behind"
                        .to_owned(),
                )
            } else {
                Ok("ready".to_owned())
            }
        },
    })
}
