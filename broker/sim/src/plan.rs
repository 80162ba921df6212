//! What a seed decides: topology, sizes, rates, which faults may strike.

use std::time::Duration;

use coord::keys::cluster::CommitMode;

use crate::client::producer::Habits;
use crate::client::scene::{Keeping, Topic};
use crate::etcd::EtcdRates;
use crate::random::Random;
use crate::store::StoreRates;

/// What the administrator of chaos does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Crash,
    CrashAtRequest,
    CrashAtTurn,
    Pause,
    ShardStall,
    GracefulRestart,
    ClockJump,
    StoreSlowDown,
    StoreCut,
    StoreLifecycle,
    EtcdCut,
    EtcdDown,
    EtcdCompact,
    LeaseLost,
    LeaseLostUnseen,
    LeaseLostUnwritten,
    Clog,
    Reset,
}

/// How long a store must be bad for its broker to say so, in seconds.
const HEALTH_WINDOW: &str = "health.window_sec";

impl Action {
    const ALL: [Action; 18] = [
        Self::Crash,
        Self::CrashAtRequest,
        Self::CrashAtTurn,
        Self::Pause,
        Self::ShardStall,
        Self::GracefulRestart,
        Self::ClockJump,
        Self::StoreSlowDown,
        Self::StoreCut,
        Self::StoreLifecycle,
        Self::EtcdCut,
        Self::EtcdDown,
        Self::EtcdCompact,
        Self::LeaseLost,
        Self::LeaseLostUnseen,
        Self::LeaseLostUnwritten,
        Self::Clog,
        Self::Reset,
    ];
}

/// A run as its seed decides it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) is_tiny: bool,
    pub(crate) brokers: usize,
    /// Shards of each broker.
    pub(crate) shards: Vec<usize>,
    pub(crate) mode: CommitMode,
    pub(crate) session_ttl: Duration,
    /// How long faults strike.
    pub(crate) duration: Duration,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) producers: Vec<Habits>,
    pub(crate) consumers: u32,
    pub(crate) members: u32,
    pub(crate) members_flap: bool,
    pub(crate) hostile: bool,
    pub(crate) slow_readers: u32,
    /// Fetches that go to somebody else than the leader, in parts of a million.
    pub(crate) strays: u32,
    /// Whether somebody reads everything again and again.
    pub(crate) repeats: bool,
    /// Whether consumers tell which leader epoch they know.
    pub(crate) knows_epochs: bool,
    /// Whether a topic is deleted and created again and again.
    pub(crate) fleeting: bool,
    /// Whether somebody writes without waiting for answers, and how much at a time.
    pub(crate) careless_bytes: Option<u64>,
    /// Whether the store goes dark when a broker joins.
    pub(crate) dark_joins: bool,
    pub(crate) store: StoreRates,
    pub(crate) etcd: EtcdRates,
    pub(crate) net_latency_ms: (u64, u64),
    pub(crate) net_reset: u32,
    pub(crate) net_half_open: u32,
    /// Turns that are put off, one in so many; 0: none.
    pub(crate) put_off_one_in: u64,
    pub(crate) actions: Vec<Action>,
    /// Pause between two actions, in milliseconds.
    pub(crate) action_pause_ms: (u64, u64),
    pub(crate) ends_cold: bool,
    pub(crate) ends_gracefully: bool,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = Random::of(seed, "plan");
        let random = &mut random;
        let is_faulty = !random.one_in(10);
        let is_tiny = random.one_in(10);
        let brokers = 1 + random.index(5);
        let shards = (0..brokers).map(|_| 1 + random.index(4)).collect();
        let later = Later::draw(seed, is_faulty, is_tiny);
        let dark_joins = later.dark_joins;
        let ttl = *random.choose(&[1_000_u64, 1_500, 2_000, 4_000]);
        // A broker whose store is dark ends its session after some of these; what is to be met comes before.
        let ttl = if dark_joins { 4_000 } else { ttl };
        let store = store_rates(random, is_faulty);
        let flush = random.within(1..120);
        let mut settings = settings(random, is_tiny, ttl, flush);
        if dark_joins {
            let window = settings.iter_mut().find(|(name, _)| name == HEALTH_WINDOW);
            window.expect("it is set").1 = "6".to_owned();
        }
        let etcd_latency = random.within(0..6);
        let net_latency = random.within(0..4);
        let actions = Action::ALL
            .into_iter()
            .filter(|_| is_faulty && random.one_in(2))
            .collect();
        let busy = random.one_in(3);
        let mut topics = topics(random);
        topics.extend(later.compacted);
        Self {
            seed,
            is_tiny,
            brokers,
            shards,
            mode: match random.one_in(6) {
                true => CommitMode::Guarded,
                false => CommitMode::Conditional,
            },
            session_ttl: Duration::from_millis(ttl),
            duration: random.millis(6_000..30_000)
                + Duration::from_secs(if dark_joins { 12 } else { 0 }),
            settings,
            topics,
            producers: producers(random, is_tiny),
            consumers: 1 + random.below(2) as u32,
            members: *random.choose(&[0, 1, 2, 3, 3]),
            members_flap: is_faulty && !random.one_in(3),
            hostile: is_faulty && random.one_in(2),
            slow_readers: if is_faulty { rate(random, 20_000) } else { 0 },
            strays: if is_faulty { rate(random, 100_000) } else { 0 },
            repeats: random.one_in(2),
            knows_epochs: later.knows_epochs,
            fleeting: later.fleeting,
            careless_bytes: later.careless_bytes,
            dark_joins,
            store: StoreRates {
                flipped_list: later.flipped_list,
                ..store
            },
            etcd: EtcdRates {
                watch_twice: later.watch_twice,
                crash: later.etcd_crash,
                ..etcd_rates(random, is_faulty, etcd_latency)
            },
            net_latency_ms: (0, net_latency),
            net_reset: if is_faulty { rate(random, 2_000) } else { 0 },
            net_half_open: if is_faulty { rate(random, 500) } else { 0 },
            put_off_one_in: *random.choose(&[0, 3, 10, 50]),
            actions,
            action_pause_ms: if busy { (100, 1_500) } else { (500, 6_000) },
            ends_cold: random.one_in(2),
            ends_gracefully: random.one_in(2),
        }
    }
}

