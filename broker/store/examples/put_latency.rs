//! Measures PUT latency of the local store: `put_latency <directory> [rounds]`.
//!
//! Prints p50, p99 and the directory syncs per PUT for bodies of 4 KiB and 1 MiB, one PUT at a time
//! and four at once, with each thread on one key prefix as a session's WAL has.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a tool that reports on standard output"
)]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::local::{LocalOptions, LocalStore};
use store::{Body, ObjectKey, ObjectStore, PutCondition};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => thread::park(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments
        .next()
        .ok_or("usage: put_latency <directory> [rounds]")?;
    let rounds = arguments.next().map_or(Ok(500), |text| text.parse())?;
    let store = LocalStore::open(Path::new(&root), LocalOptions::default())?;
    for (name, bytes) in [("4 KiB", 4 << 10), ("1 MiB", 1 << 20)] {
        for at_once in [1, 4] {
            let before = store.stats();
            let mut latencies = measure(&store, bytes, at_once, rounds)?;
            let after = store.stats();
            latencies.sort_unstable();
            let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
            let puts = (after.puts - before.puts) as f64;
            let syncs = (after.directory_syncs - before.directory_syncs) as f64 / puts;
            println!(
                "{name} x {at_once}: p50 {:?}, p99 {:?}, {syncs:.2} directory syncs a PUT",
                at(50),
                at(99)
            );
        }
    }
    Ok(())
}

fn measure(
    store: &LocalStore,
    bytes: usize,
    at_once: usize,
    rounds: usize,
) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let body = Body::new(vec![Bytes::from(vec![b'x'; 4096]); bytes / 4096]);
    let put_all = |thread: usize| -> Result<Vec<Duration>, String> {
        let mut latencies = Vec::with_capacity(rounds);
        for round in 0..rounds {
            let text = format!("wal/{bytes}-{at_once}/{round:010}-{thread}.wal");
            let key = ObjectKey::new(text).map_err(|error| error.to_string())?;
            let start = Instant::now();
            wait(store.put(key, body.clone(), PutCondition::IfAbsent))
                .map_err(|error| error.to_string())?;
            latencies.push(start.elapsed());
        }
        Ok(latencies)
    };
    let mut all = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once)
            .map(|thread| scope.spawn(move || put_all(thread)))
            .collect();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok::<(), String>(())
    })?;
    Ok(all)
}
