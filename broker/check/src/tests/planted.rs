//! For each anomaly a history that shows it and nothing else, and one that nearly does.

use super::*;

/// The two histories of an anomaly.
pub(super) fn planted(anomaly: Anomaly) -> (Writer, Writer) {
    match anomaly {
        Anomaly::LostWrite => lost_write(),
        Anomaly::Unseen => unseen(),
        Anomaly::Duplicate => duplicate(),
        Anomaly::InconsistentOffsets => inconsistent_offsets(),
        Anomaly::Phantom => phantom(),
        Anomaly::Gap => gap(),
        Anomaly::PollSkip => poll_skip(),
        Anomaly::IntPollSkip => int_poll_skip(),
        Anomaly::NonmonotonicPoll => nonmonotonic_poll(),
        Anomaly::IntNonmonotonicPoll => int_nonmonotonic_poll(),
        Anomaly::NonmonotonicSend => nonmonotonic_send(),
        Anomaly::IntNonmonotonicSend => int_nonmonotonic_send(),
        Anomaly::IntSendSkip => int_send_skip(),
        Anomaly::G0 => write_cycle(),
        Anomaly::G1a => aborted_read(),
        Anomaly::G1c => circular_flow(),
        Anomaly::EpochOrder => epoch_order(),
        Anomaly::TwoOwners => two_owners(),
        Anomaly::HighWatermarkFalls => high_watermark_falls(),
        Anomaly::OutOfRange => out_of_range(),
        Anomaly::CommittedFalls => committed_falls(),
        Anomaly::StaleCommit => stale_commit(),
        Anomaly::StuckProducer => stuck(Progress::Acknowledged),
        Anomaly::StuckConsumer => stuck(Progress::Read),
        Anomaly::StuckCommitter => stuck(Progress::Committed),
        Anomaly::RealtimeLag => realtime_lag(),
        Anomaly::ProducerState => producer_state(),
        Anomaly::Leak => leak(),
        Anomaly::Malformed => malformed(),
    }
}

/// The last acknowledged value is missing; and where it was acknowledged after the read began.
fn lost_write() -> (Writer, Writer) {
    let (mut lost, values) = three();
    lost.full(&values[..2]);
    let (mut late, values) = three();
    let began = late.tick();
    let sending = late.one(1);
    late.ok(&sending, 3);
    let records: Vec<_> = (0..).zip(values).collect();
    late.poll_as(FULL, (1, -1), &records, 3);
    late.events.push(Event::FullRead {
        observer: FULL,
        partition: HOME,
        broker: Broker(1),
        start: 0,
        end: 3,
        began,
    });
    (lost, late)
}

/// Nobody has read what was acknowledged last; and where there was no time for it.
fn unseen() -> (Writer, Writer) {
    let (mut shows, [a, b, _]) = three();
    shows.poll(1, &[(0, a), (1, b)]);
    let mut nearly = shows.clone();
    shows.add(|at| Event::Settled { at });
    nearly.events.push(Event::Settled { at: At(5_000) });
    (shows, nearly)
}

/// The same value twice, of an idempotent producer and of one that is not.
fn duplicate() -> (Writer, Writer) {
    [Kind::Idempotent, Kind::Plain]
        .map(|kind| {
            let mut writer = Writer::default();
            let sending = writer.send(1, kind, HOME, 2);
            writer.ok(&sending, 2);
            let [a, b] = sending.values[..] else {
                unreachable!()
            };
            writer.full(&[a, b, a, b]);
            writer
        })
        .into()
}

/// Two readers are shown two values at one offset, and at two.
fn inconsistent_offsets() -> (Writer, Writer) {
    [1, 2]
        .map(|offset| {
            let mut writer = Writer::default();
            let [a, b, c] = [1, 2, 3].map(|producer| writer.one(producer).value());
            writer.poll(1, &[(0, a), (1, b)]);
            writer.poll(2, &[(offset, c)]);
            writer
        })
        .into()
}

/// A value of another partition, and one of this.
fn phantom() -> (Writer, Writer) {
    [Partition(1), HOME]
        .map(|partition| {
            let (mut writer, [a, b, c]) = three();
            let other = writer.send(2, Kind::Plain, partition, 1);
            writer.full(&[a, b, c, other.value()]);
            writer
        })
        .into()
}

/// An end beyond the last record; and a log start that somebody raised.
fn gap() -> (Writer, Writer) {
    let (mut shows, values) = three();
    shows.full_to(&values, 4);
    let (mut nearly, [_, b, c]) = three();
    nearly.add(|at| Event::LogStart {
        partition: HOME,
        offset: 1,
        at,
    });
    nearly.full_of(FULL, HOME, &[(1, b), (2, c)], 1, 3);
    (shows, nearly)
}

