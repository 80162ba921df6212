//! TCP proxies between a broker and what it depends on: they cut, hold or slow what passes.
//!
//! All proxies share one thread with its own runtime. A change of the [`Link`] is in force at once
//! for the connections that exist. What a held link has read already is passed on when it is
//! restored, as a network that was partitioned delivers late what was sent before.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Pieces that one direction of one connection holds; more stay with their sender.
const PIECES_MAX: usize = 64;

/// What becomes of bytes and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// They pass.
    Up,
    /// Connections are closed, new ones as soon as they are made.
    Cut,
    /// Nothing passes and nothing ends.
    Held,
    /// What the broker sends arrives; what comes back is held.
    Deaf,
    /// What the broker sends is held; what comes back arrives.
    Mute,
    /// Everything passes so much later, in either direction.
    Slow(Duration),
}

/// One way of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the broker to what it depends on.
    Out,
    /// Back.
    Back,
}

impl Link {
    fn holds(self, way: Way) -> bool {
        match self {
            Self::Held => true,
            Self::Deaf => way == Way::Back,
            Self::Mute => way == Way::Out,
            Self::Up | Self::Cut | Self::Slow(_) => false,
        }
    }
}

/// The thread on which proxies run, and the harness's own connection to etcd.
#[derive(Debug)]
pub(super) struct Network {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            // Sent or dropped: both mean the end.
            let _ = runtime.block_on(stopped);
        };
        let thread = std::thread::Builder::new().name("network".to_owned());
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread.spawn(run)?),
        })
    }

    /// The runtime, for what else needs one.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// A proxy to `upstream` on a free port of the loopback address.
    ///
    /// # Errors
    /// No port can be listened on.
    pub(super) fn proxy(&self, upstream: SocketAddr) -> io::Result<Proxy> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (link, seen) = watch::channel(Link::Up);
        self.handle.spawn(serve(listener, upstream, seen));
        Ok(Proxy { address, link })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by that thread.
            let _ = thread.join();
        }
    }
}

/// One proxy. Dropping it leaves its connections as they are and takes no new ones.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
}