/// What was added to the plan, from numbers of its own: what a seed decided before it goes on deciding.
struct Later {
    compacted: Option<Topic>,
    knows_epochs: bool,
    fleeting: bool,
    careless_bytes: Option<u64>,
    dark_joins: bool,
    flipped_list: u32,
    watch_twice: u32,
    etcd_crash: u32,
}

impl Later {
    fn draw(seed: u64, is_faulty: bool, is_tiny: bool) -> Self {
        let mut random = Random::of(seed, "plan, what came later");
        let random = &mut random;
        Self {
            compacted: random.one_in(3).then(|| compacted(random)),
            knows_epochs: random.one_in(2),
            fleeting: random.one_in(3),
            careless_bytes: random
                .one_in(if is_tiny { 2 } else { 6 })
                .then(|| match is_tiny {
                    true => 400_000,
                    false => *random.choose(&[500, 20_000, 400_000]),
                }),
            dark_joins: is_faulty && random.one_in(12),
            flipped_list: if is_faulty { rate(random, 20_000) } else { 0 },
            watch_twice: if is_faulty { rate(random, 100_000) } else { 0 },
            etcd_crash: if is_faulty { rate(random, 5_000) } else { 0 },
        }
    }
}

/// A rate up to `most`, or none in half of the cases.
fn rate(random: &mut Random, most: u64) -> u32 {
    match random.one_in(2) {
        true => 0,
        false => random.below(most) as u32,
    }
}

fn store_rates(random: &mut Random, is_faulty: bool) -> StoreRates {
    let low = random.within(0..10);
    let latency_ms = (low, low + random.within(0..40));
    if !is_faulty {
        return StoreRates {
            latency_ms,
            ..StoreRates::default()
        };
    }
    StoreRates {
        latency_ms,
        tail: rate(random, 20_000),
        bandwidth: if random.one_in(6) {
            random.within(50_000..2_000_000)
        } else {
            0
        },
        error_before: rate(random, 30_000),
        error_after: rate(random, 30_000),
        timeout: rate(random, 5_000),
        late_put: rate(random, 4_000),
        duplicate_put: rate(random, 10_000),
        conflict: rate(random, 20_000),
        truncated: rate(random, 60_000),
        flipped: rate(random, 10_000),
        stale_list: rate(random, 200_000),
        partial_list: rate(random, 200_000),
        flipped_list: 0,
        slow_delete: rate(random, 50_000),
    }
}

