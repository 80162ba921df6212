//! What limits the requests of one connection, and the throttle of the one that is carried out.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Bucket, QuotaKind, Rate};

/// A quota that holds for a client, and the budget that it uses.
#[derive(Debug, Clone)]
pub struct Limit {
    /// The quota.
    pub rate: Rate,
    /// The budget.
    pub bucket: Arc<Bucket>,
}

/// The limits of a client, by kind, and the longest throttle for the time of requests.
pub type FoundLimits = ([Option<Limit>; QuotaKind::COUNT], Duration);

/// Why a change of partitions is refused: the quota was used up already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The throttling quota has been exceeded.")]
pub struct Exhausted;

/// The limits of one connection, by kind; and what the present request owes. Shard-owned.
#[derive(Debug, Default)]
pub struct Limits {
    all: [Option<Limit>; QuotaKind::COUNT],
    /// Longest bound of a throttle by [`QuotaKind::Request`].
    request_max: Duration,
    /// When the present poll of the request began.
    polled: Cell<Option<Instant>>,
    /// Time that earlier polls of it took.
    busy: Cell<Duration>,
    /// Whether its time was charged.
    is_charged: Cell<bool>,
    /// What it owes.
    owed: Cell<Duration>,
    /// The kind that it owes most of.
    kind: Cell<Option<QuotaKind>>,
}

impl Limits {
    /// The limits of a client, of which nothing is used here yet.
    pub fn new((all, request_max): FoundLimits) -> Self {
        Self {
            all,
            request_max,
            ..Self::default()
        }
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.all.iter().all(Option::is_none)
    }

    fn limit(&self, kind: QuotaKind) -> Option<&Limit> {
        self.all[kind as usize].as_ref()
    }

    /// A request begins.
    pub fn begin(&self) {
        self.busy.set(Duration::ZERO);
        self.is_charged.set(false);
        self.owed.set(Duration::ZERO);
        self.kind.set(None);
    }

    /// What the present request owes: how long its client is to pause, and why.
    pub fn owed(&self) -> Option<(Duration, QuotaKind)> {
        Some((self.owed.get(), self.kind.get()?))
    }

    fn owe(&self, kind: QuotaKind, owed_ns: i64) {
        let owed = Duration::from_nanos(u64::try_from(owed_ns).unwrap_or(0));
        if owed > self.owed.get() {
            self.owed.set(owed);
            self.kind.set(Some(kind));
        }
    }

    /// Charges a Produce request.
    pub fn produced(&self, bytes: usize, now_ns: i64) {
        for kind in [QuotaKind::Produce, QuotaKind::NamespaceProduce] {
            if let Some(limit) = self.limit(kind) {
                let owed = limit.bucket.charge(&limit.rate, bytes as f64, now_ns);
                self.owe(kind, owed);
            }
        }
    }

    /// Most bytes that one fetch can return without being throttled for certain.
    pub fn fetch_bytes_max(&self) -> u64 {
        let limits = [QuotaKind::Fetch, QuotaKind::NamespaceFetch].map(|kind| self.limit(kind));
        let most = limits
            .into_iter()
            .flatten()
            .map(|limit| limit.rate.burst() as u64);
        most.min().unwrap_or(u64::MAX)
    }

    /// Charges a Fetch reply and its time; whether the reply goes out. One that is throttled does not, and
    /// its bytes are not charged, as in Kafka.
    pub fn fetched(&self, bytes: usize, now_ns: i64) -> bool {
        self.charge_time(now_ns);
        let mut charged: Option<&Limit> = None;
        for kind in [QuotaKind::Fetch, QuotaKind::NamespaceFetch] {
            let Some(limit) = self.limit(kind).filter(|_| self.owed.get().is_zero()) else {
                continue;
            };
            match limit.bucket.try_charge(&limit.rate, bytes as f64, now_ns) {
                Ok(()) => charged = charged.or(Some(limit)),
                Err(wait) => {
                    self.owe(kind, wait);
                    if let Some(other) = charged {
                        other.bucket.give_back(&other.rate, bytes as f64);
                    }
                }
            }
        }
        self.owed.get().is_zero()
    }