impl Proxy {
    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what becomes of bytes and connections.
    pub(super) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn serve(listener: std::net::TcpListener, upstream: SocketAddr, link: watch::Receiver<Link>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let mut ended = link.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gone(&mut ended) => return,
        };
        match accepted {
            Ok((client, _)) => {
                tokio::spawn(connection(client, upstream, link.clone()));
            }
            // A lack of descriptors must not spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Completes when the proxy has been dropped.
async fn gone(link: &mut watch::Receiver<Link>) {
    while link.changed().await.is_ok() {}
}

async fn connection(client: TcpStream, upstream: SocketAddr, mut link: watch::Receiver<Link>) {
    if !passable(&mut link, Way::Out).await {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    // Without it small pieces would wait for acknowledgments; all else works as well.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    // Either direction's end is the end of both: nothing behind the proxies half-closes.
    tokio::select! {
        () = pump(client_in, server_out, Way::Out, link.clone()) => (),
        () = pump(server_in, client_out, Way::Back, link) => (),
    }
}

/// Bytes, and when they were read.
type Piece = (Instant, Vec<u8>);

/// One direction. What is read waits its time beside what is read after it, so that a slow link is
/// late and not narrow.
async fn pump(from: OwnedReadHalf, to: OwnedWriteHalf, way: Way, link: watch::Receiver<Link>) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let mut cut = link.clone();
    let passing = async { tokio::join!(take(from, sender), give(to, receiver, way, link)) };
    tokio::select! {
        _ = passing => (),
        () = until_cut(&mut cut) => (),
    }
}

async fn take(mut from: OwnedReadHalf, pieces: mpsc::Sender<Piece>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let piece = buffer.get(..count).unwrap_or_default().to_vec();
        if pieces.send((Instant::now(), piece)).await.is_err() {
            return;
        }
    }
}

async fn give(
    mut to: OwnedWriteHalf,
    mut pieces: mpsc::Receiver<Piece>,
    way: Way,
    mut link: watch::Receiver<Link>,
) {
    while let Some((read, piece)) = pieces.recv().await {
        if !late_enough(&mut link, way, read).await || to.write_all(&piece).await.is_err() {
            return;
        }
    }
}

/// Waits until what was read at `read` may pass; false if the link is cut.
async fn late_enough(link: &mut watch::Receiver<Link>, way: Way, read: Instant) -> bool {
    loop {
        if !passable(link, way).await {
            return false;
        }
        let Link::Slow(delay) = *link.borrow() else {
            return true;
        };
        // A change meanwhile decides anew.
        tokio::select! {
            () = tokio::time::sleep_until((read + delay).into()) => return true,
            changed = link.changed() => if changed.is_err() { return false },
        }
    }
}

/// Waits as long as the link holds; false if it is cut.
async fn passable(link: &mut watch::Receiver<Link>, way: Way) -> bool {
    loop {
        let now = *link.borrow_and_update();
        if now == Link::Cut {
            return false;
        }
        if !now.holds(way) {
            return true;
        }
        if link.changed().await.is_err() {
            return false;
        }
    }
}

async fn until_cut(link: &mut watch::Receiver<Link>) {
    // An error means that the proxy is gone.
    let _ = link.wait_for(|link| *link == Link::Cut).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A server that gives back what it is sent.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() {
                        if stream.write_all(&byte).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        let wait = Some(Duration::from_secs(10));
        stream.set_read_timeout(wait).unwrap();
        stream
    }

    fn exchange(stream: &mut TcpStream, byte: u8) -> io::Result<u8> {
        stream.write_all(&[byte])?;
        let mut back = [0];
        stream.read_exact(&mut back).map(|()| back[0])
    }

    #[test]
    fn a_cut_link_ends_connections_and_lets_new_ones_through_when_it_is_up_again() {
        let network = Network::start().unwrap();
        let proxy = network.proxy(echo()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(exchange(&mut stream, 7).unwrap(), 7);
        proxy.set(Link::Cut);
        assert!(exchange(&mut stream, 8).is_err());
        assert!(exchange(&mut connect(&proxy), 9).is_err());
        proxy.set(Link::Up);
        assert_eq!(exchange(&mut connect(&proxy), 10).unwrap(), 10);
    }

    #[test]
    fn a_slow_link_is_late_and_not_narrow() {
        let network = Network::start().unwrap();
        let proxy = network.proxy(echo()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(exchange(&mut stream, 1).unwrap(), 1);
        proxy.set(Link::Slow(Duration::from_millis(200)));
        let began = Instant::now();
        for byte in 0..20 {
            stream.write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut back = [0; 20];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back.to_vec(), (0..20).collect::<Vec<u8>>());
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(400), "{took:?}");
        assert!(
            took < Duration::from_millis(4_000),
            "one delay each way: {took:?}"
        );
        proxy.set(Link::Up);
        let began = Instant::now();
        assert_eq!(exchange(&mut stream, 2).unwrap(), 2);
        assert!(began.elapsed() < Duration::from_millis(400));
    }

    #[test]
    fn a_link_can_be_held_one_way() {
        for (link, arrives) in [(Link::Deaf, true), (Link::Mute, false)] {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let network = Network::start().unwrap();
            let proxy = network.proxy(server.local_addr().unwrap()).unwrap();
            let mut client = connect(&proxy);
            let (mut other, _) = server.accept().unwrap();
            assert_eq!(client.write(&[1]).unwrap(), 1);
            let mut byte = [0];
            other.read_exact(&mut byte).unwrap();
            proxy.set(link);
            client.write_all(&[2]).unwrap();
            other.write_all(&[3]).unwrap();
            let short = Some(Duration::from_millis(200));
            for stream in [&client, &other] {
                stream.set_read_timeout(short).unwrap();
            }
            assert_eq!(other.read_exact(&mut byte).is_ok(), arrives, "{link:?}");
            assert_eq!(client.read_exact(&mut byte).is_ok(), !arrives, "{link:?}");
        }
    }

    #[test]
    fn a_held_link_keeps_bytes_back_and_delivers_them_late() {
        let network = Network::start().unwrap();
        let proxy = network.proxy(echo()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(exchange(&mut stream, 1).unwrap(), 1);
        proxy.set(Link::Held);
        stream.write_all(&[2]).unwrap();
        let short = Some(Duration::from_millis(200));
        stream.set_read_timeout(short).unwrap();
        let mut back = [0];
        let held = stream.read_exact(&mut back).unwrap_err().kind();
        assert!(matches!(held, ErrorKind::WouldBlock | ErrorKind::TimedOut));
        proxy.set(Link::Up);
        let long = Some(Duration::from_secs(10));
        stream.set_read_timeout(long).unwrap();
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back[0], 2);
    }
}
