//! H22: etcd takes 128 operations a transaction, so many partitions go in several, and each of them
//! on its own.

use coord::keys::plan::PARTITIONS_MAX;

use super::*;

/// A broker takes 200 partitions at once; one of them was taken by another broker meanwhile.
#[test]
fn h22_any_number_of_partitions_is_taken_within_the_limits_of_etcd() {
    closes(
        Rule::TransactionsAreBounded,
        async || {
            assert_eq!(PARTITIONS_MAX, 32);
            let stage = Stage::within_etcd_limits().await;
            let (new, other) = (stage.session(1).await, stage.session(2).await);
            let records = stage.records().await;
            stage.take(other, &[77]).await;
            let targets = (0..200).map(|index| stage.target(index)).collect();
            match stage.taker(new, 1).take(targets, records).await {
                Ok(takeover) => {
                    let refused: Vec<i32> = takeover
                        .refused
                        .iter()
                        .map(|(id, _)| id.partition.get())
                        .collect();
                    assert_eq!((takeover.taken.len(), refused), (199, vec![77]));
                    Ok(())
                }
                Err(_) => Err(Violation::NotServed),
            }
        },
        Violation::NotServed,
    );
}
