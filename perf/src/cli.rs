//! The command line, and what its words become.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use runtime::Driver;

use crate::access::AccessArgs;
use crate::e2e::EndToEndRun;
use crate::fetch::FetchRun;
use crate::floor::{self, FloorRuntime};
use crate::join::JoinRun;
use crate::payload::Shape;
use crate::plan::Times;
use crate::produce::{Pace, ProduceRun};
use crate::run::Setting;

/// Load generator and latency meter for brokers that speak Kafka's protocol.
#[derive(Debug, Clone, Parser)]
#[command(name = "kafscale-perf", version)]
pub struct Cli {
    /// Options of all runs.
    #[command(flatten)]
    pub common: Common,
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all runs.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Brokers to connect to, separated by commas.
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:9092",
        env = "KAFSCALE_PERF_BOOTSTRAP"
    )]
    pub bootstrap: String,
    /// How brokers are connected to.
    #[command(flatten)]
    pub access: AccessArgs,
    /// Time before anything is recorded (ms, s or m; a number alone is seconds) [default: 3s].
    #[arg(long, global = true, value_parser = duration)]
    pub warmup: Option<Duration>,
    /// Time that is recorded [default: 15s].
    #[arg(long, global = true, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Directory for JSON, markdown, page and picture; none are written without it.
    #[arg(long, global = true)]
    pub out: Option<PathBuf>,
    /// Name of the broker in the results.
    #[arg(long, global = true, default_value = "kafscale")]
    pub broker: String,
    /// Commit or version of the broker; by default that of the checkout around this directory.
    #[arg(long, global = true)]
    pub commit: Option<String>,
    /// Process id of the broker, if it runs here: its processor time is then reported.
    #[arg(long, global = true)]
    pub broker_pid: Option<u32>,
    /// Replicas of the topics that are created; -1 for the broker's default.
    #[arg(long, global = true, default_value_t = 1, allow_hyphen_values = true)]
    pub replicas: i16,
    /// Do not delete the topics afterwards.
    #[arg(long, global = true)]
    pub keep_topics: bool,
    /// Settings of the topics that are created, `flush.messages=1` for example.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = topic_setting)]
    pub topic_config: Vec<(String, String)>,
    /// How long replies are awaited after the recorded time; then they count as errors [default: 30s].
    #[arg(long, global = true, value_parser = duration)]
    pub patience: Option<Duration>,
}

/// Times of a run where nobody says anything else.
const WARMUP: Duration = Duration::from_secs(3);
const DURATION: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(30);

impl Common {
    /// What a run needs of it. Its own times count where the command line says nothing.
    ///
    /// # Errors
    /// See [`AccessArgs::access`].
    pub fn setting(&self, own: Times) -> Result<Setting> {
        let mine = Times {
            warmup: self.warmup,
            duration: self.duration,
            patience: self.patience,
        };
        let times = mine.or(own);
        Ok(Setting {
            bootstrap: self.bootstrap.clone(),
            access: self.access.access()?,
            warmup: times.warmup.unwrap_or(WARMUP),
            duration: times.duration.unwrap_or(DURATION),
            broker_pid: self.broker_pid,
            replicas: self.replicas,
            topic_config: self.topic_config.clone(),
            keep_topics: self.keep_topics,
            patience: times.patience.unwrap_or(PATIENCE),
            progress: String::new(),
        })
    }
}

fn topic_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("use KEY=VALUE".to_owned()),
    }
}

/// What to run.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Produce latency and throughput.
    Produce(ProduceArgs),
    /// Fetch latency for data in the broker's memory.
    Fetch(FetchArgs),
    /// From the producer's clock to the consumer.
    E2e(EndToEndArgs),
    /// Time until a consumer that joins a group has its assignment.
    Join(JoinArgs),
    /// The same fetches against a server that does nothing: what machine and meter take.
    Floor(FloorArgs),
    /// A list of the others from a TOML file, or the built-in one: for comparison over time and between brokers.
    Scenario(ScenarioArgs),
}

