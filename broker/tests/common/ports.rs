//! Ports for programs under test, which listen a while after their port was chosen.
//!
//! A port that the system gives for `:0` may be given to a connection before the program listens:
//! these come from below the range for that, and the files in the folder of temporary files whose
//! lock this process holds keep other tests away from them until it ends.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

/// Where Linux takes no port for a connection by itself.
const RANGE: std::ops::Range<u32> = 10_000..32_000;

/// The locks, and how many ports were tried by this process.
static TAKEN: Mutex<(Vec<File>, u32)> = Mutex::new((Vec::new(), 0));

/// An address of this machine where nobody listens, and that no other test gets.
pub(crate) fn free() -> SocketAddr {
    let folder = std::env::temp_dir().join("kafscale-test-ports");
    std::fs::create_dir_all(&folder).unwrap();
    let mut taken = TAKEN.lock().unwrap();
    for _ in RANGE {
        // Processes that start together begin far from each other.
        let place = std::process::id().wrapping_mul(7_919).wrapping_add(taken.1);
        taken.1 += 1;
        let port = RANGE.start + place % (RANGE.end - RANGE.start);
        let lock = File::create(folder.join(port.to_string())).unwrap();
        if lock.try_lock().is_err() {
            continue;
        }
        let port = u16::try_from(port).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            taken.0.push(lock);
            return address;
        }
    }
    panic!("no port of {RANGE:?} is free");
}
