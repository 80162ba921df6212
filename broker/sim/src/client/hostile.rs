//! Clients that mean harm, or are broken: they must harm nobody but themselves.

use std::rc::Rc;

use bytes::Bytes;
use wire::messages::FetchRequest;
use wire::{ApiKey, RequestHeader, encode_request};

use super::connection::Connection;
use super::scene::Scene;
use crate::clock::sleep;
use crate::fault::Fault;
use crate::random::Random;
use crate::trace::{self, trace};

/// Sends nonsense while faults strike.
pub(crate) async fn run(scene: Rc<Scene>, seed: u64) {
    let mut random = Random::of(seed, "hostile");
    while scene.is_faulty() {
        sleep(random.millis(200..3_000)).await;
        let broker = random.index(scene.brokers);
        let Ok(connection) = Connection::open(&scene.network, broker).await else {
            continue;
        };
        let bytes = match random.below(4) {
            0 => {
                trace::fault(Fault::ClientCutsRequest);
                let whole = fetch(&mut random);
                let at = random.index(whole.len());
                whole.slice(..at)
            }
            1 => {
                trace::fault(Fault::ClientMalformed);
                flipped(&fetch(&mut random), &mut random)
            }
            2 => {
                trace::fault(Fault::ClientMalformed);
                // A length that is negative, zero, or more than anybody has.
                let length = *random.choose(&[-1_i32, 0, i32::MAX, i32::MIN]);
                Bytes::copy_from_slice(&length.to_be_bytes())
            }
            _ => {
                trace::fault(Fault::ClientMalformed);
                noise(&mut random)
            }
        };
        trace!(
            "hostile",
            "sends {} bytes of nonsense to broker {broker}",
            bytes.len()
        );
        connection.raw(bytes);
        sleep(random.millis(0..500)).await;
    }
}

fn fetch(random: &mut Random) -> Bytes {
    let header = RequestHeader {
        api_key: ApiKey::Fetch.as_i16(),
        api_version: 4 + random.below(14) as i16,
        correlation_id: 7,
        client_id: Some("hostile"),
    };
    let request = FetchRequest::default();
    let frame = encode_request(&header, &request);
    frame.map_or_else(
        |_| Bytes::from_static(b"\0\0\0\x02ab"),
        |frame| frame.to_bytes(),
    )
}

fn flipped(bytes: &Bytes, random: &mut Random) -> Bytes {
    let mut damaged = bytes.to_vec();
    for _ in 0..=random.below(4) {
        // Not the length: the rest would only be waited for.
        let at = 4 + random.index(damaged.len() - 4);
        damaged[at] ^= 1 << random.below(8);
    }
    damaged.into()
}

/// A frame whose content is noise, with a key and a version that may exist.
fn noise(random: &mut Random) -> Bytes {
    let length = 8 + random.below(200) as usize;
    let mut frame = (length as i32).to_be_bytes().to_vec();
    frame.extend((random.below(70) as i16).to_be_bytes());
    frame.extend((random.below(14) as i16).to_be_bytes());
    while frame.len() < 4 + length {
        frame.push(random.bits() as u8);
    }
    frame.into()
}