/// Past a record from one answer to the next; and with a seek between.
fn poll_skip() -> (Writer, Writer) {
    let (mut shows, [a, _, c]) = three();
    shows.poll(1, &[(0, a)]);
    let mut nearly = shows.clone();
    shows.poll(1, &[(2, c)]);
    nearly.add(|at| Event::Seek {
        observer: Observer(1),
        partition: HOME,
        offset: 2,
        at,
    });
    nearly.poll(1, &[(2, c)]);
    (shows, nearly)
}

/// Past a record within an answer; and past an offset that nobody knows of.
fn int_poll_skip() -> (Writer, Writer) {
    let (mut shows, [a, _, c]) = three();
    shows.poll(1, &[(0, a), (2, c)]);
    let mut nearly = Writer::default();
    let first = nearly.one(1);
    nearly.ok(&first, 0);
    let second = nearly.one(1);
    nearly.ok(&second, 2);
    nearly.poll(1, &[(0, first.value()), (2, second.value())]);
    (shows, nearly)
}

/// The same record again, for one reader and for two.
fn nonmonotonic_poll() -> (Writer, Writer) {
    [1, 2]
        .map(|second| {
            let (mut writer, [a, b, _]) = three();
            writer.poll_as(Observer(1), (1, 1), &[(0, a), (1, b)], 3);
            writer.poll_as(Observer(second), (1, 1), &[(1, b)], 3);
            writer
        })
        .into()
}

fn int_nonmonotonic_poll() -> (Writer, Writer) {
    let (mut shows, [a, b, _]) = three();
    let mut nearly = shows.clone();
    shows.poll_as(Observer(1), (1, 1), &[(1, b), (0, a)], 3);
    nearly.poll_as(Observer(1), (1, 1), &[(0, a), (1, b)], 3);
    (shows, nearly)
}

/// In the other order than sent: batches of one producer, and of two that did not wait.
fn nonmonotonic_send() -> (Writer, Writer) {
    [1, 2]
        .map(|second| {
            let mut writer = Writer::default();
            let (a, b) = (writer.one(1), writer.one(second));
            writer.ok(&a, 1);
            writer.ok(&b, 0);
            writer
        })
        .into()
}

fn int_nonmonotonic_send() -> (Writer, Writer) {
    [[1, 0], [0, 1]]
        .map(|order| {
            let mut writer = Writer::default();
            let sending = writer.send(1, Kind::Plain, HOME, 2);
            writer.full(&order.map(|place: usize| sending.values[place]));
            writer
        })
        .into()
}

/// Another batch within a batch, and behind it.
fn int_send_skip() -> (Writer, Writer) {
    [[0, 2, 1], [0, 1, 2]]
        .map(|order| {
            let mut writer = Writer::default();
            let outer = writer.send(1, Kind::Plain, HOME, 2);
            let inner = writer.send(2, Kind::Plain, HOME, 1);
            let all = [outer.values, inner.values].concat();
            writer.full(&order.map(|place: usize| all[place]));
            writer
        })
        .into()
}

/// Begun after an acknowledgment and before it in the log; and begun before it.
fn write_cycle() -> (Writer, Writer) {
    let mut shows = Writer::default();
    let first = shows.one(1);
    shows.ok(&first, 1);
    let second = shows.one(2);
    shows.ok(&second, 0);
    let mut nearly = Writer::default();
    let (first, second) = (nearly.one(1), nearly.one(2));
    nearly.ok(&first, 1);
    nearly.ok(&second, 0);
    (shows, nearly)
}

/// A write that surely failed, and one that may have.
fn aborted_read() -> (Writer, Writer) {
    let mut shows = Writer::default();
    let send = shows.one(1);
    let mut nearly = shows.clone();
    shows.add(|at| Event::Fail {
        send: send.send,
        at,
    });
    nearly.add(|at| Event::Unknown {
        send: send.send,
        at,
    });
    for writer in [&mut shows, &mut nearly] {
        writer.poll(1, &[(0, send.value())]);
    }
    (shows, nearly)
}

/// Read before it was sent, and before it was acknowledged.
fn circular_flow() -> (Writer, Writer) {
    let mut shows = Writer::default();
    shows.poll(1, &[(0, Value(1))]);
    shows.one(1);
    let mut nearly = Writer::default();
    let sending = nearly.one(1);
    nearly.poll(1, &[(0, Value(1))]);
    nearly.ok(&sending, 0);
    (shows, nearly)
}

/// Epochs that fall along the log, and that rise.
fn epoch_order() -> (Writer, Writer) {
    [[2, 1], [1, 2]]
        .map(|epochs| {
            let (mut writer, values) = three();
            let began = writer.tick();
            let placed = (0..).zip(values).zip(epochs);
            let records = placed.map(|((offset, value), epoch)| Record {
                offset,
                value,
                epoch: Epoch(epoch),
            });
            let records = records.collect();
            writer.add(|at| Event::Poll {
                observer: Observer(1),
                partition: HOME,
                broker: Broker(1),
                epoch: Epoch::NONE,
                astray: false,
                began,
                records,
                high_watermark: 2,
                at,
            });
            writer
        })
        .into()
}

