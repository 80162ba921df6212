//! The planted histories, and what else is to be said of single rules.

use super::planted::planted;
use super::*;

#[test]
fn each_anomaly_is_found_where_it_is_and_not_where_it_nearly_is() {
    for anomaly in Anomaly::ALL {
        let (shows, nearly) = planted(*anomaly);
        assert_eq!(shows.kinds(), BTreeSet::from([*anomaly]), "{anomaly}");
        assert_eq!(nearly.kinds(), BTreeSet::new(), "nearly {anomaly}");
    }
}

#[test]
fn a_history_without_a_fault_is_clean() {
    let (mut writer, values) = three();
    let unknown = writer.send(2, Kind::Plain, HOME, 1);
    writer.add(|at| Event::Unknown {
        send: unknown.send,
        at,
    });
    writer.mark(3);
    writer.full(&[
        values[0],
        values[1],
        values[2],
        unknown.value(),
        unknown.value(),
    ]);
    writer.add(|at| Event::Settled { at });
    assert_eq!(writer.kinds(), BTreeSet::new());
    let report = check(&writer.events);
    let counts = (report.sent, report.acknowledged, report.unknown);
    assert_eq!((counts, report.reads, report.full_reads), ((4, 3, 1), 5, 1));
    assert_eq!(report.gaps.len(), 0, "nothing was expected");
}

#[test]
fn an_acknowledgment_without_an_offset_is_a_promise_too() {
    let (mut writer, values) = three();
    let silent = writer.one(1);
    writer.ok(&silent, None);
    writer.full(&values);
    assert_eq!(writer.kinds(), BTreeSet::from([Anomaly::LostWrite]));
}

#[test]
fn a_record_that_was_read_and_is_gone_is_lost() {
    let (mut writer, values) = three();
    let unknown = writer.one(1);
    writer.poll(1, &[(3, unknown.value())]);
    writer.full(&values);
    assert_eq!(writer.kinds(), BTreeSet::from([Anomaly::LostWrite]));
}

#[test]
fn two_acknowledgments_of_one_offset_are_inconsistent() {
    let (mut writer, _) = three();
    let other = writer.one(1);
    writer.ok(&other, 2);
    let expected = [Anomaly::InconsistentOffsets, Anomaly::NonmonotonicSend];
    assert_eq!(writer.kinds(), BTreeSet::from(expected));
}

#[test]
fn a_log_start_that_nobody_raised_is_a_gap() {
    let (mut writer, [_, b, c]) = three();
    writer.full_of(FULL, HOME, &[(1, b), (2, c)], 1, 3);
    assert_eq!(writer.kinds(), BTreeSet::from([Anomaly::Gap]));
}

#[test]
fn an_idempotent_producers_order_holds_without_acknowledgments() {
    let mut writer = Writer::default();
    let values = [0; 2].map(|_| writer.one(1).value());
    writer.full(&[values[1], values[0]]);
    assert_eq!(writer.kinds(), BTreeSet::from([Anomaly::NonmonotonicSend]));
}

#[test]
fn high_watermarks_never_fall_for_one_observer_whatever_the_epoch() {
    let (mut writer, values) = three();
    writer.mark(2);
    writer.mark(1);
    writer.mark(2);
    writer.full(&values);
    assert_eq!(
        writer.kinds(),
        BTreeSet::from([Anomaly::HighWatermarkFalls])
    );
}

#[test]
fn an_old_high_watermark_is_allowed_for_as_long_as_expected() {
    // Acknowledged at 6 ms; asked at 8 ms.
    for (within, expected) in [(2_000, None), (1_999, Some(Anomaly::RealtimeLag))] {
        let (mut writer, _) = three();
        writer.tick();
        writer.poll_as(Observer(1), (1, 1), &[], 2);
        writer.events.push(Event::ExpectFresh { within });
        assert_eq!(writer.kinds(), expected.into_iter().collect(), "{within}");
    }
}

#[test]
fn committed_offsets_are_those_that_were_committed() {
    for (acknowledged, read, right) in [
        (true, Some(7), true),
        (true, Some(8), true),
        (true, Some(6), false),
        (true, None, false),
        (true, Some(9), false),
        (false, None, true),
        (false, Some(7), true),
    ] {
        let mut writer = Writer::default();
        for offset in [6, 7, 8] {
            writer.committing(-1, offset);
            if acknowledged && offset < 8 {
                writer.committed(-1, offset);
            }
        }
        writer.committed_read(read);
        let expected = (!right).then_some(Anomaly::CommittedFalls);
        assert_eq!(writer.kinds(), expected.into_iter().collect(), "{read:?}");
    }
}

#[test]
fn the_longest_time_without_progress_is_measured() {
    // Acknowledged at 2, 4 and 6 ms.
    for (from, until, within, gap) in [
        (5_500, 6_000, 500, 500),
        (5_500, 6_000, 499, 500),
        (0, 6_000, 2_000, 2_000),
        (0, 6_000, 1_999, 2_000),
        // After the last one, and where there was none.
        (3_000, 9_000, 3_000, 3_000),
        (3_000, 9_000, 2_999, 3_000),
        (7_000, 9_000, 1_999, 2_000),
    ] {
        let (mut writer, values) = three();
        writer.events.push(Event::Expect {
            name: "test".to_owned(),
            progress: Progress::Acknowledged,
            partitions: 1,
            from: At(from),
            until: At(until),
            within,
        });
        writer.full(&values);
        let late = (within < gap).then_some(Anomaly::StuckProducer);
        assert_eq!(
            writer.kinds(),
            late.into_iter().collect(),
            "{from} {within}"
        );
        let (_, _, longest) = check(&writer.events).gaps[0];
        assert_eq!((longest.length, longest.partition), (gap, HOME));
    }
}

