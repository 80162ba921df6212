//! [`Pipe`]: a connection with many requests in flight. One thread writes, another reads.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::Bytes;
use wire::{ApiKey, Request};

use crate::connection::{Connection, Versions, encode, read_frame, write_frame};
use crate::error::ClientError;
use crate::stream::Stream;

/// Answers that may wait to be taken by their owner; more hold the reading threads up.
pub(crate) const EVENTS_MAX: usize = 256;
/// Longest time that a write may stand still.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a pipe's reading thread reports.
#[derive(Debug)]
pub(crate) struct Event {
    /// Number of the pipe.
    pub(crate) pipe: u64,
    /// The next answer, or why there will be none.
    pub(crate) outcome: Result<Bytes, String>,
}

/// The writing side of a connection whose answers arrive as [`Event`]s, in order.
#[derive(Debug)]
pub(crate) struct Pipe {
    number: u64,
    stream: Stream,
    address: String,
    client_id: String,
    versions: Versions,
    correlation_id: i32,
}

impl Pipe {
    /// Makes a pipe of a connection; what it reads goes to `events`, marked with `number`.
    pub(crate) fn new(
        connection: Connection,
        number: u64,
        events: SyncSender<Event>,
    ) -> Result<Self, ClientError> {
        let (stream, address, client_id, versions) = connection.into_parts();
        let broken = |cause: std::io::Error| ClientError::Broken {
            address: address.clone(),
            cause: cause.to_string(),
        };
        stream.set_read_timeout(None).map_err(broken)?;
        stream
            .set_write_timeout(Some(WRITE_TIMEOUT))
            .map_err(broken)?;
        let mut reading = stream.try_clone().map_err(broken)?;
        let read = move || {
            loop {
                let outcome = read_frame(&mut reading).map_err(|error| error.to_string());
                let ended = outcome.is_err();
                if events
                    .send(Event {
                        pipe: number,
                        outcome,
                    })
                    .is_err()
                    || ended
                {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new()
            .name(format!("read {address}"))
            .spawn(read);
        spawned.map_err(broken)?;
        Ok(Self {
            number,
            stream,
            address,
            client_id,
            versions,
            correlation_id: 0,
        })
    }

    /// Number that its events carry.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Where the pipe leads.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The highest version of `api`, at most `max`, that both sides know.
    pub(crate) fn version(&self, api: ApiKey, max: i16) -> Result<i16, ClientError> {
        self.versions
            .pick(api, max)
            .ok_or_else(|| ClientError::NotServed {
                address: self.address.clone(),
                api: api.name(),
            })
    }

    /// Sends a request; gives the correlation id of its answer.
    pub(crate) fn send<'q, R: Request<'q>>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<i32, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = encode(request, version, self.correlation_id, &self.client_id)?;
        let written = write_frame(&mut self.stream, &frame);
        written.map_err(|error| ClientError::Broken {
            address: self.address.clone(),
            cause: error.to_string(),
        })?;
        Ok(self.correlation_id)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Ends the reading thread. A connection that is gone already cannot be shut down again.
        let _ = self.stream.shutdown();
    }
}
