//! Metrics: counted by the thread that owns the event, read by the control thread.
//!
//! A shard counts in its own [`ShardMetrics`], which no other thread writes: no lock, no atomic
//! read-modify-write, no allocation. The control thread reads the cells of all shards when a page
//! is asked for, so a scrape wakes no shard and costs the data path nothing. Every metric is
//! declared once, in `declaration.rs`; `docs/metrics.md` comes from there.

mod cell;
mod cost;
mod declaration;
mod family;
mod page;
mod process;
mod requests;
mod sampled;
mod table;
mod threads;
mod topics;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use cell::{Counter, Distribution, FloatGauge, Gauge, Histogram};
pub use cost::Prices;
pub use declaration::{
    COMPUTED_METRICS, CONTROL_METRICS, ControlMetrics, SHARD_METRICS, ShardCells,
};
pub use family::{Family, Shape};
pub use page::Exposition;
pub use requests::{ApiTotals, Requests};
pub use sampled::GroupLag;
pub use table::metrics_markdown;
pub use topics::TopicTraffic;

use declaration as d;
use family::{Cells, Reading, scale};
use page::Page;
use process::{CpuMeter, Process};
use sampled::{Counts, LAG_BOUNDS, Lags, Rates, Span};
use threads::Threads;
use topics::TopicSeries;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const NANOS_IN_MS: f64 = 1e6;
/// Label that the page fills in with the number of the shard.
const SHARD_LABEL: &str = "shard";

/// *Shard-owned, read by the control thread.* Everything that one shard counts. It fills whole
/// cache lines, so that no two shards write to one.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    cells: ShardCells,
    /// Requests and error codes by API.
    pub requests: Requests,
}

impl ShardMetrics {
    /// Cells at zero, to be shared with a [`Registry`].
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Deref for ShardMetrics {
    type Target = ShardCells;
    fn deref(&self) -> &ShardCells {
        &self.cells
    }
}

/// *Control thread.* Knows the cells of every thread and makes the page out of them.
#[derive(Debug)]
pub struct Registry {
    shards: Vec<Arc<ShardMetrics>>,
    control: Arc<ControlMetrics>,
    prices: Prices,
    started: Instant,
    /// Taken by the control thread only; a lock makes the registry fit for a shared closure.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rates: Rates,
    lags: Lags,
    cpu: CpuMeter,
    topics: TopicSeries,
}

impl Registry {
    /// A registry over the cells of all shards, in their order, and of the control thread.
    /// `window` is that of the throughput gauges.
    pub fn new(
        shards: Vec<Arc<ShardMetrics>>,
        control: Arc<ControlMetrics>,
        prices: Prices,
        window: Duration,
        now: Instant,
    ) -> Self {
        let state = Mutex::new(State {
            rates: Rates::new(window),
            lags: Lags::default(),
            cpu: CpuMeter::new(now, Process::read().cpu_time),
            topics: TopicSeries::default(),
        });
        let registry = Self {
            shards,
            control,
            prices,
            started: now,
            state,
        };
        registry.sample(now);
        registry
    }

    /// The cells of the control thread.
    pub fn control(&self) -> &ControlMetrics {
        &self.control
    }

    /// Takes a sample for the throughput gauges. To be called about once a second; more often
    /// costs little.
    pub fn sample(&self, now: Instant) {
        let counts = self.counts();
        self.state().rates.sample(now, counts);
    }

    fn counts(&self) -> Counts {
        let control = &self.control;
        let sum =
            |of: fn(&ShardCells) -> u64| self.shards.iter().map(|shard| of(&shard.cells)).sum();
        Counts {
            produce: self.totals(PRODUCE).count,
            fetch: self.totals(FETCH).count,
            operations: [
                control.puts.get(),
                control.gets.get(),
                control.lists.get(),
                control.deletes.get(),
                control.heads.get(),
            ],
            cache: [
                (
                    sum(|cells| cells.tail_hits.get()),
                    sum(|cells| cells.tail_misses.get()),
                ),
                (
                    sum(|cells| cells.chunk_hits.get()),
                    sum(|cells| cells.chunk_misses.get()),
                ),
            ],
        }
    }

    /// Replaces the lag of the groups that this broker coordinates, one entry a group and topic.
    pub fn set_group_lags(&self, lags: Vec<GroupLag>) {
        self.state().lags.set(lags);
    }

    /// The largest of those lags, as they were set last.
    pub fn group_lags(&self) -> Vec<GroupLag> {
        self.state().lags.largest.clone()
    }

    /// Shows traffic by topic: of so many at most, beside the rest. For 0 there is no such metric.
    #[must_use]
    pub fn with_topic_series(self, most: usize) -> Self {
        self.state().topics = TopicSeries::new(most);
        self
    }

    /// Takes over what went through each topic. To be called every few seconds where there are such series.
    pub fn set_topic_traffic(&self, traffic: Vec<TopicTraffic>) {
        self.state().topics.set(traffic);
    }