/// Acknowledgements of a produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// All in-sync replicas.
    All,
    /// The leader alone.
    #[value(name = "1")]
    One,
    /// None, and no reply.
    #[value(name = "0")]
    Zero,
}

impl Acks {
    /// On the wire.
    pub fn code(self) -> i16 {
        match self {
            Self::All => -1,
            Self::One => 1,
            Self::Zero => 0,
        }
    }
}

/// The batches.
#[derive(Debug, Clone, Copy, Args)]
pub struct BatchArgs {
    /// Bytes of a batch (k, KiB, M, MiB).
    #[arg(long, default_value = "16KiB", value_parser = bytes)]
    pub batch_bytes: usize,
    /// Bytes of a record's value.
    #[arg(long, default_value = "1KiB", value_parser = bytes)]
    pub record_bytes: usize,
}

impl BatchArgs {
    fn shape(&self) -> Shape {
        Shape {
            batch_bytes: self.batch_bytes,
            record_bytes: self.record_bytes.min(self.batch_bytes),
        }
    }
}

/// How fast an open loop goes.
#[derive(Debug, Clone, Copy, Args)]
#[group(multiple = false)]
pub struct RateArgs {
    /// Open loop: bytes of batches a second over all connections, in 10^6.
    #[arg(long)]
    pub rate_mb: Option<f64>,
    /// Open loop: batches a second over all connections.
    #[arg(long)]
    pub rate_batches: Option<f64>,
}

impl RateArgs {
    fn per_second(&self, batch_bytes: usize) -> Result<Option<f64>> {
        let rate = match (self.rate_mb, self.rate_batches) {
            (Some(mb), _) => Some(mb * 1e6 / batch_bytes as f64),
            (None, rate) => rate,
        };
        let sound = rate.is_none_or(|rate| rate.is_finite() && rate > 0.0);
        ensure!(sound, "a rate is above 0");
        Ok(rate)
    }
}

/// `produce`.
#[derive(Debug, Clone, Args)]
pub struct ProduceArgs {
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = count)]
    pub connections: usize,
    /// Partitions.
    #[arg(long, default_value_t = 8, value_parser = count)]
    pub partitions: usize,
    /// The batches.
    #[command(flatten)]
    pub batch: BatchArgs,
    /// Acknowledgements.
    #[arg(long, value_enum, default_value = "all")]
    pub acks: Acks,
    /// Open loop, else closed.
    #[command(flatten)]
    pub rate: RateArgs,
    /// Closed loop: requests in flight per connection.
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub window: usize,
}

impl ProduceArgs {
    /// The run.
    ///
    /// # Errors
    /// A rate that is none.
    pub fn run(&self) -> Result<ProduceRun> {
        let rate = self.rate.per_second(self.batch.batch_bytes)?;
        Ok(ProduceRun {
            connections: self.connections,
            partitions: self.partitions,
            shape: self.batch.shape(),
            acks: self.acks.code(),
            pace: rate.map_or(Pace::InFlight(self.window), Pace::PerSecond),
        })
    }
}

/// `fetch`.
#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// Connections; each reads a partition of its own.
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub connections: usize,
    /// Bytes of an answer, one run for each.
    #[arg(long, value_delimiter = ',', default_value = "1KiB,16KiB,64KiB,256KiB",
          value_parser = bytes)]
    pub sizes: Vec<usize>,
    /// The batches that are loaded; where an answer is smaller, they are.
    #[command(flatten)]
    pub batch: BatchArgs,
    /// Bytes that are loaded for each run, over all partitions.
    #[arg(long, default_value = "32MiB", value_parser = bytes)]
    pub data_bytes: usize,
    /// Closed loop: threads of the meter; each drives its share of the connections.
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub threads: usize,
    /// Open loop: fetches a second over all connections, whatever the broker does.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
}