/// Another broker serves in the epoch that one was named for, and in the next one.
fn two_owners() -> (Writer, Writer) {
    [1, 2]
        .map(|epoch| {
            let mut writer = Writer::default();
            writer.add(|at| Event::Leader {
                partition: HOME,
                broker: Broker(1),
                epoch: Epoch(1),
                at,
            });
            writer.poll_as(Observer(1), (2, epoch), &[], 0);
            writer
        })
        .into()
}

/// Lower for another observer in the same epoch, and in another one.
fn high_watermark_falls() -> (Writer, Writer) {
    [1, 2]
        .map(|epoch| {
            let mut writer = Writer::default();
            writer.poll_as(Observer(1), (1, epoch), &[], 2);
            writer.poll_as(Observer(2), (1, 1), &[], 1);
            writer
        })
        .into()
}

/// A position that is in the log, and one that retention may have taken.
fn out_of_range() -> (Writer, Writer) {
    let (mut shows, _) = three();
    let refused = |at| Event::OutOfRange {
        observer: Observer(1),
        partition: HOME,
        broker: Broker(2),
        offset: 1,
        at,
    };
    let mut nearly = shows.clone();
    shows.add(refused);
    nearly.add(|at| Event::LogStart {
        partition: HOME,
        offset: 2,
        at,
    });
    nearly.add(refused);
    (shows, nearly)
}

/// Lower than acknowledged in its generation, and after a newer generation went back.
fn committed_falls() -> (Writer, Writer) {
    [1, 2]
        .map(|generation| {
            let mut writer = Writer::default();
            for (generation, offset) in [(1, 6), (1, 7), (generation, 6)] {
                writer.committing(generation, offset);
                if offset == 7 {
                    writer.committed(generation, offset);
                }
            }
            writer.committed_read(Some(6));
            writer
        })
        .into()
}

/// A commit of generation 1 that begins after one of generation 2 was acknowledged, and before.
fn stale_commit() -> (Writer, Writer) {
    let mut shows = Writer::default();
    shows.committing(2, 5);
    shows.committed(2, 5);
    shows.committing(1, 6);
    shows.committed(1, 6);
    let mut nearly = Writer::default();
    nearly.committing(1, 6);
    nearly.committing(2, 5);
    nearly.committed(2, 5);
    nearly.committed(1, 6);
    (shows, nearly)
}

/// Nothing for longer than allowed, and for just as long.
fn stuck(progress: Progress) -> (Writer, Writer) {
    [2_999, 3_000]
        .map(|within| {
            let mut writer = Writer::default();
            let sending = writer.one(1);
            writer.ok(&sending, 0);
            writer.poll(1, &[(0, sending.value())]);
            writer.committing(1, 1);
            writer.committed(1, 1);
            // At 2, 4 and 6 ms.
            let at = match progress {
                Progress::Acknowledged => 2_000,
                Progress::Read => 4_000,
                Progress::Committed => 6_000,
            };
            writer.events.push(Event::Expect {
                name: "test".to_owned(),
                progress,
                partitions: 1,
                from: At(at),
                until: At(at + 3_000),
                within,
            });
            writer
        })
        .into()
}

/// Read 4 ms after it was acknowledged.
fn realtime_lag() -> (Writer, Writer) {
    [3_999, 4_000]
        .map(|within| {
            let mut writer = Writer::default();
            let sending = writer.one(1);
            writer.ok(&sending, 0);
            writer.poll(1, &[]);
            writer.poll(1, &[(0, sending.value())]);
            writer.events.push(Event::ExpectLag {
                name: "test".to_owned(),
                observers: vec![Observer(1)],
                from: At(0),
                until: At(100_000),
                within,
            });
            writer
        })
        .into()
}

/// A sequence that is out of order, and no refusal.
fn producer_state() -> (Writer, Writer) {
    let (mut shows, _) = three();
    let nearly = shows.clone();
    shows.add(|at| Event::Refused {
        producer: Producer(1),
        partition: HOME,
        broker: Broker(1),
        reason: "OUT_OF_ORDER_SEQUENCE_NUMBER".to_owned(),
        at,
    });
    (shows, nearly)
}

fn leak() -> (Writer, Writer) {
    [16, 15]
        .map(|after| {
            let mut writer = Writer::default();
            writer.events.push(Event::ExpectBack {
                broker: Broker(1),
                resource: Resource::Descriptors,
                before: 10,
                after,
                allowed: 5,
            });
            writer
        })
        .into()
}

/// An end without a beginning, and one with it.
fn malformed() -> (Writer, Writer) {
    let mut shows = Writer::default();
    shows.add(|at| Event::Ok {
        send: SendId(5),
        offset: Some(3),
        at,
    });
    let mut nearly = Writer::default();
    let sending = nearly.one(1);
    nearly.ok(&sending, 3);
    (shows, nearly)
}
