//! The one place where our errors become Kafka's error codes.
//!
//! Every match is exhaustive, so that a new error has to be given a code before it compiles.

use coord::groups::GroupError;
use segment::batch::BatchError;
use segment::topic_name::TopicNameError;
use wire::ErrorCode;

use super::fetch_session::SessionError;
use crate::control::unpack::UnpackError;
use crate::control::{AclChangeError, LoadError, QuotaError, ReassignError, TopicError, UserError};
use crate::logging::LevelError;
use crate::partition::AppendError;
use crate::partition::producers::SequenceError;
use crate::security::identity::Refused;
use crate::shard::{GroupUnavailable, ProduceError, ReadError};
use crate::topic_config::ConfigError;

/// The code of a refusal of the group coordinator.
pub(super) const fn group_code(error: GroupError) -> ErrorCode {
    match error {
        GroupError::InvalidGroupId => ErrorCode::INVALID_GROUP_ID,
        GroupError::InvalidSessionTimeout => ErrorCode::INVALID_SESSION_TIMEOUT,
        GroupError::MemberIdRequired => ErrorCode::MEMBER_ID_REQUIRED,
        GroupError::UnknownMemberId => ErrorCode::UNKNOWN_MEMBER_ID,
        GroupError::FencedInstanceId => ErrorCode::FENCED_INSTANCE_ID,
        GroupError::IllegalGeneration => ErrorCode::ILLEGAL_GENERATION,
        GroupError::InconsistentGroupProtocol => ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        GroupError::RebalanceInProgress => ErrorCode::REBALANCE_IN_PROGRESS,
        GroupError::GroupMaxSizeReached => ErrorCode::GROUP_MAX_SIZE_REACHED,
        GroupError::TooManyGroups => ErrorCode::POLICY_VIOLATION,
        GroupError::CoordinatorNotAvailable => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        GroupError::NotCoordinator => ErrorCode::NOT_COORDINATOR,
        GroupError::GroupIdNotFound => ErrorCode::GROUP_ID_NOT_FOUND,
        GroupError::NonEmptyGroup => ErrorCode::NON_EMPTY_GROUP,
        GroupError::GroupSubscribedToTopic => ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OFFSET_METADATA_TOO_LARGE,
        GroupError::UnstableOffsetCommit => ErrorCode::UNSTABLE_OFFSET_COMMIT,
        GroupError::UnknownServerError => ErrorCode::UNKNOWN_SERVER_ERROR,
    }
}

/// The code of a result of the group coordinator.
pub(super) const fn group_result(result: Result<(), GroupError>) -> ErrorCode {
    match result {
        Ok(()) => ErrorCode::NONE,
        Err(error) => group_code(error),
    }
}

/// The code where a coordinator cannot be asked. All are retriable.
pub(super) const fn unavailable_code(error: GroupUnavailable) -> ErrorCode {
    match error {
        GroupUnavailable::Loading => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        GroupUnavailable::Busy | GroupUnavailable::Late => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        GroupUnavailable::Gone => ErrorCode::NOT_COORDINATOR,
    }
}

/// The code of a failed topic operation.
pub(super) const fn topic_code(error: &TopicError) -> ErrorCode {
    match error {
        TopicError::Exists(_) => ErrorCode::TOPIC_ALREADY_EXISTS,
        TopicError::Unknown => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        TopicError::Collision(..) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        TopicError::Partitions(_) => ErrorCode::INVALID_PARTITIONS,
        TopicError::Full(_) => ErrorCode::POLICY_VIOLATION,
        // The outcome may be unknown, as after a time-out of Kafka's controller.
        TopicError::Unavailable(_) | TopicError::Changed => ErrorCode::REQUEST_TIMED_OUT,
    }
}

/// The code where the owner of a partition was not chosen.
pub(super) const fn reassign_code(error: &ReassignError) -> ErrorCode {
    match error {
        ReassignError::Unknown => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ReassignError::NoBroker(_) | ReassignError::Drained(_) => {
            ErrorCode::INVALID_REPLICA_ASSIGNMENT
        }
        ReassignError::NoneUnderWay => ErrorCode::NO_REASSIGNMENT_IN_PROGRESS,
        // The outcome may be unknown, as after a time-out of Kafka's controller.
        ReassignError::Unavailable(_) => ErrorCode::REQUEST_TIMED_OUT,
    }
}

