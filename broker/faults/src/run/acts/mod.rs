//! What befalls the machines of the run, and what is expected of them meanwhile; one function a
//! scenario.

mod brokers;
mod embedded;
mod etcd;
mod network;
mod s3;

use check::Partition;

use super::firewall::Way;
use super::proxy::Link;
use super::stage::Stage;
use super::{RunError, Scenario};

/// The partition whose owner is the victim.
const AIM: Partition = Partition(0);

/// Plays a scenario. What is broken when it ends is mended by the caller.
///
/// # Errors
/// [`RunError`]: something did not come about, or the cluster does what it must not do.
pub(super) fn act(scenario: Scenario, stage: &mut Stage<'_>) -> Result<(), RunError> {
    match scenario {
        Scenario::Nothing => brokers::nothing(stage),
        Scenario::KillOwner => brokers::kill_owner(stage),
        Scenario::Zombie => brokers::zombie(stage),
        Scenario::RollingRestart => brokers::rolling_restart(stage),
        Scenario::Flapping => brokers::flapping(stage),
        Scenario::AllKilled => brokers::all_killed(stage),
        Scenario::GracefulMoves => brokers::graceful_moves(stage),
        Scenario::ForcedMoves => brokers::forced_moves(stage),
        Scenario::CutEtcd => network::cut(stage, false),
        Scenario::DeafEtcd => network::cut_one_way(stage, Link::Deaf),
        Scenario::MuteEtcd => network::cut_one_way(stage, Link::Mute),
        Scenario::CutS3 => network::cut_from_s3(stage, Link::Cut),
        Scenario::SilentS3 => network::cut_from_s3(stage, Link::Held),
        Scenario::DeafS3 => network::cut_from_s3(stage, Link::Deaf),
        Scenario::CutBoth => network::cut(stage, true),
        Scenario::Loss => network::loss(stage),
        Scenario::CutClients => network::clients_cut(stage, &[Way::To, Way::From]),
        Scenario::MuteOwner => network::clients_cut(stage, &[Way::From]),
        Scenario::RestartEtcd => etcd::restart_etcd(stage),
        Scenario::EtcdDown => etcd::etcd_down(stage),
        Scenario::EtcdSlow => etcd::etcd_slow(stage),
        Scenario::EtcdFrozen => etcd::etcd_frozen(stage),
        Scenario::EtcdQuorum => etcd::etcd_quorum(stage),
        Scenario::EtcdLeader => etcd::etcd_leader(stage),
        Scenario::S3Errors => s3::s3_errors(stage),
        Scenario::S3Slow => s3::s3_slow(stage),
        Scenario::S3VerySlow => s3::s3_very_slow(stage),
        Scenario::S3SlowLink => s3::s3_slow_link(stage),
        Scenario::S3Resets => s3::s3_resets(stage),
        Scenario::S3Narrow => s3::s3_narrow(stage),
        Scenario::S3Truncated => s3::s3_truncated(stage),
        Scenario::S3StaleList => s3::s3_stale_list(stage),
        Scenario::S3Storm => s3::s3_storm(stage),
        Scenario::LostReplies => s3::lost_replies(stage),
        Scenario::LatePut => s3::late_put(stage),
        Scenario::FullDisk => embedded::full_disk(stage),
        Scenario::EmbeddedKill => embedded::embedded_kill(stage),
    }
}

fn nothing_has_moved(stage: &Stage<'_>, before: &[Option<i32>]) -> Result<(), RunError> {
    let now = stage.epochs();
    match now == before {
        true => Ok(()),
        false => Err(stage.wrong(format!("leader epochs were {before:?} and are {now:?}"))),
    }
}
