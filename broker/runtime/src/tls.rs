//! TLS between a socket and what reads and writes it (rustls). All of it happens on the shard of the connection:
//! nothing here blocks, and every buffer is bounded. Brokers accept; the load generator goes on as the client of a
//! connection that it has opened.
//!
//! A connection without TLS goes past all this at the price of one branch.

use std::cell::RefCell;
use std::io::{self, BufRead, Write};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};

use super::{ReadHalf, WriteFrame, WriteHalf};

/// Bytes that are read from the socket at a time: a record of TLS and what surrounds it.
const SEALED_BYTES: usize = 18 * 1024;
/// Bytes that are sealed before they are written: they are in memory twice meanwhile.
const SEAL_BYTES: usize = 256 * 1024;
/// Times that a client may be answered before the handshake is over.
const FLIGHTS_MAX: usize = 64;

/// The state of TLS, shared by both directions of a connection. Shard-owned; never borrowed across a wait.
type Session = Rc<RefCell<Connection>>;

/// The receiving direction of a connection.
pub enum Inbound {
    /// As the bytes come.
    Plain(ReadHalf),
    /// Through TLS.
    Tls(TlsInbound),
}

/// The sending direction of a connection.
pub enum Outbound {
    /// As the bytes are.
    Plain(WriteHalf),
    /// Through TLS.
    Tls(TlsOutbound),
}

/// The receiving direction, through TLS.
pub struct TlsInbound {
    read: ReadHalf,
    session: Session,
    sealed: BytesMut,
}

/// The sending direction, through TLS.
pub struct TlsOutbound {
    write: WriteHalf,
    session: Session,
}

/// A connection whose handshake is over.
pub struct Accepted {
    /// The receiving direction.
    pub inbound: Inbound,
    /// The sending direction.
    pub outbound: Outbound,
    /// The certificate that the client has shown, which is one that the configuration trusts.
    pub client: Option<CertificateDer<'static>>,
}

/// Answers a client's handshake. It takes as long as the client does: the caller closes the socket when it is tired of
/// waiting.
///
/// # Errors
/// The client does not speak TLS, or not as the configuration wants; it has been told by an alert. Or the socket failed.
pub async fn accept(
    config: Arc<ServerConfig>,
    mut read: ReadHalf,
    mut write: WriteHalf,
) -> io::Result<Accepted> {
    let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
    session.set_buffer_limit(Some(SEAL_BYTES));
    let mut session = Connection::Server(session);
    let mut sealed = BytesMut::new();
    for _ in 0..FLIGHTS_MAX {
        send(&mut session, &mut write).await?;
        if !session.is_handshaking() {
            let certificates = session.peer_certificates();
            let client = certificates.and_then(<[_]>::first);
            let client = client.map(|it| it.clone().into_owned());
            let (inbound, outbound) = halves(session, sealed, read, write);
            return Ok(Accepted {
                inbound,
                outbound,
                client,
            });
        }
        sealed.reserve(SEALED_BYTES);
        if read.fill(&mut sealed, SEALED_BYTES).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = open(&mut session, &mut sealed) {
            // The alert that says why.
            send(&mut session, &mut write).await?;
            return Err(error);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the handshake does not come to an end",
    ))
}

/// Goes on with a client's session whose handshake is over; `sealed` has been read from the socket and not opened.
pub fn resume(
    mut session: ClientConnection,
    sealed: &[u8],
    read: ReadHalf,
    write: WriteHalf,
) -> (Inbound, Outbound) {
    session.set_buffer_limit(Some(SEAL_BYTES));
    halves(Connection::Client(session), sealed.into(), read, write)
}

fn halves(
    session: Connection,
    sealed: BytesMut,
    read: ReadHalf,
    write: WriteHalf,
) -> (Inbound, Outbound) {
    let session = Rc::new(RefCell::new(session));
    let inbound = TlsInbound {
        read,
        session: session.clone(),
        sealed,
    };
    let outbound = TlsOutbound { write, session };
    (Inbound::Tls(inbound), Outbound::Tls(outbound))
}

