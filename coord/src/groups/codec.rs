//! Bytes of a stored group and of a committed offset.
//!
//! All numbers are big-endian. Text and blobs follow a 32-bit length; an option is a byte 0 or 1. A
//! value starts with its format version and ends with its last field: trailing bytes are an error.
//! An integrity check is the store's business (etcd and redb keep their own).
//!
//! ```text
//! group:   version u8 = 1 | group text | generation i32 | protocol type text? | protocol text?
//!          | leader text? | state timestamp i64 | member count u32 | members
//! member:  member text | instance text? | client id text | client host text
//!          | rebalance timeout u32 | session timeout u32 | metadata blob | assignment blob
//! offset:  version u8 = 1 | offset i64 | leader epoch i32 | commit timestamp i64
//!          | expire timestamp i64? | metadata text
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use segment::{LeaderEpoch, Offset, TimestampMs};

use super::error::DecodeError;
use super::fields::{Reader, put_blob, put_text_option};
use super::ids::{Generation, GroupId, InstanceId, MemberId};
use super::stored::{CommittedOffset, StoredGroup, StoredMember};

/// Version byte of an encoded [`StoredGroup`].
pub const GROUP_FORMAT_VERSION: u8 = 1;
/// Version byte of an encoded [`CommittedOffset`].
pub const OFFSET_FORMAT_VERSION: u8 = 1;

/// Fewest bytes of a member: seven lengths or numbers and one presence byte.
const MEMBER_BYTES_MIN: usize = 7 * 4 + 1;

impl StoredGroup {
    /// The group's bytes.
    pub fn encode(&self) -> Bytes {
        assert_eq!(self.check(), Ok(()), "only groups that decode are written");
        let mut out = BytesMut::with_capacity(self.encoded_len());
        out.put_u8(GROUP_FORMAT_VERSION);
        put_blob(&mut out, self.group.as_str().as_bytes());
        out.put_i32(self.generation.get());
        put_text_option(&mut out, self.protocol_type.as_deref());
        put_text_option(&mut out, self.protocol_name.as_deref());
        put_text_option(&mut out, self.leader.as_ref().map(MemberId::as_str));
        out.put_i64(self.state_timestamp.get());
        out.put_u32(u32::try_from(self.members.len()).expect("members are bounded"));
        for member in &self.members {
            member.encode(&mut out);
        }
        assert_eq!(
            out.len(),
            self.encoded_len(),
            "the length is predicted exactly"
        );
        out.freeze()
    }

    /// Exact length of `encode`, in bytes.
    pub fn encoded_len(&self) -> usize {
        let text = |option: Option<usize>| 1 + option.map_or(0, |len| 4 + len);
        1 + 4
            + self.group.len()
            + 4
            + text(self.protocol_type.as_ref().map(|name| name.len()))
            + text(self.protocol_name.as_ref().map(|name| name.len()))
            + text(self.leader.as_ref().map(MemberId::len))
            + 8
            + 4
            + self
                .members
                .iter()
                .map(StoredMember::encoded_len)
                .sum::<usize>()
    }

    /// Reads a group's bytes. Metadata and assignments share the input's memory.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != GROUP_FORMAT_VERSION {
            return Err(DecodeError::Version(version));
        }
        let group = GroupId::new(reader.text()?);
        let generation = Generation::new(reader.i32()?);
        let protocol_type = reader.text_option()?;
        let protocol_name = reader.text_option()?;
        let leader = reader.text_option()?.map(MemberId::new);
        let state_timestamp = TimestampMs::new(reader.i64()?);
        let count = usize::try_from(reader.u32()?).map_err(|_| DecodeError::Truncated)?;
        if count > reader.left() / MEMBER_BYTES_MIN {
            return Err(DecodeError::Truncated);
        }
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            members.push(StoredMember::decode(&mut reader)?);
        }
        reader.finish()?;
        let stored = Self {
            group,
            generation,
            protocol_type,
            protocol_name,
            leader,
            state_timestamp,
            members,
        };
        stored.check().map_err(DecodeError::Value)?;
        Ok(stored)
    }
}

impl StoredMember {
    fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        put_blob(out, self.member.as_str().as_bytes());
        put_text_option(out, self.instance.as_ref().map(InstanceId::as_str));
        put_blob(out, self.client_id.as_bytes());
        put_blob(out, self.client_host.as_bytes());
        out.put_u32(self.rebalance_timeout_ms);
        out.put_u32(self.session_timeout_ms);
        put_blob(out, &self.metadata);
        put_blob(out, &self.assignment);
        assert_eq!(
            out.len() - start,
            self.encoded_len(),
            "the length is predicted exactly"
        );
    }

    fn encoded_len(&self) -> usize {
        MEMBER_BYTES_MIN
            + self.member.len()
            + self
                .instance
                .as_ref()
                .map_or(0, |instance| 4 + instance.len())
            + self.client_id.len()
            + self.client_host.len()
            + self.metadata.len()
            + self.assignment.len()
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            member: MemberId::new(reader.text()?),
            instance: reader.text_option()?.map(InstanceId::new),
            client_id: reader.text()?,
            client_host: reader.text()?,
            rebalance_timeout_ms: reader.u32()?,
            session_timeout_ms: reader.u32()?,
            metadata: reader.blob()?,
            assignment: reader.blob()?,
        })
    }
}

impl CommittedOffset {
    /// The offset's bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        out.put_u8(OFFSET_FORMAT_VERSION);
        out.put_i64(self.offset.get());
        out.put_i32(self.leader_epoch.get());
        out.put_i64(self.commit_timestamp.get());
        match self.expire_timestamp {
            None => out.put_u8(0),
            Some(at) => {
                out.put_u8(1);
                out.put_i64(at.get());
            }
        }
        put_blob(&mut out, self.metadata.as_bytes());
        assert_eq!(
            out.len(),
            self.encoded_len(),
            "the length is predicted exactly"
        );
        out.freeze()
    }

    /// Exact length of `encode`, in bytes.
    pub fn encoded_len(&self) -> usize {
        let expire = if self.expire_timestamp.is_some() {
            8
        } else {
            0
        };
        1 + 8 + 4 + 8 + 1 + expire + 4 + self.metadata.len()
    }

    /// Reads an offset's bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != OFFSET_FORMAT_VERSION {
            return Err(DecodeError::Version(version));
        }
        let offset = Offset::new(reader.i64()?);
        let leader_epoch = LeaderEpoch::new(reader.i32()?);
        let commit_timestamp = TimestampMs::new(reader.i64()?);
        let expire_timestamp = match reader.u8()? {
            0 => None,
            1 => Some(TimestampMs::new(reader.i64()?)),
            _ => return Err(DecodeError::Value("a presence byte is neither 0 nor 1")),
        };
        let metadata = reader.text()?;
        reader.finish()?;
        Ok(Self {
            offset,
            leader_epoch,
            metadata,
            commit_timestamp,
            expire_timestamp,
        })
    }
}