fn etcd_rates(random: &mut Random, is_faulty: bool, latency: u64) -> EtcdRates {
    let latency_ms = (0, latency);
    if !is_faulty {
        return EtcdRates {
            latency_ms,
            ..EtcdRates::default()
        };
    }
    EtcdRates {
        latency_ms,
        failed: rate(random, 20_000),
        reply_lost: rate(random, 20_000),
        request_lost: rate(random, 10_000),
        delayed: rate(random, 10_000),
        watch_late: rate(random, 100_000),
        watch_twice: 0,
        slow_keep_alive: rate(random, 50_000),
        crash: 0,
    }
}

fn settings(random: &mut Random, is_tiny: bool, ttl: u64, flush: u64) -> Vec<(String, String)> {
    let mut settings: Vec<(&str, String)> = vec![
        ("broker.session_ttl_ms", ttl.to_string()),
        ("log.flush_interval_ms", flush.to_string()),
        (
            "log.compaction_interval_ms",
            random.within(1_000..8_000).to_string(),
        ),
        (
            "log.retention_check_interval_ms",
            random.within(300..3_000).to_string(),
        ),
        (
            "log.segment_bytes",
            (random.within(64..256) << 10).to_string(),
        ),
        ("group.session_timeout_min_ms", "1000".to_owned()),
        (
            "group.initial_rebalance_delay_ms",
            random.within(0..300).to_string(),
        ),
        (
            "log.cleaner_interval_ms",
            random.within(200..5_000).to_string(),
        ),
        (HEALTH_WINDOW, random.within(1..6).to_string()),
        ("backup.interval_ms", (random.below(2) * 5_000).to_string()),
    ];
    match is_tiny {
        true => settings.extend([
            ("memory.budget_bytes", "16MiB".to_owned()),
            ("memory.cache_bytes", "1MiB".to_owned()),
            ("request.in_flight_max", "1".to_owned()),
            ("request.reply_queue_bytes", "64KiB".to_owned()),
            ("request.fetch_max_bytes", "1KiB".to_owned()),
            ("shard.fetch_sessions_max", "1".to_owned()),
            ("log.wal_backlog_objects", "64".to_owned()),
            ("log.flush_bytes", "1KiB".to_owned()),
            ("log.flush_partition_bytes", "1KiB".to_owned()),
        ]),
        false => settings.extend([
            ("memory.budget_bytes", "256MiB".to_owned()),
            (
                "memory.cache_bytes",
                (1_u64 << random.within(20..27)).to_string(),
            ),
            (
                "log.wal_backlog_objects",
                random.within(64..4_000).to_string(),
            ),
        ]),
    }
    let owned = settings.into_iter();
    owned
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn topics(random: &mut Random) -> Vec<Topic> {
    let mut topics = vec![Topic {
        name: "kept".to_owned(),
        partitions: 1 + random.below(5) as i32,
        keeping: Keeping::All,
        configs: vec![("retention.ms".to_owned(), "-1".to_owned())],
    }];
    if random.one_in(3) {
        topics.push(Topic {
            name: "trimmed".to_owned(),
            partitions: 1 + random.below(3) as i32,
            keeping: Keeping::Trimmed,
            configs: vec![(
                "retention.bytes".to_owned(),
                random.within(2_000..40_000).to_string(),
            )],
        });
    }
    topics
}

/// A topic of which of each key only the latest record stays.
fn compacted(random: &mut Random) -> Topic {
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        (
            "min.cleanable.dirty.ratio",
            random.choose(&["0.01", "0.3", "0.5"]).to_string(),
        ),
        (
            "delete.retention.ms",
            random.choose(&["4000", "60000"]).to_string(),
        ),
    ];
    let configs = configs.map(|(name, value)| (name.to_owned(), value));
    Topic {
        name: "compacted".to_owned(),
        partitions: 1 + random.below(2) as i32,
        keeping: Keeping::Latest,
        configs: configs.into(),
    }
}

fn producers(random: &mut Random, is_tiny: bool) -> Vec<Habits> {
    let count = 1 + random.index(3);
    let one = |random: &mut Random| Habits {
        is_idempotent: !random.one_in(4),
        in_flight_max: if is_tiny { 1 } else { 1 + random.index(5) },
        records_max: 1 + random.below(8),
        record_bytes_max: match is_tiny && random.one_in(3) {
            // More than what may wait for the store.
            true => 200_000,
            false => *random.choose(&[16, 200, 2_000]),
        },
        pause_max_ms: *random.choose(&[20, 100, 500, 1_500]),
        acks: if random.one_in(4) { 1 } else { -1 },
        repeat: *random.choose(&[0, 50_000, 200_000]),
    };
    (0..count).map(|_| one(random)).collect()
}
