//! Transaction markers: the one record of a control batch.

use super::RecordError;
use super::codec::DecodeLimits;
use super::reader::RecordSet;
use crate::batch::Batch;
use crate::cursor::{Cursor, Ended};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 0;
const TYPE_ABORT: i16 = 0;
const TYPE_COMMIT: i16 = 1;
/// A marker has ten bytes; nothing needs more.
const LIMITS: DecodeLimits = DecodeLimits {
    bytes_max: 4096,
    ratio_max: 4096,
    ratio_free_bytes: 4096,
};

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarkerKind {
    /// Its records are visible.
    Commit,
    /// Its records are skipped by readers of committed records.
    Abort,
}

/// What a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ControlMarker {
    /// How the transaction ended.
    pub kind: MarkerKind,
    /// Epoch of the coordinator that wrote the marker.
    pub coordinator_epoch: i32,
}

impl ControlMarker {
    /// Reads the marker of a control batch.
    ///
    /// # Errors
    /// Records that cannot be read, no control batch, or a control record of another type.
    pub fn parse(batch: &Batch<'_>) -> Result<Self, RecordError> {
        if !batch.header.attributes.is_control() {
            return Err(RecordError::Marker);
        }
        let records = RecordSet::decode(batch.bytes, &LIMITS)?;
        let record = records.iter().next().ok_or(RecordError::Marker)??;
        let key = record.key.ok_or(RecordError::Marker)?;
        let value = record.value.ok_or(RecordError::Marker)?;
        read(key, value).ok().flatten().ok_or(RecordError::Marker)
    }

    pub(super) fn key(self) -> [u8; 4] {
        let kind = match self.kind {
            MarkerKind::Abort => TYPE_ABORT,
            MarkerKind::Commit => TYPE_COMMIT,
        };
        let [a, b] = KEY_VERSION.to_be_bytes();
        let [c, d] = kind.to_be_bytes();
        let key = [a, b, c, d];
        assert!(
            read(&key, &self.value()) == Ok(Some(self)),
            "a marker is read as it was written"
        );
        key
    }

    pub(super) fn value(self) -> [u8; 6] {
        let [a, b] = VALUE_VERSION.to_be_bytes();
        let [c, d, e, f] = self.coordinator_epoch.to_be_bytes();
        [a, b, c, d, e, f]
    }
}

fn read(key: &[u8], value: &[u8]) -> Result<Option<ControlMarker>, Ended> {
    let mut key = Cursor::new(key);
    let mut value = Cursor::new(value);
    // Later versions may append fields; the ones that we read stay where they are.
    let versions_known = key.i16()? >= KEY_VERSION && value.i16()? >= VALUE_VERSION;
    let kind = match key.i16()? {
        TYPE_ABORT => MarkerKind::Abort,
        TYPE_COMMIT => MarkerKind::Commit,
        _ => return Ok(None),
    };
    let coordinator_epoch = value.i32()?;
    Ok(versions_known.then_some(ControlMarker {
        kind,
        coordinator_epoch,
    }))
}