#[test]
fn violations_beyond_the_bound_are_counted() {
    let mut writer = Writer::default();
    let records: Vec<_> = (0..300)
        .map(|of: i64| (of, Value(1_000 + of.unsigned_abs())))
        .collect();
    writer.poll(1, &records);
    let report = check(&writer.events);
    assert_eq!(report.violations.len(), REPORTED_MAX);
    assert_eq!(report.violation_count, 300);
}

#[test]
fn a_history_is_the_same_after_it_was_written_and_read() {
    for anomaly in Anomaly::ALL {
        let (shows, _) = planted(*anomaly);
        let mut file = Vec::new();
        write(&mut file, &shows.events).unwrap();
        assert_eq!(read(&file[..]).unwrap(), shows.events);
    }
    assert!(read(&b"{\"event\":\"nothing\"}\n"[..]).is_err());
}

#[test]
fn the_picture_shows_each_history_and_its_fault() {
    let (mut writer, values) = three();
    let name = "owner & <heir>".to_owned();
    writer.add(|at| Event::Fault { name, at });
    writer.add(|at| Event::Mended { at });
    writer.full(&values);
    let svg = timeline([("kill-owner", writer.events.as_slice()), ("other", &[])]);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("kill-owner") && svg.contains("other"));
    assert!(svg.contains("owner &amp; &lt;heir&gt;"), "{svg}");
    assert_eq!(svg.matches("fill-opacity").count(), 1, "{svg}");
}

/// A fetch that was sent astray, to a leader that has been replaced and does not know it, is told an older end. So is the
/// next one, back with the leader that is followed: neither says anything of the other.
#[test]
fn an_answer_that_was_asked_for_astray_is_judged_within_its_epoch_only() {
    let astray = |writer: &mut Writer, epoch, high_watermark| {
        let began = writer.tick();
        writer.add(|at| Event::Poll {
            observer: Observer(1),
            partition: HOME,
            broker: Broker(2),
            epoch: Epoch(epoch),
            astray: true,
            began,
            records: Vec::new(),
            high_watermark,
            at,
        });
    };
    let mut writer = Writer::default();
    writer.mark(2);
    astray(&mut writer, -1, 1);
    astray(&mut writer, -1, 3);
    writer.mark(2);
    assert_eq!(writer.kinds(), BTreeSet::new());
    // Between leaders that are followed the rule stays, whatever was asked meanwhile.
    writer.mark(1);
    let falls = BTreeSet::from([Anomaly::HighWatermarkFalls]);
    assert_eq!(writer.kinds(), falls);
    let mut writer = Writer::default();
    astray(&mut writer, 4, 3);
    astray(&mut writer, 4, 2);
    assert_eq!(writer.kinds(), falls, "within one epoch nothing falls");
}

/// Values of three keys, a, b, a, of a compacted log; the last deletes its key where that is wanted.
fn keyed(deletes: bool) -> (Writer, [Value; 3]) {
    let (mut writer, values) = three();
    let record = |(value, key, deletes)| Keyed {
        value,
        key: Key(key),
        deletes,
    };
    let [a, b, c] = values;
    let records = [(a, 1, false), (b, 2, false), (c, 1, deletes)].map(record);
    writer.add(|at| Event::Keyed {
        partition: HOME,
        records: records.into(),
        at,
    });
    (writer, values)
}

#[test]
fn compaction_may_take_what_a_later_record_of_its_key_stands_for() {
    let read = |deletes, offsets: &[i64]| {
        let (mut writer, values) = keyed(deletes);
        let at = |offset: &i64| (*offset, values[usize::try_from(*offset).unwrap()]);
        let records: Vec<_> = offsets.iter().map(at).collect();
        writer.full_of(FULL, HOME, &records, 0, 3);
        writer.add(|at| Event::Settled { at });
        writer.kinds()
    };
    assert_eq!(read(false, &[0, 1, 2]), BTreeSet::new());
    assert_eq!(read(false, &[1, 2]), BTreeSet::new());
    let gone = BTreeSet::from([Anomaly::Gap, Anomaly::LostWrite, Anomaly::Unseen]);
    assert_eq!(read(false, &[0, 1]), gone, "the latest of a key stays");
    assert_eq!(
        read(false, &[2]),
        gone.clone(),
        "so does that of a key with one record"
    );
    assert_eq!(
        read(true, &[1]),
        BTreeSet::new(),
        "a deleted key leaves nothing"
    );
    assert_eq!(
        read(true, &[0, 1]),
        BTreeSet::from([Anomaly::LostWrite]),
        "a deleted key is not back"
    );
}

#[test]
fn a_reader_may_be_led_past_what_compaction_has_taken_and_nothing_else() {
    let read = |offsets: &[usize]| {
        let (mut writer, values) = keyed(false);
        for offset in offsets {
            let at = i64::try_from(*offset).unwrap();
            writer.poll_as(Observer(1), (1, 1), &[(at, values[*offset])], 3);
        }
        writer.kinds()
    };
    let (mut writer, values) = keyed(false);
    writer.add(|at| Event::Seek {
        observer: Observer(1),
        partition: HOME,
        offset: 0,
        at,
    });
    writer.poll_as(Observer(1), (1, 1), &[(1, values[1]), (2, values[2])], 3);
    assert_eq!(writer.kinds(), BTreeSet::new());
    assert_eq!(read(&[0, 2]), BTreeSet::from([Anomaly::PollSkip]));
}