/// Takes what has arrived.
fn open(session: &mut Connection, sealed: &mut BytesMut) -> io::Result<()> {
    let mut left: &[u8] = sealed;
    while !left.is_empty() {
        // What does not fit before the plaintext is taken stays for the next time.
        if session.read_tls(&mut left)? == 0 {
            break;
        }
        session
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if !session.wants_read() {
            break;
        }
    }
    let taken = sealed.len() - left.len();
    bytes::Buf::advance(sealed, taken);
    Ok(())
}

/// Sends what TLS itself has to say.
async fn send(session: &mut Connection, write: &mut WriteHalf) -> io::Result<()> {
    let mut bytes = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut bytes)?;
    }
    if bytes.is_empty() {
        return Ok(());
    }
    write.write(WriteFrame::new(vec![Bytes::from(bytes)])).await
}

impl Inbound {
    /// As [`ReadHalf::fill`], of what the client has written.
    ///
    /// # Errors
    /// As the socket gives them; InvalidData for what is no TLS or was changed on its way.
    ///
    /// # Panics
    /// If `buffer` has no free capacity, or `most` is 0.
    pub async fn fill(&mut self, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
        match self {
            Self::Plain(read) => read.fill(buffer, most).await,
            Self::Tls(tls) => tls.fill(buffer, most).await,
        }
    }
}

impl TlsInbound {
    async fn fill(&mut self, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
        let room = (buffer.capacity() - buffer.len()).min(most);
        assert!(room > 0, "a read needs room");
        loop {
            if let Some(taken) = self.take(buffer, room)? {
                return Ok(taken);
            }
            if self.sealed.is_empty() {
                self.sealed.reserve(SEALED_BYTES);
                if self.read.fill(&mut self.sealed, SEALED_BYTES).await? == 0 {
                    // A connection that is cut without a farewell, as many clients do. Nothing is lost by it: frames
                    // have their length before them.
                    return Ok(0);
                }
            }
            open(&mut self.session.borrow_mut(), &mut self.sealed)?;
        }
    }

    /// Takes plaintext that is there: `None` where more has to be read, 0 bytes at the client's farewell.
    fn take(&self, buffer: &mut BytesMut, room: usize) -> io::Result<Option<usize>> {
        let mut session = self.session.borrow_mut();
        let mut reader = session.reader();
        let before = buffer.len();
        while buffer.len() - before < room {
            let left = room - (buffer.len() - before);
            match reader.fill_buf() {
                Ok([]) => return Ok(Some(buffer.len() - before)),
                Ok(found) => {
                    let taken = found.len().min(left);
                    buffer.extend_from_slice(&found[..taken]);
                    reader.consume(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let taken = buffer.len() - before;
        Ok((taken > 0).then_some(taken))
    }
}

impl Outbound {
    /// As [`WriteHalf::write_telling`]; through TLS, `moved` is told of sealed bytes.
    ///
    /// # Errors
    /// As the socket gives them; a part may have been written.
    pub async fn write_telling(
        &mut self,
        parts: Vec<Bytes>,
        moved: impl FnMut(usize),
    ) -> io::Result<()> {
        match self {
            Self::Plain(write) => write.write_telling(WriteFrame::new(parts), moved).await,
            Self::Tls(tls) => tls.write_telling(parts, moved).await,
        }
    }
}

impl TlsOutbound {
    async fn write_telling(
        &mut self,
        parts: Vec<Bytes>,
        mut moved: impl FnMut(usize),
    ) -> io::Result<()> {
        let mut parts = parts.into_iter();
        let mut part = Bytes::new();
        loop {
            let sealed = self.seal(&mut part, &mut parts)?;
            if sealed.is_empty() {
                return Ok(());
            }
            let frame = WriteFrame::new(vec![Bytes::from(sealed)]);
            self.write.write_telling(frame, &mut moved).await?;
        }
    }

    /// Seals some of what is left, with what TLS itself has to say.
    fn seal(
        &self,
        part: &mut Bytes,
        parts: &mut impl Iterator<Item = Bytes>,
    ) -> io::Result<Vec<u8>> {
        let mut session = self.session.borrow_mut();
        loop {
            if part.is_empty() {
                match parts.next() {
                    Some(next) => *part = next,
                    None => break,
                }
                continue;
            }
            let taken = session.writer().write(part)?;
            if taken == 0 {
                break;
            }
            bytes::Buf::advance(part, taken);
        }
        let mut sealed = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut sealed)?;
        }
        Ok(sealed)
    }
}