impl FetchArgs {
    /// The run for one size.
    pub fn run(&self, fetch_bytes: usize) -> FetchRun {
        FetchRun {
            connections: self.connections,
            fetch_bytes,
            shape: self.batch.shape(),
            data_bytes: self.data_bytes as u64,
            threads: self.threads,
            per_second: self.rate,
        }
    }
}

/// `e2e`.
#[derive(Debug, Clone, Args)]
pub struct EndToEndArgs {
    /// Connections that produce.
    #[arg(long, default_value_t = 2, value_parser = count)]
    pub producers: usize,
    /// Connections that consume.
    #[arg(long, default_value_t = 2, value_parser = count)]
    pub consumers: usize,
    /// Partitions.
    #[arg(long, default_value_t = 4, value_parser = count)]
    pub partitions: usize,
    /// The batches.
    #[command(flatten)]
    pub batch: BatchArgs,
    /// The rate; 5 MB/s if none is given.
    #[command(flatten)]
    pub rate: RateArgs,
}

/// Rate of end-to-end runs where none is given, in bytes a second.
const E2E_BYTES_PER_SECOND: f64 = 5e6;

impl EndToEndArgs {
    /// The run.
    ///
    /// # Errors
    /// A rate that is none.
    pub fn run(&self) -> Result<EndToEndRun> {
        let rate = self.rate.per_second(self.batch.batch_bytes)?;
        Ok(EndToEndRun {
            producers: self.producers,
            consumers: self.consumers,
            partitions: self.partitions,
            shape: self.batch.shape(),
            per_second: rate.unwrap_or(E2E_BYTES_PER_SECOND / self.batch.batch_bytes as f64),
        })
    }
}

/// `join`.
#[derive(Debug, Clone, Copy, Args)]
pub struct JoinArgs {
    /// Groups at a time, of each kind.
    #[arg(long, default_value_t = 2, value_parser = count)]
    pub groups: usize,
    /// Members that begin a group together.
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub members: usize,
}

impl JoinArgs {
    /// The run.
    pub fn run(self) -> JoinRun {
        JoinRun {
            groups: self.groups,
            members: self.members,
        }
    }
}

/// `floor`.
#[derive(Debug, Clone, Args)]
pub struct FloorArgs {
    /// The fetches.
    #[command(flatten)]
    pub fetch: FetchArgs,
    /// Only serve, on this address, until killed.
    #[arg(long)]
    pub serve: Option<String>,
    /// Threads that serve, as the broker's KAFSCALE_SHARDS.
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub shards: usize,
    /// Pin shard n to the n-th allowed CPU, as the broker does.
    #[arg(long)]
    pub pin: bool,
    /// What the server runs on: the broker's runtime, or (feature of that name) glommio.
    #[arg(long, value_enum, default_value = "monoio")]
    pub runtime: FloorRuntime,
    /// Speak TLS with the certificate in this PEM file, as the broker does; clients then need --ca-file.
    #[arg(long, value_name = "FILE", requires = "tls_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_key_file: Option<PathBuf>,
    /// Kernel interface: io_uring, epoll, or io_uring where it works.
    #[arg(long, default_value = "auto", value_parser = driver)]
    pub driver: DriverChoice,
}

/// A kernel interface, or whichever works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverChoice(Option<Driver>);

fn driver(text: &str) -> Result<DriverChoice, String> {
    match text {
        "auto" => Ok(DriverChoice(None)),
        "io_uring" => Ok(DriverChoice(Some(Driver::IoUring))),
        "epoll" => Ok(DriverChoice(Some(Driver::Epoll))),
        _ => Err("use auto, io_uring or epoll".to_owned()),
    }
}

impl FloorArgs {
    /// How the server runs.
    pub fn options(&self) -> floor::Options {
        floor::Options {
            shards: self.shards,
            pin: self.pin,
            runtime: self.runtime,
            driver: self.driver.0,
            tls: self.tls_cert_file.clone().zip(self.tls_key_file.clone()),
            ..Default::default()
        }
    }
}