    /// Charges partitions that are to be created or deleted. A strict quota refuses once it is used up; any
    /// other lets everything through and throttles.
    ///
    /// # Errors
    /// The quota is strict and used up.
    pub fn mutated(&self, count: usize, is_strict: bool, now_ns: i64) -> Result<(), Exhausted> {
        let Some(limit) = self.limit(QuotaKind::Mutation) else {
            return Ok(());
        };
        let (bucket, count) = (&limit.bucket, count as f64);
        if is_strict {
            let charged = bucket.charge_unless_owed(&limit.rate, count, now_ns);
            return charged.map_err(|owed| {
                self.owe(QuotaKind::Mutation, owed);
                Exhausted
            });
        }
        self.owe(
            QuotaKind::Mutation,
            bucket.charge(&limit.rate, count, now_ns),
        );
        Ok(())
    }

    /// Charges the partitions of a topic that is created because somebody asked for it; whether the quota lets it
    /// be created. Nothing is owed for it: Kafka answers such a request before its controller charges.
    pub fn auto_created(&self, count: usize, now_ns: i64) -> bool {
        self.limit(QuotaKind::Mutation).is_none_or(|limit| {
            let charged = limit
                .bucket
                .charge_unless_owed(&limit.rate, count as f64, now_ns);
            charged.is_ok()
        })
    }

    /// Charges the time that the present request has taken on its shard; once a request.
    pub fn charge_time(&self, now_ns: i64) {
        let Some(limit) = self.limit(QuotaKind::Request) else {
            return;
        };
        if self.is_charged.replace(true) {
            return;
        }
        let present = self.polled.get().map(|began| began.elapsed());
        let busy = self.busy.get() + present.unwrap_or_default();
        let owed = limit
            .bucket
            .charge(&limit.rate, busy.as_nanos() as f64, now_ns);
        let max = i64::try_from(self.request_max.as_nanos()).unwrap_or(i64::MAX);
        self.owe(QuotaKind::Request, owed.min(max));
    }

    /// Whether the time of requests is limited.
    pub fn is_timed(&self) -> bool {
        self.limit(QuotaKind::Request).is_some()
    }

    /// Carries out a request, and measures the time that it takes on its shard: not that of its waits.
    pub async fn timed<F: Future>(&self, mut request: Pin<&mut F>) -> F::Output {
        std::future::poll_fn(|cx| self.poll_timed(request.as_mut(), cx)).await
    }

