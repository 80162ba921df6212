//! A connected TCP socket of a shard.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use bytes::BytesMut;
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;

use super::WriteFrame;
#[cfg(feature = "simulation")]
use super::simulated::{Pipe, Wire};

/// A socket that arrived at this shard.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    peer: SocketAddr,
}

#[derive(Debug)]
enum Stream {
    Kernel(TcpStream),
    #[cfg(feature = "simulation")]
    Simulated(Wire),
}

impl Socket {
    /// Takes over a socket that another thread accepted. `peer` is the client: where a proxy has said for whom it
    /// comes, that is not the other end of the socket.
    ///
    /// # Errors
    /// The kernel refuses the socket (it is closed already).
    pub fn adopt(stream: std::net::TcpStream, peer: SocketAddr) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: Stream::Kernel(TcpStream::from_std(stream)?),
            peer,
        })
    }

    /// A socket of the simulator.
    #[cfg(feature = "simulation")]
    pub fn simulated(wire: Wire) -> Self {
        Self {
            peer: wire.peer,
            stream: Stream::Simulated(wire),
        }
    }

    /// Who is on the other side.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The two directions, and the handle that ends both.
    pub fn split(self) -> (ReadHalf, WriteHalf, Closer) {
        match self.stream {
            Stream::Kernel(stream) => {
                let fd = stream.as_raw_fd();
                let (read, write) = stream.into_split();
                (
                    ReadHalf(Reads::Kernel(read)),
                    WriteHalf(Writes::Kernel(write)),
                    Closer(Closes::Kernel(fd)),
                )
            }
            #[cfg(feature = "simulation")]
            Stream::Simulated(wire) => (
                ReadHalf(Reads::Simulated(ClosedOnDrop(wire.incoming.clone()))),
                WriteHalf(Writes::Simulated(ClosedOnDrop(wire.outgoing.clone()))),
                Closer(Closes::Simulated(wire)),
            ),
        }
    }
}

/// The kernel closes what a process leaves open.
#[cfg(feature = "simulation")]
struct ClosedOnDrop(Pipe);

#[cfg(feature = "simulation")]
impl Drop for ClosedOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The receiving direction.
pub struct ReadHalf(Reads);

enum Reads {
    Kernel(OwnedReadHalf<TcpStream>),
    #[cfg(feature = "simulation")]
    Simulated(ClosedOnDrop),
}

impl ReadHalf {
    /// Reads once into the free capacity of `buffer`, after what it holds, `most` bytes at most; gives the
    /// bytes read, 0 at the end of the stream. Await it to its end: a dropped read loses bytes.
    ///
    /// # Errors
    /// As the socket gives them.
    ///
    /// # Panics
    /// If `buffer` has no free capacity, or `most` is 0.
    pub async fn fill(&mut self, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
        let read = match &mut self.0 {
            Reads::Kernel(read) => read,
            #[cfg(feature = "simulation")]
            Reads::Simulated(pipe) => {
                let room = (buffer.capacity() - buffer.len()).min(most);
                assert!(room > 0, "a read needs room");
                let found = pipe.0.read(room).await.unwrap_or_default();
                buffer.extend_from_slice(&found);
                return Ok(found.len());
            }
        };
        let free = buffer.split_off(buffer.len());
        let room = free.capacity().min(most);
        assert!(room > 0, "a read needs room");
        let (result, filled) = read.read(free.slice_mut(..room)).await;
        buffer.unsplit(filled.into_inner());
        result
    }
}

/// The sending direction.
pub struct WriteHalf(Writes);

enum Writes {
    Kernel(OwnedWriteHalf<TcpStream>),
    #[cfg(feature = "simulation")]
    Simulated(ClosedOnDrop),
}

impl WriteHalf {
    /// Writes all of `frame`, with vectored writes and without a copy.
    ///
    /// # Errors
    /// As the socket gives them; a part may have been written.
    pub async fn write(&mut self, frame: WriteFrame) -> io::Result<()> {
        self.write_telling(frame, |_| {}).await
    }

    /// As [`WriteHalf::write`]; `moved` is told of the bytes of each vectored write, as soon as the kernel has taken them.
    ///
    /// # Errors
    /// As the socket gives them; a part may have been written.
    pub async fn write_telling(
        &mut self,
        mut frame: WriteFrame,
        mut moved: impl FnMut(usize),
    ) -> io::Result<()> {
        let write = match &mut self.0 {
            Writes::Kernel(write) => write,
            #[cfg(feature = "simulation")]
            Writes::Simulated(pipe) => {
                for part in frame.take() {
                    let bytes = part.len();
                    pipe.0.write(part).await?;
                    moved(bytes);
                }
                return Ok(());
            }
        };
        while !frame.is_empty() {
            let (result, back) = write.writev(frame).await;
            frame = back;
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    frame.advance(written);
                    moved(written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Ends both directions of a socket from another task of the same shard. Valid while one of the halves lives:
/// the connection drops it before them.
#[derive(Debug)]
pub struct Closer(Closes);

#[derive(Debug)]
enum Closes {
    Kernel(RawFd),
    #[cfg(feature = "simulation")]
    Simulated(Wire),
}

impl Closer {
    /// Shuts the socket down: a pending read gives 0, a pending write an error.
    pub fn close(&self) {
        match &self.0 {
            Closes::Kernel(fd) => {
                // SAFETY: a plain system call on a descriptor number; on one that is closed it fails with
                // EBADF. The connection that owns the halves also owns this handle and drops it first, so
                // the number has not been given to another socket.
                #[expect(unsafe_code, reason = "std offers no shutdown by descriptor")]
                let _ = unsafe { libc::shutdown(*fd, libc::SHUT_RDWR) };
            }
            #[cfg(feature = "simulation")]
            Closes::Simulated(wire) => {
                wire.incoming.close();
                wire.outgoing.close();
            }
        }
    }
}