/// The code where quotas were not changed.
pub(super) const fn quota_code(error: &QuotaError) -> ErrorCode {
    match error {
        QuotaError::Address(_) => ErrorCode::INVALID_REQUEST,
        // The outcome may be unknown, as after a time-out of Kafka's controller.
        QuotaError::Unavailable(_) => ErrorCode::REQUEST_TIMED_OUT,
    }
}

/// The code where rules were not changed.
pub(super) const fn acl_code(error: &AclChangeError) -> ErrorCode {
    match error {
        AclChangeError::TooMany => ErrorCode::INVALID_REQUEST,
        // The outcome may be unknown, as after a time-out of Kafka's controller.
        AclChangeError::Unavailable(_) => ErrorCode::REQUEST_TIMED_OUT,
    }
}

/// The code of a refused step of authentication.
pub(super) const fn sasl_code(refused: &Refused) -> ErrorCode {
    match refused {
        Refused::State(_) => ErrorCode::ILLEGAL_SASL_STATE,
        Refused::Mechanism => ErrorCode::UNSUPPORTED_SASL_MECHANISM,
        Refused::Failed(_) => ErrorCode::SASL_AUTHENTICATION_FAILED,
    }
}

/// The code where a user was not changed.
pub(super) const fn user_code(error: &UserError) -> ErrorCode {
    match error {
        UserError::Unknown => ErrorCode::RESOURCE_NOT_FOUND,
        // The outcome may be unknown, as after a time-out of Kafka's controller.
        UserError::Unavailable(_) => ErrorCode::REQUEST_TIMED_OUT,
    }
}

/// The code of an illegal topic name.
pub(super) const fn topic_name_code(error: &TopicNameError) -> ErrorCode {
    match error {
        TopicNameError::Empty
        | TopicNameError::Dots
        | TopicNameError::TooLong { .. }
        | TopicNameError::Character { .. } => ErrorCode::INVALID_TOPIC_EXCEPTION,
    }
}

/// The code of a change of levels that was refused.
pub(super) const fn level_code(error: &LevelError) -> ErrorCode {
    match error {
        LevelError::NoLogger(_) | LevelError::NoLevel { .. } => ErrorCode::INVALID_CONFIG,
        LevelError::Root | LevelError::NotOurs(_) => ErrorCode::INVALID_REQUEST,
    }
}

/// The code of refused topic settings.
pub(super) const fn config_code(error: &ConfigError) -> ErrorCode {
    match error {
        ConfigError::Unknown(_)
        | ConfigError::Value { .. }
        | ConfigError::Conflict(_)
        | ConfigError::NotList { .. }
        | ConfigError::TooLarge(_) => ErrorCode::INVALID_CONFIG,
    }
}

/// The code of a batch that is refused before it reaches its partition.
pub(super) const fn batch_code(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Truncated { .. }
        | BatchError::TrailingBytes { .. }
        | BatchError::Length { .. }
        | BatchError::Crc { .. } => ErrorCode::CORRUPT_MESSAGE,
        BatchError::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        BatchError::Codec { .. } => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        BatchError::UnsupportedMagic { .. }
        | BatchError::OffsetRange { .. }
        | BatchError::RecordCount { .. }
        | BatchError::ControlFromClient
        | BatchError::Producer { .. } => ErrorCode::INVALID_RECORD,
        BatchError::Timestamp | BatchError::TimestampTooLate { .. } => ErrorCode::INVALID_TIMESTAMP,
    }
}

/// The code of a batch that is refused for what its records are (Kafka's `LogValidator`).
pub(super) const fn unpack_code(error: &UnpackError) -> ErrorCode {
    match error {
        UnpackError::TooOld => ErrorCode::INVALID_TIMESTAMP,
        UnpackError::Malformed | UnpackError::WithoutKey { .. } => ErrorCode::INVALID_RECORD,
        UnpackError::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        UnpackError::Recode(_) => ErrorCode::CORRUPT_MESSAGE,
    }
}

