//! A way for a task to let the runtime look at everything once: sockets, timers, and what other threads have woken.

use std::future::Future;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use monoio::net::UnixStream;

/// See [`Turnstile::pass`]. Belongs to one task.
///
/// A task that only wakes itself keeps the ring's runtime from ever looking at the wake-ups of other threads: it does so
/// before it waits for completions, and it does not wait as long as a task is ready. So this waits for a completion, that
/// of a poll of a socket that is always readable.
#[derive(Debug)]
pub struct Turnstile {
    /// A socket with a byte in it, and its other end; none where they could not be had.
    readable: Option<(UnixStream, StdStream)>,
}

impl Default for Turnstile {
    fn default() -> Self {
        Self::new()
    }
}

impl Turnstile {
    /// Takes two descriptors until it is dropped.
    pub fn new() -> Self {
        #[cfg(feature = "simulation")]
        if super::simulated::is_on() {
            return Self { readable: None };
        }
        let pair = || -> std::io::Result<_> {
            let (here, mut there) = StdStream::pair()?;
            here.set_nonblocking(true)?;
            std::io::Write::write_all(&mut there, &[0])?;
            Ok((UnixStream::from_std(here)?, there))
        };
        Self {
            readable: pair().ok(),
        }
    }

    /// Goes on when the runtime has looked at everything else. Costs a system call.
    pub async fn pass(&mut self) {
        #[cfg(feature = "simulation")]
        if super::simulated::is_on() {
            return super::yield_now().await;
        }
        match self.wait().await {
            Some(true) => {}
            // epoll: it says at once that the socket is readable, and looks at everything while tasks are ready.
            Some(false) => super::yield_now().await,
            // No descriptors, or no memory: slower, and as right.
            None => {
                self.readable = None;
                super::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Waits until the socket is readable; whether that took a turn of the runtime, nothing when it failed.
    async fn wait(&self) -> Option<bool> {
        let (here, _) = self.readable.as_ref()?;
        let mut readable = std::pin::pin!(here.readable(false));
        let mut has_waited = false;
        let polled = std::future::poll_fn(|cx| {
            let polled = readable.as_mut().poll(cx);
            has_waited |= polled.is_pending();
            polled
        });
        polled.await.ok().map(|()| has_waited)
    }
}
