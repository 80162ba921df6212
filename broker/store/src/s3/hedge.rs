//! Second GETs for slow first ones, and their budget.
//!
//! Invariants: at most [`HEDGES_BURST`] hedges plus one for every [`GETS_PER_HEDGE`] GETs, so that
//! hedging cannot double the load of a store that is slow as a whole; the answer that is not used is
//! dropped, and its connection with it.

use std::time::Duration;

use futures_util::future::{Either, select};

/// GETs that pay for one hedge: hedges are at most 5 % of GETs.
pub const GETS_PER_HEDGE: u64 = 20;
/// Hedges that may go out at once after a quiet time.
pub const HEDGES_BURST: u64 = 10;

/// The budget: pure, without clock.
#[derive(Debug)]
pub(super) struct HedgeBudget {
    /// In GETs: a hedge costs [`GETS_PER_HEDGE`] of them.
    credit: u64,
}

impl Default for HedgeBudget {
    fn default() -> Self {
        Self {
            credit: HEDGES_BURST * GETS_PER_HEDGE,
        }
    }
}

impl HedgeBudget {
    /// Counts a GET.
    pub(super) fn earn(&mut self) {
        self.credit = (self.credit + 1).min(HEDGES_BURST * GETS_PER_HEDGE);
    }

    /// Takes one hedge out of the budget; false where it is used up.
    pub(super) fn spend(&mut self) -> bool {
        match self.credit.checked_sub(GETS_PER_HEDGE) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

/// Runs `first`; where it has no answer after `after`, asks `second` for a rival and takes the
/// first success. A failure that is `final_` ends the race at once, any other leaves it to the rest.
pub(super) async fn race<T, E, First, Second>(
    first: First,
    after: Option<Duration>,
    second: impl FnOnce() -> Option<Second>,
    final_: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    First: Future<Output = Result<T, E>>,
    Second: Future<Output = Result<T, E>>,
{
    let mut first = Box::pin(first);
    let Some(after) = after else {
        return first.await;
    };
    if let Ok(answer) = tokio::time::timeout(after, &mut first).await {
        return answer;
    }
    let Some(second) = second() else {
        return first.await;
    };
    match select(first, Box::pin(second)).await {
        Either::Left((Err(error), second)) if !final_(&error) => second.await,
        Either::Right((Err(error), first)) if !final_(&error) => first.await,
        Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Option<Duration> = Some(Duration::from_millis(10));

    async fn answer(
        after_ms: u64,
        answer: Result<&'static str, &'static str>,
    ) -> Result<&'static str, &'static str> {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        answer
    }

    fn run(
        first: (u64, Result<&'static str, &'static str>),
        second: (u64, Result<&'static str, &'static str>),
    ) -> (Result<&'static str, &'static str>, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let mut hedged = false;
        let outcome = runtime.block_on(race(
            answer(first.0, first.1),
            AFTER,
            || {
                hedged = true;
                Some(answer(second.0, second.1))
            },
            |error| *error == "final",
        ));
        (outcome, hedged)
    }

    #[test]
    fn a_quick_answer_is_not_hedged() {
        assert_eq!(run((5, Ok("1")), (0, Ok("2"))), (Ok("1"), false));
        assert_eq!(run((5, Err("x")), (0, Ok("2"))), (Err("x"), false));
    }

    #[test]
    fn the_first_success_wins() {
        assert_eq!(run((90, Ok("1")), (5, Ok("2"))), (Ok("2"), true));
        assert_eq!(run((20, Ok("1")), (50, Ok("2"))), (Ok("1"), true));
        assert_eq!(run((20, Err("x")), (50, Ok("2"))), (Ok("2"), true));
        assert_eq!(run((90, Ok("1")), (5, Err("x"))), (Ok("1"), true));
        assert_eq!(run((90, Ok("1")), (5, Err("final"))), (Err("final"), true));
        assert_eq!(run((90, Err("y")), (5, Err("x"))), (Err("y"), true));
    }

    #[test]
    fn hedges_are_a_twentieth_of_gets_and_a_burst() {
        let mut budget = HedgeBudget::default();
        let mut hedges = 0;
        for _ in 0..1_000 {
            budget.earn();
            hedges += u64::from(budget.spend());
        }
        assert_eq!(hedges, HEDGES_BURST + (1_000 - 1) / GETS_PER_HEDGE);
        for _ in 0..1_000_000 {
            budget.earn();
        }
        let burst = (0..1_000).filter(|_| budget.spend()).count() as u64;
        assert_eq!(burst, HEDGES_BURST, "a quiet time does not save up more");
    }
}