    fn poll_timed<F: Future>(&self, request: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let began = Instant::now();
        self.polled.set(Some(began));
        let polled = request.poll(cx);
        self.polled.set(None);
        self.busy.set(self.busy.get() + began.elapsed());
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Paid;

    fn limits(kind: QuotaKind, per_second: f64) -> Limits {
        let mut all = [const { None }; QuotaKind::COUNT];
        all[kind as usize] = Some(Limit {
            rate: Rate::new(per_second, Duration::from_secs(1)),
            bucket: Arc::default(),
        });
        Limits::new((all, Duration::from_secs(1)))
    }

    #[test]
    fn kinds_have_the_places_that_they_are_looked_for_in() {
        let all = QuotaKind::OF_CLIENTS
            .into_iter()
            .chain(QuotaKind::OF_NAMESPACE);
        for (place, kind) in all.enumerate() {
            assert_eq!(kind as usize, place);
        }
        assert!(Limits::default().is_empty());
        assert!(!limits(QuotaKind::Mutation, 1.0).is_empty());
    }

    #[test]
    fn a_request_owes_what_it_uses_beyond_the_budget_and_the_next_begins_anew() {
        let limits = limits(QuotaKind::Produce, 100.0);
        limits.begin();
        limits.produced(100, 0);
        assert_eq!(limits.owed(), None);
        limits.produced(50, 0);
        let owed = Some((Duration::from_millis(500), QuotaKind::Produce));
        assert_eq!(limits.owed(), owed);
        limits.begin();
        assert_eq!(limits.owed(), None);
        assert!(limits.fetched(1 << 30, 0), "other kinds are not limited");
        assert_eq!(limits.mutated(9, true, 0), Ok(()));
    }

    #[test]
    fn a_throttled_fetch_is_not_charged_and_goes_after_its_pause() {
        let limits = limits(QuotaKind::Fetch, 100.0);
        assert_eq!(limits.fetch_bytes_max(), 100);
        limits.begin();
        assert!(limits.fetched(80, 0));
        limits.begin();
        assert!(!limits.fetched(70, 0));
        let (pause, kind) = limits.owed().unwrap();
        assert_eq!(
            (pause, kind),
            (Duration::from_millis(500), QuotaKind::Fetch)
        );
        limits.begin();
        assert!(limits.fetched(70, pause.as_nanos() as i64));
    }

    #[test]
    fn the_namespace_limits_beside_the_client_and_the_longer_pause_counts() {
        let mut limits = limits(QuotaKind::Fetch, 100.0);
        let whole = |per_second| Limit {
            rate: Rate::new(per_second, Duration::from_secs(1)),
            bucket: Arc::default(),
        };
        limits.all[QuotaKind::NamespaceFetch as usize] = Some(whole(50.0));
        limits.all[QuotaKind::NamespaceProduce as usize] = Some(whole(10.0));
        assert!(!limits.is_empty());
        assert_eq!(limits.fetch_bytes_max(), 50);
        limits.begin();
        assert!(limits.fetched(40, 0));
        limits.begin();
        assert!(!limits.fetched(40, 0));
        let (pause, kind) = limits.owed().unwrap();
        assert_eq!(kind, QuotaKind::NamespaceFetch);
        assert_eq!(pause, Duration::from_millis(600));
        let client = limits.limit(QuotaKind::Fetch).unwrap();
        assert_eq!(
            client.bucket.paid(),
            Paid(-600_000_000),
            "what did not go out is not used of the client's own, either"
        );
        limits.begin();
        limits.produced(20, 0);
        let owed = Some((Duration::from_secs(1), QuotaKind::NamespaceProduce));
        assert_eq!(limits.owed(), owed);
    }

    #[test]
    fn a_strict_quota_refuses_and_a_lenient_one_throttles() {
        let limits = limits(QuotaKind::Mutation, 1.0);
        limits.begin();
        assert_eq!(
            limits.mutated(3, true, 0),
            Ok(()),
            "the last one goes whole"
        );
        assert_eq!(limits.owed(), None, "and owes nothing");
        assert_eq!(limits.mutated(1, true, 0), Err(Exhausted));
        assert_eq!(
            limits.owed(),
            Some((Duration::from_secs(2), QuotaKind::Mutation))
        );
        limits.begin();
        assert_eq!(limits.mutated(1, false, 0), Ok(()));
        assert_eq!(
            limits.owed(),
            Some((Duration::from_secs(3), QuotaKind::Mutation))
        );
    }

    #[test]
    fn only_the_time_on_the_shard_is_charged_and_the_pause_has_a_bound() {
        let limits = limits(QuotaKind::Request, 1_000.0);
        limits.begin();
        let mut polls = 0;
        let request = std::future::poll_fn(|_| {
            polls += 1;
            std::thread::sleep(Duration::from_millis(2));
            if polls == 3 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let request = std::pin::pin!(request);
        let mut request = std::pin::pin!(limits.timed(request));
        let mut cx = Context::from_waker(futures_util::task::noop_waker_ref());
        while request.as_mut().poll(&mut cx).is_pending() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let busy = limits.busy.get();
        assert!(busy >= Duration::from_millis(6), "{busy:?}");
        assert!(
            busy < Duration::from_millis(40),
            "waits do not count: {busy:?}"
        );
        limits.charge_time(0);
        assert_eq!(
            limits.owed(),
            Some((Duration::from_secs(1), QuotaKind::Request))
        );
        let paid = limits.all[QuotaKind::Request as usize]
            .as_ref()
            .unwrap()
            .bucket
            .paid();
        limits.charge_time(0);
        let again = limits.all[QuotaKind::Request as usize]
            .as_ref()
            .unwrap()
            .bucket
            .paid();
        assert_eq!(paid, again, "once a request");
    }
}
