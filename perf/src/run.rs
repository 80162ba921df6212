//! What all kinds of runs share: the broker, the times, the topic, and the threads.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::access::Access;
use crate::clock::{Window, sleep_until};
use crate::cluster::{Cluster, Topic};
use crate::meter::{Counter, CpuUse, Tally, watch};

/// What a run needs to know whatever it does.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Addresses of brokers, separated by commas.
    pub bootstrap: String,
    /// How they are connected to.
    pub access: Access,
    /// Time before anything is recorded.
    pub warmup: Duration,
    /// Time that is recorded.
    pub duration: Duration,
    /// Process of the broker, if it runs here and its processor time is wanted.
    pub broker_pid: Option<u32>,
    /// Replicas of topics that are created; -1 for the broker's default.
    pub replicas: i16,
    /// Settings of topics that are created.
    pub topic_config: Vec<(String, String)>,
    /// Whether topics are left behind.
    pub keep_topics: bool,
    /// How long replies are awaited after the window.
    pub patience: Duration,
    /// Before the title of a run in the progress line: the how manyeth it is.
    pub progress: String,
}

/// What a run measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The sum over its threads.
    pub tally: Tally,
    /// Length of the measured window in seconds.
    pub seconds: f64,
    /// Processor time.
    pub cpu: CpuUse,
}

impl Setting {
    /// Creates a topic, runs `body` with it, and deletes it.
    ///
    /// # Errors
    /// The topic cannot be created, or `body` fails. A topic that cannot be deleted stays.
    pub fn with_topic<T>(
        &self,
        kind: &str,
        partitions: usize,
        body: impl FnOnce(&Topic) -> Result<T>,
    ) -> Result<T> {
        let mut cluster = Cluster::connect(&self.bootstrap, &self.access)?;
        let name = format!("kafscale-perf-{kind}-{:08x}", rand::random::<u32>());
        let topic = cluster.create_topic(&name, partitions, self.replicas, &self.topic_config)?;
        drop(cluster);
        let outcome = body(&topic);
        if !self.keep_topics {
            // The connection of the creation may have been closed as idle meanwhile.
            let _ = Cluster::connect(&self.bootstrap, &self.access)
                .and_then(|mut c| c.delete_topic(&name));
        }
        outcome
    }

    /// Runs one thread per worker in a window of its own, shows progress, and adds up.
    ///
    /// # Errors
    /// A worker fails.
    pub fn run<W, F>(&self, title: &str, workers: Vec<W>, work: F) -> Result<Measured>
    where
        W: Send,
        F: Fn(W, Window, &Arc<Counter>) -> Result<Tally> + Sync,
    {
        let (tallies, seconds, cpu) = self.run_each(title, workers, work)?;
        let mut tally = Tally::default();
        tallies.iter().for_each(|other| tally.add(other));
        Ok(Measured {
            tally,
            seconds,
            cpu,
        })
    }

    /// As [`Setting::run`], but gives what each worker counted, the seconds that were measured and
    /// the processor time.
    ///
    /// # Errors
    /// A worker fails.
    pub fn run_each<W, F>(
        &self,
        title: &str,
        workers: Vec<W>,
        work: F,
    ) -> Result<(Vec<Tally>, f64, CpuUse)>
    where
        W: Send,
        F: Fn(W, Window, &Arc<Counter>) -> Result<Tally> + Sync,
    {
        let window = Window::soon(self.warmup, self.duration, self.patience);
        let counters: Vec<Arc<Counter>> = workers.iter().map(|_| Arc::default()).collect();
        let (tallies, cpu) = std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = workers
                .into_iter()
                .zip(&counters)
                .map(|(worker, counter)| {
                    scope.spawn(move || {
                        sleep_until(window.start);
                        work(worker, window, counter)
                    })
                })
                .collect();
            let title = format!("{}{title}", self.progress);
            let cpu = watch(&title, window, &counters, self.broker_pid);
            let tallies: Vec<Result<Tally>> = threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
                })
                .collect();
            (tallies, cpu)
        });
        let tallies: Result<Vec<Tally>> = tallies.into_iter().collect();
        let tallies = tallies.with_context(|| title.to_owned())?;
        Ok((tallies, window.measured_seconds(), cpu))
    }
}
