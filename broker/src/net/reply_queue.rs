//! Replies of one connection, in the order of its requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

/// What a request comes to.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A frame to send, in parts, with its length.
    Frame(Vec<Bytes>, usize),
    /// Nothing is sent (acks=0).
    None,
    /// The connection is closed: the request cannot be answered.
    Close,
}

impl From<wire::Frame> for Reply {
    fn from(frame: wire::Frame) -> Self {
        Self::Frame(frame.parts, frame.len)
    }
}

/// A reply that is there, or will be.
pub(crate) enum Slot {
    /// It is there.
    Ready(Reply),
    /// It will be.
    Pending(LocalBoxFuture<'static, Reply>),
}

/// Bytes gathered into one write at most, beyond the first reply.
const WRITE_BYTES: usize = 1 << 20;
/// Parts gathered into one write at most, beyond the first reply: what the kernel takes at once.
const WRITE_PARTS: usize = 1_000;

/// Bytes of replies that are ready and have not been sent, of all connections of a shard: what they hold may be
/// held by nothing else any more. Shard-owned.
#[derive(Debug)]
pub(crate) struct Unsent {
    bytes: Cell<u64>,
    limit: u64,
}

impl Unsent {
    /// None so far.
    pub(crate) fn new(limit: u64) -> Rc<Self> {
        Rc::new(Self {
            bytes: Cell::new(0),
            limit,
        })
    }

    /// Bytes that wait to be sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Bytes that a further reply may have. At nothing, a fetch gives one batch.
    pub(crate) fn room(&self) -> u64 {
        self.limit.saturating_sub(self.bytes.get())
    }

    fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
    }

    fn remove(&self, bytes: usize) {
        let left = self.bytes.get().checked_sub(bytes as u64);
        self.bytes
            .set(left.expect("no more is sent than was queued"));
    }
}

/// The queue between the reading and the writing half. Shard-owned.
pub(crate) struct ReplyQueue {
    slots: RefCell<VecDeque<Slot>>,
    ready_bytes: Cell<usize>,
    /// What is ready or being written; counted in `unsent` too.
    held_bytes: Cell<usize>,
    unsent: Rc<Unsent>,
    ended: Cell<bool>,
    abandoned: Cell<bool>,
    writer: RefCell<Option<Waker>>,
    reader: RefCell<Option<Waker>>,
}

/// What the writer does next.
pub(crate) enum Write {
    /// Write these parts; so many requests are answered with them.
    Parts(Vec<Bytes>, usize),
    /// Close the connection.
    Close,
}

impl ReplyQueue {
    /// An empty queue, whose replies count in `unsent`.
    pub(crate) fn new(unsent: Rc<Unsent>) -> Self {
        Self {
            slots: RefCell::default(),
            ready_bytes: Cell::new(0),
            held_bytes: Cell::new(0),
            unsent,
            ended: Cell::new(false),
            abandoned: Cell::new(false),
            writer: RefCell::default(),
            reader: RefCell::default(),
        }
    }

    /// Adds the reply of the next request.
    pub(crate) fn push(&self, slot: Slot) {
        if self.abandoned.get() {
            return;
        }
        if let Slot::Ready(Reply::Frame(_, len)) = &slot {
            self.ready_bytes.set(self.ready_bytes.get() + len);
            self.hold(*len);
        }
        self.slots.borrow_mut().push_back(slot);
        wake(&self.writer);
    }

