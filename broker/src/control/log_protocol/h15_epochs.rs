//! H15: where a leader epoch began is known as long as its records are.

use segment::{LeaderEpoch, Offset};

use super::*;

/// Epoch 0 wrote [0, 3), epoch 1 [3, 5). A client that has read epoch 0 asks where it ended.
#[test]
fn h15_the_history_of_epochs_outlives_their_sources() {
    closes(
        Rule::EpochHistoryIsKept,
        async || {
            let stage = Stage::new().await;
            for (broker, base, count) in [(0, 0, 3), (1, 3, 2)] {
                let session = stage.session(broker).await;
                loads_all(&stage.take(session, &[0]).await, 0, base)?;
                stage.flush(session, 1, &[(0, base, count)]).await.unwrap();
                stage.die(session).await;
            }
            let last = stage.session(2).await;
            let taken = stage.take(last, &[0]).await;
            let image = &taken.taken[0].image;
            assert_eq!(image.leader_epoch, LeaderEpoch::new(2));
            let end = image
                .epochs
                .end_of(LeaderEpoch::ZERO, image.leader_epoch, Offset::new(5));
            match end.expect("the epoch is known").1.get() {
                3 => Ok(()),
                found => Err(Violation::EpochEnd { found }),
            }
        },
        Violation::EpochEnd { found: 5 },
    );
}
