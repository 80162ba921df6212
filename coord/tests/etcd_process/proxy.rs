//! A TCP proxy in front of etcd that loses requests, replies or connections on demand.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What it does with what passes.
#[derive(Default)]
struct State {
    lose_requests: AtomicBool,
    lose_replies: AtomicBool,
    refuse: AtomicBool,
    closed: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

/// The proxy; it ends when dropped.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// A proxy that passes everything on to a port of this machine.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                accept(&shared, client.unwrap(), target);
            }
        });
        Self { port, state }
    }

    /// Its URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on nothing that clients send reaches etcd.
    pub(crate) fn lose_requests(&self, lose: bool) {
        self.state.lose_requests.store(lose, Ordering::SeqCst);
    }

    /// From now on nothing that etcd sends reaches clients.
    pub(crate) fn lose_replies(&self, lose: bool) {
        self.state.lose_replies.store(lose, Ordering::SeqCst);
    }

    /// Cuts every connection, and every new one as long as `down`.
    pub(crate) fn cut(&self, down: bool) {
        self.state.refuse.store(down, Ordering::SeqCst);
        for connection in self.state.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        self.cut(true);
        // Wakes the accepting thread.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn accept(state: &Arc<State>, client: TcpStream, target: u16) {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target));
    let (Ok(server), false) = (server, state.refuse.load(Ordering::SeqCst)) else {
        let _ = client.shutdown(Shutdown::Both);
        return;
    };
    let mut connections = state.connections.lock().unwrap();
    connections.push(client.try_clone().unwrap());
    connections.push(server.try_clone().unwrap());
    drop(connections);
    let (from_client, to_client) = (client.try_clone().unwrap(), client);
    let (from_server, to_server) = (server.try_clone().unwrap(), server);
    let shared = Arc::clone(state);
    thread::spawn(move || {
        pass(from_client, to_server, || {
            shared.lose_requests.load(Ordering::SeqCst)
        })
    });
    let shared = Arc::clone(state);
    thread::spawn(move || {
        pass(from_server, to_client, || {
            shared.lose_replies.load(Ordering::SeqCst)
        })
    });
}

fn pass(mut from: TcpStream, mut to: TcpStream, lost: impl Fn() -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !lost() && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
