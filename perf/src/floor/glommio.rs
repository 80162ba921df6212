//! A shard of the floor server on glommio, to compare runtimes: the same answers, another ring.
//!
//! glommio waits for a socket to be ready and then makes the system call itself, and has no vectored write: one
//! is made here directly, and its write is awaited only where the socket's buffer is full. It needs
//! 512 KiB of locked memory a shard and a kernel that allows io_uring, and has no other way.

use std::io::{ErrorKind, IoSlice, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use glommio::{LocalExecutorBuilder, Placement};
use runtime::Driver;

use super::ShardStart;
use super::answers::{Session, Shared};
use super::shard::{Counted, FRAME_BYTES_MAX, PREFIX_BYTES};

/// Bytes of one receive.
const RECEIVE_BYTES: usize = 16 * 1024;

/// Runs a shard until its mailbox is closed.
pub(super) fn run(start: ShardStart, _: Driver) {
    let placement = start.cpu.map_or(Placement::Unbound, Placement::Fixed);
    let executor = match LocalExecutorBuilder::new(placement).make() {
        Ok(executor) => executor,
        Err(error) => {
            let reason = format!("glommio does not start (io_uring, locked memory): {error}");
            let _ = start.started.send(Err(reason));
            return;
        }
    };
    executor.run(async {
        let _ = start.started.send(Ok(()));
        while let Ok(stream) = start.sockets.recv_async().await {
            let guard = Counted(start.open.clone());
            let serving = serve(stream, start.shared.clone());
            let task = glommio::spawn_local(async move {
                let _guard = guard;
                // A connection that fails ends alone; its client sees the end of the stream.
                let _ = serving.await;
            });
            task.detach();
        }
    });
}

async fn serve(stream: TcpStream, shared: Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let direct = stream.try_clone()?;
    let mut socket = glommio::net::TcpStream::from(socket2::Socket::from(stream));
    let mut session = Session::new(shared);
    let mut buffer = BytesMut::new();
    let mut chunk = vec![0; RECEIVE_BYTES];
    loop {
        while let Some(frame) = cut(&mut buffer)? {
            if let Some(reply) = session.answer(&frame)? {
                write(&direct, &mut socket, &reply.parts).await?;
            }
        }
        let count = socket.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&chunk[..count]);
    }
}

/// Takes the first frame off the buffer, without its prefix, if it is whole.
fn cut(buffer: &mut BytesMut) -> Result<Option<BytesMut>> {
    let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(*prefix)).context("a negative length")?;
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    if buffer.len() < PREFIX_BYTES + length {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    Ok(Some(buffer.split_to(length)))
}

async fn write(
    mut direct: &TcpStream,
    socket: &mut glommio::net::TcpStream,
    parts: &[Bytes],
) -> Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    while let Some(first) = left.first() {
        let count = match direct.write_vectored(left) {
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::WouldBlock => socket.write(first).await?,
            Err(e) if e.kind() == ErrorKind::Interrupted => 0,
            Err(e) => return Err(e.into()),
        };
        IoSlice::advance_slices(&mut left, count);
    }
    Ok(())
}
