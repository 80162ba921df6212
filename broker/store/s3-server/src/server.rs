//! Server: a thread with its own runtime that serves S3 until the handle is dropped.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

use crate::control;
use crate::faults::Faults;
use crate::front::Front;
use crate::objects::Objects;
use crate::options::Options;
use crate::requests::Requests;
use crate::service::{AnyName, KeyPair, Service};
use crate::socket::{ResetMark, Socket};
use crate::store::Store;
use crate::transfer::Budget;

/// Pause after an accept that failed, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No bucket was named.
    #[error("at least one bucket is needed")]
    NoBucket,
    /// An address could not be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The runtime or its thread did not start.
    #[error("cannot start the server's thread")]
    Thread(#[source] io::Error),
}

/// A running server. Dropping it closes all connections and forgets all objects.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    control_addr: Option<SocketAddr>,
    options: Options,
    store: Arc<Store>,
    faults: Faults,
    requests: Requests,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server; it listens when this returns.
    ///
    /// # Errors
    /// [`StartError`]: no bucket, an address that is taken, no thread.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let Some(bucket) = options.buckets.first().cloned() else {
            return Err(StartError::NoBucket);
        };
        let (listener, addr) = listen(options.listen)?;
        let control = options.control.map(listen).transpose()?;
        let control_addr = control.as_ref().map(|(_, addr)| *addr);
        let store = Arc::new(Store::new(&options));
        let faults = Faults::new(options.seed);
        let requests = Requests::new(options.log_entries);
        let front = Arc::new(Front {
            s3: s3_service(&options, store.clone()),
            faults: faults.clone(),
            requests: requests.clone(),
            budget: Budget::new(options.in_flight_bytes),
            body_bytes: options.body_bytes,
        });
        let objects = Objects::new(store.clone(), bucket);
        let panel = control::Panel {
            faults: faults.clone(),
            requests: requests.clone(),
            objects,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let connections = options.connections;
        let thread = std::thread::Builder::new()
            .name("s3-server".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    if let Some((listener, _)) = control {
                        tokio::spawn(control::serve(listener, Arc::new(panel)));
                    }
                    tokio::spawn(serve(listener, front, connections));
                    // Sent or dropped: both mean the end.
                    let _ = stopped.await;
                });
            });
        let thread = Some(thread.map_err(StartError::Thread)?);
        let stop = Some(stop);
        Ok(Self {
            addr,
            control_addr,
            options,
            store,
            faults,
            requests,
            stop,
            thread,
        })
    }

    /// Address of the S3 listener.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Address of the control listener, if there is one.
    #[must_use]
    pub fn control_addr(&self) -> Option<SocketAddr> {
        self.control_addr
    }

    /// The S3 endpoint as a URL. Clients must use path-style addresses.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The first bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.options.buckets.first().map_or("", String::as_str)
    }

    /// The access key that is known.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.options.access_key
    }

    /// The secret key that belongs to it.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.options.secret_key
    }

    /// The rules and gates.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The counts and the log of requests.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The objects of the first bucket, past the wire and past all rules.
    #[must_use]
    pub fn objects(&self) -> Objects {
        self.objects_in(self.bucket())
    }

    /// The objects of a bucket, past the wire and past all rules.
    #[must_use]
    pub fn objects_in(&self, bucket: &str) -> Objects {
        Objects::new(self.store.clone(), bucket.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread has been reported by that thread.
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> Result<(StdListener, SocketAddr), StartError> {
    let listen = || {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(|source| StartError::Listen { address, source })
}

fn s3_service(options: &Options, store: Arc<Store>) -> S3Service {
    let service = Service::new(store, options.conditional);
    let mut builder = S3ServiceBuilder::new(service);
    builder.set_auth(KeyPair::new(&options.access_key, &options.secret_key));
    builder.set_validation(AnyName);
    let mut config = S3Config::default();
    // The clock is checked by the front, which knows by how much it is to be off.
    config.presigned_url_max_skew_time_secs = u32::MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}

async fn serve(listener: StdListener, front: Arc<Front>, connections: usize) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let room = Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it small replies would wait for acknowledgments; all else works as well.
        let _ = stream.set_nodelay(true);
        let mark = ResetMark::default();
        let socket = TokioIo::new(Socket::new(stream, mark.clone()));
        let front = front.clone();
        let service = service_fn(move |request| front.clone().answer(request, mark.clone()));
        tokio::spawn(async move {
            // How a connection ends is its client's business, or was asked for by a rule.
            let _ = http1::Builder::new()
                .serve_connection(socket, service)
                .await;
            drop(place);
        });
    }
}