/// The code of a batch that its partition's owner refuses.
pub(super) const fn produce_code(error: &ProduceError) -> ErrorCode {
    match error {
        ProduceError::Append(AppendError::Sequence(error)) => sequence_code(error),
        ProduceError::Append(AppendError::Released) | ProduceError::NotOwner => {
            ErrorCode::NOT_LEADER_OR_FOLLOWER
        }
        ProduceError::Append(AppendError::Exhausted) => ErrorCode::UNKNOWN_SERVER_ERROR,
        // Retriable in every client, and it says that nothing was appended.
        ProduceError::Backlog => ErrorCode::NOT_ENOUGH_REPLICAS,
        ProduceError::Unavailable => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}

const fn sequence_code(error: &SequenceError) -> ErrorCode {
    match error {
        SequenceError::Fenced { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
        SequenceError::OutOfOrder { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
    }
}

/// The code of a read that failed.
pub(super) const fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::NotServed => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ReadError::OutOfRange => ErrorCode::OFFSET_OUT_OF_RANGE,
        // As Kafka for a log whose records cannot be read (CorruptRecordException): clients tell their
        // user, who decides; nothing is skipped.
        ReadError::Load(LoadError::Corrupt(..)) => ErrorCode::CORRUPT_MESSAGE,
        // Retriable: a consumer asks again, and nothing is skipped.
        ReadError::Load(LoadError::NotFound(_) | LoadError::Unavailable(..))
        | ReadError::EndsBefore
        | ReadError::Busy => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}

/// The code of a refused fetch session (KIP-227).
pub(super) const fn session_code(error: &SessionError) -> ErrorCode {
    match error {
        SessionError::Unknown(_) => ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
        SessionError::Epoch(_) => ErrorCode::INVALID_FETCH_SESSION_EPOCH,
    }
}

#[cfg(test)]
mod tests {
    use segment::{ProducerEpoch, ProducerId};

    use super::*;

    #[test]
    fn retriable_errors_get_retriable_codes() {
        for error in [
            GroupUnavailable::Loading,
            GroupUnavailable::Busy,
            GroupUnavailable::Late,
            GroupUnavailable::Gone,
        ] {
            assert!(unavailable_code(error).retriable(), "{error}");
        }
        for error in [
            GroupError::CoordinatorNotAvailable,
            GroupError::NotCoordinator,
        ] {
            assert!(error.is_retriable() && group_code(error).retriable());
        }
        assert!(produce_code(&ProduceError::Backlog).retriable());
        assert!(produce_code(&ProduceError::NotOwner).retriable());
        assert!(produce_code(&ProduceError::Append(AppendError::Released)).retriable());
        assert!(read_code(&ReadError::Busy).retriable());
        assert!(topic_code(&TopicError::Unavailable(String::new())).retriable());
    }

    #[test]
    fn idempotence_errors_are_those_that_producers_act_on() {
        let fenced = SequenceError::Fenced {
            producer: ProducerId::new(1),
            current: ProducerEpoch::new(2),
            found: ProducerEpoch::new(1),
        };
        let error = ProduceError::Append(AppendError::Sequence(fenced));
        assert_eq!(produce_code(&error), ErrorCode::INVALID_PRODUCER_EPOCH);
    }

    #[test]
    fn corruption_is_told_apart_from_what_the_client_did_wrong() {
        let crc = BatchError::Crc {
            stored: 1,
            computed: 2,
        };
        assert!(crc.is_corruption());
        assert_eq!(batch_code(&crc), ErrorCode::CORRUPT_MESSAGE);
        let large = BatchError::TooLarge { bytes: 2, limit: 1 };
        assert_eq!(batch_code(&large), ErrorCode::MESSAGE_TOO_LARGE);
        assert_eq!(
            batch_code(&BatchError::ControlFromClient),
            ErrorCode::INVALID_RECORD
        );
    }
}