    /// What was counted for an API, over all shards.
    pub fn totals(&self, api_key: i16) -> ApiTotals {
        let each = self
            .shards
            .iter()
            .map(|shard| shard.requests.totals(api_key));
        each.fold(ApiTotals::default(), |sum, one| ApiTotals {
            count: sum.count + one.count,
            nanos: sum.nanos.wrapping_add(one.nanos),
            errors: sum.errors + one.errors,
        })
    }

    /// All metrics in the Prometheus text format, or in OpenMetrics.
    pub fn render(&self, now: Instant, exposition: Exposition) -> String {
        self.sample(now);
        let mut page = Page::new(exposition);
        self.write_process(&mut page, now);
        self.write_requests(&mut page);
        self.write_admin_requests(&mut page);
        self.write_sampled(&mut page, now);
        let shards: Vec<&ShardCells> = self.shards.iter().map(|shard| &shard.cells).collect();
        write_cells(&mut page, SHARD_METRICS, &shards);
        write_cells(&mut page, CONTROL_METRICS, &[self.control.as_ref()]);
        page.finish()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_process(&self, page: &mut Page, now: Instant) {
        let process = Process::read();
        let cpu = self.state().cpu.percent(now, process.cpu_time);
        let uptime = now.saturating_duration_since(self.started).as_secs_f64();
        page.family(&d::BUILD);
        page.whole(d::BUILD.name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        for (family, value) in [
            (&d::SHARDS, self.shards.len() as f64),
            (&d::UPTIME, uptime),
            (&d::CPU, cpu),
            (&d::MEM_ALLOC, process.anonymous_bytes as f64),
            (&d::MEM_SYS, process.resident_bytes as f64),
            (&d::THREADS, process.threads as f64),
        ] {
            page.family(family);
            page.float(family.name, &[], value);
        }
        let threads = Threads::read();
        page.family(&d::SHARD_CPU);
        for (shard, used) in threads.shards {
            let labels = [(SHARD_LABEL, shard.to_string())];
            let labels = labels
                .each_ref()
                .map(|(label, value)| (*label, value.as_str()));
            page.float(d::SHARD_CPU.name, &labels, used.as_secs_f64());
        }
        page.family(&d::CONTROL_CPU);
        page.float(d::CONTROL_CPU.name, &[], threads.control.as_secs_f64());
    }

    /// API keys that have been seen, with label and totals.
    fn apis(&self) -> Vec<(usize, String, ApiTotals)> {
        let keys = 0..requests::API_KEYS;
        let named = keys.map(|key| (key, requests::api_name(key), self.totals(key as i16)));
        named
            .filter(|(_, _, totals)| *totals != ApiTotals::default())
            .collect()
    }

    fn write_requests(&self, page: &mut Page) {
        let apis = self.apis();
        page.family(&d::REQUESTS);
        for (_, api, totals) in &apis {
            page.whole(d::REQUESTS.name, &[("api", api)], totals.count.into());
        }
        page.family(&d::REQUEST_LATENCY);
        for (_, api, totals) in &apis {
            let sum = totals.nanos as f64 / NANOS_IN_MS;
            page.summary(d::REQUEST_LATENCY.name, &[("api", api)], totals.count, sum);
        }
        let mut errors = std::collections::BTreeMap::<(i16, i16), u64>::new();
        for shard in &self.shards {
            shard
                .requests
                .errors(|api, code, count| *errors.entry((api, code)).or_default() += count);
        }
        page.family(&d::REQUEST_ERRORS);
        for ((api, code), count) in errors {
            let api = requests::api_name(usize::try_from(api).unwrap_or(requests::API_KEYS - 1));
            let code = match code {
                requests::OVERFLOW => "other".to_owned(),
                code => code.to_string(),
            };
            let labels = [("api", api.as_str()), ("code", code.as_str())];
            page.whole(d::REQUEST_ERRORS.name, &labels, count.into());
        }
    }

    fn write_admin_requests(&self, page: &mut Page) {
        let mut apis = self.apis();
        apis.retain(|(key, ..)| requests::is_admin(*key));
        page.family(&d::ADMIN_REQUESTS);
        for (_, api, totals) in &apis {
            page.whole(d::ADMIN_REQUESTS.name, &[("api", api)], totals.count.into());
        }
        page.family(&d::ADMIN_ERRORS);
        for (_, api, totals) in &apis {
            page.whole(d::ADMIN_ERRORS.name, &[("api", api)], totals.errors.into());
        }
        page.family(&d::ADMIN_LATENCY);
        for (_, api, totals) in &apis {
            let mean = totals.nanos as f64 / NANOS_IN_MS / totals.count.max(1) as f64;
            page.float(d::ADMIN_LATENCY.name, &[("api", api)], mean);
        }
    }

    fn write_sampled(&self, page: &mut Page, now: Instant) {
        let counts = self.counts();
        let state = self.state();
        let span = state.rates.span(now, counts);
        let (produce, fetch) = (span.rate(|c| c.produce), span.rate(|c| c.fetch));
        for (family, rate) in [(&d::PRODUCE_RPS, produce), (&d::FETCH_RPS, fetch)] {
            page.family(family);
            page.float(family.name, &[], rate);
        }
        self.write_cache_and_cost(page, &span);
        let lags = &state.lags;
        page.family(&d::GROUP_LAG);
        for lag in &lags.largest {
            page.whole(d::GROUP_LAG.name, &lag.labels(), lag.records.into());
        }
        page.family(&d::GROUP_LAG_SECONDS);
        for lag in &lags.largest {
            page.float(
                d::GROUP_LAG_SECONDS.name,
                &lag.labels(),
                lag.wait.as_secs_f64(),
            );
        }
        page.family(&d::GROUP_LAG_DROPPED);
        page.whole(d::GROUP_LAG_DROPPED.name, &[], lags.dropped as i128);
        page.family(&d::LAG);
        page.buckets(d::LAG.name, LAG_BOUNDS, &lags.totals, lags.count, lags.sum);
        page.family(&d::LAG_MAX);
        let largest = lags.largest.first().map_or(0, |lag| lag.records);
        page.whole(d::LAG_MAX.name, &[], largest.into());
        if state.topics.is_on() {
            write_topics(page, &state.topics);
        }
    }

    fn write_cache_and_cost(&self, page: &mut Page, span: &Span) {
        page.family(&d::CACHE_HIT_RATIO);
        for (tier, name) in ["tail", "chunk"].into_iter().enumerate() {
            if let Some(ratio) = span.hit_ratio(tier) {
                page.float(d::CACHE_HIT_RATIO.name, &[("tier", name)], ratio);
            }
        }
        let rates = std::array::from_fn(|operation| span.rate(|c| c.operations[operation]));
        let dollars = self.prices.requests(rates);
        page.family(&d::COST);
        for (operation, dollars) in cost::NAMES.iter().zip(dollars) {
            page.float(d::COST.name, &[("operation", operation)], dollars);
        }
        let (segments, backlog) = (&self.control.segment_bytes, &self.control.wal_backlog_bytes);
        let stored = [segments.get(), backlog.get()].map(|bytes| u64::try_from(bytes).unwrap_or(0));
        let storage = self.prices.storage(stored.iter().sum());
        page.float(d::COST.name, &[("operation", "storage")], storage);
    }
}

/// Writes traffic by topic.
fn write_topics(page: &mut Page, topics: &TopicSeries) {
    let (named, other) = topics.rows();
    for (place, family) in d::TOPIC_TRAFFIC.iter().enumerate() {
        page.family(family);
        for (topic, counts) in &named {
            page.whole(family.name, &[("topic", topic)], counts[place].into());
        }
        page.whole(
            family.name,
            &[("topic", d::OTHER_TOPICS)],
            other[place].into(),
        );
    }
}

/// One line of a metric, or one a shard.
struct Entry {
    name: &'static str,
    value: &'static str,
    readings: Vec<Reading>,
}

/// Writes the cells of `owners`, which all have the layout of `table`: added up, or one by one
/// where the metric has the label `shard`.
fn write_cells<T: Cells>(page: &mut Page, table: &[Family], owners: &[&T]) {
    let by_shard = |name: &str| {
        let family = table.iter().find(|family| family.name == name);
        family.is_some_and(|family| family.labels.contains(&SHARD_LABEL))
    };
    let mut entries: Vec<Entry> = Vec::new();
    for (owner, cells) in owners.iter().enumerate() {
        let mut index = 0;
        cells.visit(&mut |name, value, cell| {
            match entries.get_mut(index) {
                None => entries.push(Entry {
                    name,
                    value,
                    readings: vec![cell.read()],
                }),
                Some(entry) if by_shard(name) => entry.readings.push(cell.read()),
                Some(entry) => cell.merge(&mut entry.readings[0]),
            }
            index += 1;
        });
        assert_eq!(
            index,
            entries.len(),
            "owner {owner} has the layout of the first"
        );
    }
    for family in table {
        page.family(family);
        for entry in entries.iter().filter(|entry| entry.name == family.name) {
            write_entry(page, family, entry);
        }
    }
}

fn write_entry(page: &mut Page, family: &Family, entry: &Entry) {
    for (shard, reading) in entry.readings.iter().enumerate() {
        let shard = shard.to_string();
        let value = |label: &&'static str| match *label {
            SHARD_LABEL => (SHARD_LABEL, shard.as_str()),
            label => (label, entry.value),
        };
        let labels: Vec<(&str, &str)> = family.labels.iter().map(value).collect();
        match reading {
            Reading::Whole(number) => page.whole(family.name, &labels, *number),
            Reading::Float(number) => page.float(family.name, &labels, *number),
            Reading::Spread(spread) => {
                page.spread(family.name, scale(family.name, family.unit), spread);
            }
        }
    }
}

#[cfg(test)]
mod tests;