    /// No reply will follow: the writer ends after those that are queued.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        wake(&self.writer);
    }

    fn hold(&self, bytes: usize) {
        self.held_bytes.set(self.held_bytes.get() + bytes);
        self.unsent.add(bytes);
    }

    /// So many bytes that were given to be written hold nothing any more.
    pub(crate) fn sent(&self, bytes: usize) {
        let left = self.held_bytes.get().checked_sub(bytes);
        self.held_bytes
            .set(left.expect("no more is sent than was given out"));
        self.unsent.remove(bytes);
    }

    /// Nobody will write any more: what is queued is dropped, and so is what comes. It may hold memory that
    /// the reader of this very connection waits for.
    pub(crate) fn abandon(&self) {
        self.abandoned.set(true);
        let dropped = self.slots.take();
        self.ready_bytes.set(0);
        drop(dropped);
        self.sent(self.held_bytes.get());
        self.end();
        wake(&self.reader);
    }

    /// Waits until fewer than `count_max` replies and `bytes_max` bytes are queued.
    pub(crate) async fn room(&self, count_max: usize, bytes_max: usize) {
        std::future::poll_fn(|cx| {
            let free = self.slots.borrow().len() < count_max && self.ready_bytes.get() < bytes_max;
            if free || self.ended.get() {
                return Poll::Ready(());
            }
            *self.reader.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The replies that are ready at the front, as one write.
    pub(crate) async fn next(&self) -> Write {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Write> {
        let mut parts = Vec::new();
        let mut bytes = 0;
        let mut answered = 0;
        while bytes < WRITE_BYTES && parts.len() < WRITE_PARTS {
            let Some(front) = self.slots.borrow_mut().pop_front() else {
                break;
            };
            let reply = match front {
                Slot::Ready(reply) => {
                    if let Reply::Frame(_, len) = &reply {
                        self.ready_bytes.set(self.ready_bytes.get() - len);
                    }
                    reply
                }
                Slot::Pending(mut future) => match Pin::as_mut(&mut future).poll(cx) {
                    Poll::Ready(reply) => {
                        if let Reply::Frame(_, len) = &reply {
                            self.hold(*len);
                        }
                        reply
                    }
                    Poll::Pending => {
                        self.slots.borrow_mut().push_front(Slot::Pending(future));
                        break;
                    }
                },
            };
            match reply {
                Reply::Frame(more, len) => {
                    if parts.is_empty() {
                        parts = more;
                    } else {
                        parts.extend(more);
                    }
                    bytes += len;
                    answered += 1;
                }
                Reply::None => answered += 1,
                Reply::Close if answered == 0 => return Poll::Ready(Write::Close),
                Reply::Close => {
                    self.slots
                        .borrow_mut()
                        .push_front(Slot::Ready(Reply::Close));
                    break;
                }
            }
        }
        if answered > 0 {
            wake(&self.reader);
            return Poll::Ready(Write::Parts(parts, answered));
        }
        if self.ended.get() && self.slots.borrow().is_empty() {
            return Poll::Ready(Write::Close);
        }
        *self.writer.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ReplyQueue {
    fn drop(&mut self) {
        // Of a writer that panicked.
        self.unsent.remove(self.held_bytes.get());
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    let waker = place.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_channel::oneshot;
    use futures_util::FutureExt;

    fn queue() -> ReplyQueue {
        ReplyQueue::new(Unsent::new(10))
    }

    fn frame(byte: u8) -> Reply {
        Reply::Frame(vec![Bytes::from(vec![byte])], 1)
    }

    fn next(queue: &ReplyQueue) -> Option<Vec<u8>> {
        match queue.next().now_or_never()? {
            Write::Parts(parts, _) => Some(parts.iter().flat_map(|p| p.to_vec()).collect()),
            Write::Close => None,
        }
    }

    #[test]
    fn replies_leave_in_the_order_of_requests_whatever_is_ready_first() {
        let queue = queue();
        let (send, receive) = oneshot::channel();
        let pending = async move { receive.await.unwrap_or(Reply::Close) };
        queue.push(Slot::Ready(frame(1)));
        queue.push(Slot::Pending(pending.boxed_local()));
        queue.push(Slot::Ready(frame(3)));
        assert_eq!(next(&queue), Some(vec![1]));
        assert_eq!(next(&queue), None);
        send.send(frame(2)).expect("the receiver lives");
        assert_eq!(next(&queue), Some(vec![2, 3]));
    }

    #[test]
    fn the_reader_waits_while_too_much_is_queued() {
        let queue = queue();
        queue.push(Slot::Ready(frame(1)));
        assert!(queue.room(1, 100).now_or_never().is_none());
        assert!(queue.room(2, 1).now_or_never().is_none());
        assert!(queue.room(2, 2).now_or_never().is_some());
    }

    #[test]
    fn what_nobody_will_write_is_dropped_with_the_memory_that_it_holds() {
        let queue = queue();
        let memory = std::rc::Rc::new(());
        let pending = || {
            let held = memory.clone();
            let never = async move {
                let _held = held;
                std::future::pending().await
            };
            Slot::Pending(never.boxed_local())
        };
        queue.push(Slot::Ready(frame(1)));
        queue.push(pending());
        assert_eq!(std::rc::Rc::strong_count(&memory), 2);
        queue.abandon();
        queue.push(pending());
        assert_eq!(std::rc::Rc::strong_count(&memory), 1);
        assert!(queue.room(1, 1).now_or_never().is_some());
        assert!(matches!(queue.next().now_or_never(), Some(Write::Close)));
    }

    #[test]
    fn what_is_not_sent_counts_until_it_is_sent_or_dropped() {
        let unsent = Unsent::new(4);
        let (a, b) = (
            ReplyQueue::new(unsent.clone()),
            ReplyQueue::new(unsent.clone()),
        );
        a.push(Slot::Ready(frame(1)));
        a.push(Slot::Pending(std::future::ready(frame(2)).boxed_local()));
        b.push(Slot::Ready(frame(3)));
        assert_eq!(
            (unsent.bytes(), unsent.room()),
            (2, 2),
            "what is not ready holds nothing"
        );
        assert_eq!(next(&a), Some(vec![1, 2]));
        assert_eq!(unsent.bytes(), 3, "it is being written");
        a.sent(2);
        assert_eq!(unsent.bytes(), 1);
        b.push(Slot::Ready(frame(4)));
        assert_eq!(next(&b), Some(vec![3, 4]));
        b.abandon();
        assert_eq!((unsent.bytes(), unsent.room()), (0, 4));
    }

    #[test]
    fn a_close_comes_after_the_replies_before_it() {
        let queue = queue();
        queue.push(Slot::Ready(frame(1)));
        queue.push(Slot::Ready(Reply::Close));
        assert_eq!(next(&queue), Some(vec![1]));
        assert!(matches!(queue.next().now_or_never(), Some(Write::Close)));
    }
}