/// `scenario`.
#[derive(Debug, Clone, Args)]
pub struct ScenarioArgs {
    /// The file; the built-in list (perf/scenarios/default.toml) if none is given.
    pub file: Option<PathBuf>,
    /// Only runs whose names contain one of these.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// List the runs and do nothing.
    #[arg(long)]
    pub list: bool,
    /// Fail unless the bounds hold that the file promises (p50_max, p99_max) and no request failed.
    #[arg(long)]
    pub check: bool,
}

/// Reads a number of bytes: `300`, `16k`, `16KiB`, `1M`, `1MiB`.
///
/// # Errors
/// It is none.
pub fn bytes(text: &str) -> Result<usize, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let unit: usize = match suffix.trim() {
        "" | "B" => 1,
        "k" | "kB" => 1_000,
        "KiB" | "K" => 1 << 10,
        "M" | "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => {
            return Err(format!(
                "unknown unit {other}; use B, kB, KiB, MB, MiB or GiB"
            ));
        }
    };
    let number: usize = digits
        .parse()
        .map_err(|_| format!("{text} is not a number of bytes"))?;
    number
        .checked_mul(unit)
        .ok_or_else(|| format!("{text} is too large"))
}

/// Reads a duration: `200us`, `500ms`, `15s`, `2m`, `15`.
///
/// # Errors
/// It is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let unit = match suffix.trim() {
        "us" => 1e-6,
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        other => return Err(format!("unknown unit {other}; use us, ms, s or m")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{text} is not a duration"))?;
    Ok(Duration::from_secs_f64(number * unit))
}

/// Reads a rate.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if f64::is_finite(rate) && rate > 0.0 => Ok(rate),
        _ => Err(format!("{text} is not a rate above 0")),
    }
}

/// Reads a count of 1 to 10,000.
fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err(format!("{text} is not a number from 1 to 10000")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("kafscale-perf").chain(line.split_whitespace()))
    }

    fn produce(line: &str) -> ProduceRun {
        match parse(line).unwrap().command {
            Command::Produce(args) => args.run().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_rate_makes_the_loop_open() {
        let run = produce("produce --rate-mb 20 --batch-bytes 20kB --acks 1 --connections 2");
        assert_eq!(run.pace, Pace::PerSecond(1000.0));
        assert_eq!((run.acks, run.connections, run.partitions), (1, 2, 8));
        assert_eq!(
            produce("produce --rate-batches 7.5").pace,
            Pace::PerSecond(7.5)
        );
        let run = produce("produce --window 32 --acks all --record-bytes 100");
        assert_eq!((run.pace, run.acks), (Pace::InFlight(32), -1));
        assert_eq!(run.shape.record_bytes, 100);
    }

    #[test]
    fn common_options_may_stand_behind_the_subcommand() {
        let cli = parse("fetch --sizes 1KiB,2MiB --warmup 500ms --duration 2m --replicas -1");
        let cli = cli.unwrap();
        let own = Times {
            warmup: Some(Duration::from_secs(9)),
            patience: Some(Duration::from_secs(7)),
            ..Times::default()
        };
        let setting = cli.common.setting(own).unwrap();
        assert_eq!(setting.warmup, Duration::from_millis(500));
        assert_eq!(setting.duration, Duration::from_secs(120));
        assert_eq!(setting.patience, Duration::from_secs(7));
        assert_eq!(cli.common.replicas, -1);
        match cli.command {
            Command::Fetch(args) => assert_eq!(args.sizes, vec![1024, 2 << 20]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "produce --rate-mb 1 --rate-batches 1",
            "produce --connections 0",
            "produce --acks 2",
            "produce --batch-bytes 16XB",
            "fetch --sizes ,",
            "e2e --duration soon",
            "floor --nothing",
            "floor --driver kqueue",
            "fetch --rate 0",
            "produce --topic-config flush",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for rate in ["0", "-1", "nan"] {
            let cli = parse(&format!("produce --rate-mb={rate}")).unwrap();
            let Command::Produce(args) = cli.command else {
                panic!("not produce")
            };
            assert!(args.run().is_err(), "{rate}");
        }
    }
}
