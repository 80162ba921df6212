//! Measures ranged GETs of an S3 server through this crate, on one thread as a broker's control
//! thread does them: `get_throughput [chunk KiB] [GETs in flight] [rounds]`.
//!
//! The server is named by `KAFSCALE_S3_ENDPOINT`, `_BUCKET`, `_ACCESS_KEY` and `_SECRET_KEY`. Puts
//! 4 objects of 64 MiB, reads them chunk by chunk in order in each round, throws the bytes away,
//! prints MB/s (10^6) of each round, and deletes the objects. This is the bound for a catch-up
//! reader of the broker.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a tool that reports on standard output"
)]

use std::error::Error;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use store::s3::{S3Options, S3Store, Secret, StaticCredentials};
use store::{Body, GetRange, ObjectKey, ObjectStore, PutCondition};

const OBJECTS: u64 = 4;
const OBJECT_BYTES: u64 = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| {
        let given = arguments.next();
        given.map_or(Ok(default), |text| text.parse::<u64>())
    };
    let chunk = number(4096)?.clamp(1, OBJECT_BYTES >> 10) << 10;
    let in_flight = usize::try_from(number(8)?)?.max(1);
    let rounds = number(5)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(chunk, in_flight, rounds))
}

fn options() -> Result<S3Options, std::env::VarError> {
    let of = |name: &str| std::env::var(format!("KAFSCALE_S3_{name}"));
    Ok(S3Options {
        endpoint: Some(of("ENDPOINT")?),
        path_style: true,
        credentials: Some(StaticCredentials {
            access_key: of("ACCESS_KEY")?,
            secret_key: Secret::new(of("SECRET_KEY")?),
            session_token: None,
        }),
        ..S3Options::new(of("BUCKET")?)
    })
}

async fn measure(chunk: u64, in_flight: usize, rounds: u64) -> Result<(), Box<dyn Error>> {
    let store = S3Store::connect(options()?).await?;
    let mib: Bytes = (0..1024 * 1024_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let body = Body::new(vec![mib; usize::try_from(OBJECT_BYTES >> 20)?]);
    let mut keys = Vec::new();
    for index in 0..OBJECTS {
        let key = ObjectKey::new(format!("get-throughput/{}-{index}", std::process::id()))?;
        store
            .put(key.clone(), body.clone(), PutCondition::None)
            .await?;
        keys.push(key);
    }
    for round in 0..rounds {
        let began = Instant::now();
        let chunks = keys.iter().flat_map(|key| {
            let starts = (0..OBJECT_BYTES).step_by(usize::try_from(chunk).unwrap_or(usize::MAX));
            starts.map(move |start| (key.clone(), start..(start + chunk).min(OBJECT_BYTES)))
        });
        let read: u64 = stream::iter(chunks)
            .map(|(key, range)| store.get(key, GetRange::Range(range)))
            .buffered(in_flight)
            .map_ok(|found| found.bytes.len() as u64)
            .try_fold(0, |sum, bytes| async move { Ok(sum + bytes) })
            .await?;
        let rate = read as f64 / began.elapsed().as_secs_f64() / 1e6;
        println!(
            "round {round}: {rate:.0} MB/s with {in_flight} GETs of {} KiB in flight",
            chunk >> 10
        );
    }
    for (key, deleted) in store.delete(keys).await {
        deleted.map_err(|error| format!("delete {key}: {error}"))?;
    }
    Ok(())
}
