//! The model of the log by Kafka's rules, case by case, and random runs against the checker.

use proptest::prelude::*;

use super::*;

fn batch(identity: Option<(i64, i16, i32)>, values: &[u64]) -> Batch {
    Batch {
        identity: identity.map(|(id, epoch, sequence)| Identity {
            id,
            epoch,
            sequence,
        }),
        values: values.iter().copied().map(Value).collect(),
    }
}

#[test]
fn nobody_sees_beyond_the_high_watermark() {
    let mut log = Log::default();
    assert_eq!(log.append(batch(None, &[1, 2])), Ok(Taken::Appended(0)));
    assert_eq!(log.append(batch(None, &[3])), Ok(Taken::Appended(2)));
    assert_eq!(log.read(0), Some(Vec::new()));
    log.acknowledge(2);
    assert_eq!(log.read(1), Some(vec![(1, Value(2))]));
    assert_eq!(log.read(3), None);
    log.acknowledge(1);
    assert_eq!((log.high_watermark(), log.end()), (2, 3), "it never falls");
    log.delete_below(1);
    assert_eq!((log.read(0), log.start()), (None, 1));
}

#[test]
fn a_batch_of_an_idempotent_producer_is_taken_once() {
    let mut log = Log::default();
    for sequence in 0..6 {
        let taken = log.append(batch(Some((7, 0, sequence)), &[1]));
        assert_eq!(taken, Ok(Taken::Appended(i64::from(sequence))));
    }
    let again = |log: &mut Log, sequence| log.append(batch(Some((7, 0, sequence)), &[1]));
    assert_eq!(
        again(&mut log, 1),
        Ok(Taken::Known(1)),
        "the fifth from the end"
    );
    assert_eq!(again(&mut log, 0), Err(Refusal::OutOfOrder), "the sixth");
    assert_eq!(again(&mut log, 7), Err(Refusal::OutOfOrder));
    let other = log.append(batch(Some((7, 0, 5)), &[1, 2]));
    assert_eq!(
        other,
        Err(Refusal::OutOfOrder),
        "another batch at that place"
    );
    assert_eq!(
        log.append(batch(Some((7, 1, 3)), &[1])),
        Err(Refusal::OutOfOrder)
    );
    assert_eq!(
        log.append(batch(Some((7, 1, 0)), &[1])),
        Ok(Taken::Appended(6))
    );
    assert_eq!(again(&mut log, 6), Err(Refusal::Fenced));
    assert_eq!(log.append(batch(None, &[])), Err(Refusal::Empty));
}

#[test]
fn after_the_largest_sequence_comes_zero() {
    let mut log = Log::default();
    let last = batch(Some((7, 0, i32::MAX)), &[1, 2]);
    assert_eq!(log.append(last.clone()), Ok(Taken::Appended(0)));
    assert_eq!(
        log.append(batch(Some((7, 0, 1)), &[3])),
        Ok(Taken::Appended(2))
    );
    assert_eq!(log.append(last), Ok(Taken::Known(0)));
}

#[test]
fn another_owner_goes_on_at_the_committed_end_and_forgets_the_rest() {
    let mut log = Log::default();
    for sequence in 0..3 {
        log.append(batch(Some((7, 0, sequence)), &[1])).unwrap();
    }
    log.acknowledge(1);
    assert!(!log.take_over(0), "below the high watermark");
    assert!(!log.take_over(4), "beyond the end");
    assert!(log.take_over(2));
    assert_eq!((log.end(), log.high_watermark()), (2, 2));
    assert_eq!(
        log.append(batch(Some((7, 0, 1)), &[1])),
        Ok(Taken::Known(1))
    );
    assert_eq!(
        log.append(batch(Some((7, 0, 2)), &[1])),
        Ok(Taken::Appended(2))
    );
    log.append(batch(None, &[1, 2])).unwrap();
    assert!(!log.take_over(4), "within a batch");
}

/// A client's step: a batch, how its attempt ends, and what befalls the owner.
type Step = (u8, u32, u8);

/// Clients of a log that is the model itself; what they see is judged.
fn run(steps: &[Step], forgets: bool) -> Writer {
    let (mut writer, mut log) = (Writer::default(), Log::default());
    let mut next = [0_i32; 3];
    let mut observed = 0;
    for (what, producer, count) in steps {
        let sending = writer.send(*producer, Kind::Idempotent, HOME, u64::from(*count));
        let sequence = next[usize::try_from(*producer).unwrap()];
        let identity = Identity {
            id: i64::from(*producer),
            epoch: 0,
            sequence,
        };
        let batch = Batch {
            identity: Some(identity),
            values: sending.values.clone(),
        };
        // Every attempt is repeated until one is durable.
        for attempt in 0..=(what % 3) {
            let taken = log.append(batch.clone()).unwrap();
            let (Taken::Appended(base) | Taken::Known(base)) = taken;
            if attempt < what % 3 {
                let end = if *what > 5 { base } else { log.end() };
                assert!(log.take_over(end));
                if forgets {
                    log = Log::default();
                    log.append(batch.clone()).unwrap();
                }
            } else {
                log.acknowledge(log.end());
                writer.ok(&sending, base);
            }
        }
        next[usize::try_from(*producer).unwrap()] += i32::from(*count);
        let seen = log.read(observed).unwrap_or_default();
        if let Some((last, _)) = seen.last() {
            observed = last + 1;
            writer.poll_as(Observer(1), (1, 1), &seen, log.high_watermark());
        }
    }
    writer.full(
        &log.read(0)
            .unwrap()
            .into_iter()
            .map(|(_, value)| value)
            .collect::<Vec<_>>(),
    );
    writer.add(|at| Event::Settled { at });
    writer
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clients_of_the_model_see_no_anomaly(
        steps in prop::collection::vec((0..9_u8, 0..3_u32, 1..4_u8), 1..30)
    ) {
        prop_assert_eq!(run(&steps, false).kinds(), BTreeSet::new());
    }
}

#[test]
fn clients_of_a_log_that_forgets_see_it() {
    let found = run(&[(0, 1, 2), (1, 2, 1)], true).kinds();
    assert!(found.contains(&Anomaly::LostWrite), "{found:?}");
}
