//! Random sequences of events, played to the coordinator and to the [reference model](super::reference):
//! after each event both must have answered the same requests in the same way, at the same millisecond,
//! and have the same groups and the same writes under way.
//!
//! `KAFSCALE_GROUP_SEQUENCES` is the number of sequences (20,000 by default). A sequence that fails is made
//! shorter for as long as it fails, and printed with what was answered at each step.

mod driver;
mod event;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use driver::Driver;
use event::{Event, Random, Setup, sequence};

const SEQUENCES: u64 = 20_000;
/// Most runs that making a failing sequence shorter may take.
const SHRINK_RUNS_MAX: usize = 20_000;

/// How often each outcome was seen.
type Outcomes = BTreeMap<String, u64>;

/// Plays a sequence; gives the number of the event that fails, and how.
fn play(setup: &Setup, events: &[Event], outcomes: &mut Outcomes) -> Result<(), (usize, String)> {
    let mut driver = Driver::new(setup);
    let mut at = 0;
    let played = catch_unwind(AssertUnwindSafe(|| {
        for (index, event) in events.iter().enumerate() {
            at = index;
            driver.step(event)?;
        }
        at = events.len();
        driver.calm()
    }));
    for (outcome, count) in &driver.outcomes {
        *outcomes.entry(outcome.clone()).or_insert(0) += count;
    }
    let failed = match played {
        Ok(result) => result,
        Err(panic) => Err(panic_text(&*panic)),
    };
    failed.map_err(|text| (at, text))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    format!("panic: {}", text.unwrap_or_default())
}

/// Takes out events, in ever smaller portions, for as long as the sequence fails without them.
fn shrink(setup: &Setup, mut events: Vec<Event>) -> Vec<Event> {
    let mut portion = events.len();
    let mut runs = 0;
    while portion > 0 {
        let mut start = 0;
        let mut is_shorter = false;
        while start < events.len() && runs < SHRINK_RUNS_MAX {
            let mut shorter = events.clone();
            shorter.drain(start..(start + portion).min(events.len()));
            runs += 1;
            match play(setup, &shorter, &mut Outcomes::new()) {
                Err((at, _)) => {
                    // What comes after the event that fails does not matter.
                    shorter.truncate(at + 1);
                    events = shorter;
                    is_shorter = true;
                }
                Ok(()) => start += portion,
            }
        }
        if !is_shorter || portion > 1 {
            portion /= 2;
        }
    }
    events
}

/// The sequence as a person reads it.
fn tell(setup: &Setup, events: &[Event]) -> String {
    let mut text = format!("{setup:?}\n");
    let mut driver = Driver::new(setup);
    for (index, event) in events.iter().enumerate() {
        let outcome = catch_unwind(AssertUnwindSafe(|| driver.step(event)));
        text += &format!("{:>3}. {event:?}\n", index + 1);
        driver
            .story
            .drain(..)
            .for_each(|line| text += &format!("       {line}\n"));
        match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(why)) => text += &format!("     DIFFERS: {why}\n"),
            Err(panic) => text += &format!("     FAILS: {}\n", panic_text(&*panic)),
        }
        return text;
    }
    match catch_unwind(AssertUnwindSafe(|| driver.calm())) {
        Ok(Ok(())) => text + "     does not fail any more",
        Ok(Err(why)) => text + &format!("     in the calm after it: {why}"),
        Err(panic) => text + &format!("     in the calm after it: {}", panic_text(&*panic)),
    }
}

fn run(seed: u64, outcomes: &mut Outcomes) {
    let mut random = Random(seed);
    let setup = Setup::draw(&mut random);
    let events = sequence(&mut random);
    let Err((_, why)) = play(&setup, &events, outcomes) else {
        return;
    };
    let before = events.len();
    let events = shrink(&setup, events);
    let left = events.len();
    let story = tell(&setup, &events);
    panic!("sequence {seed} fails: {why}\n{left} of its {before} events are enough:\n{story}");
}

#[test]
fn the_coordinator_answers_as_the_reference_model() {
    let count = std::env::var("KAFSCALE_GROUP_SEQUENCES");
    let count = count.map_or(SEQUENCES, |count| {
        count.parse().expect("a number of sequences")
    });
    let mut outcomes = Outcomes::new();
    for seed in 0..count {
        run(seed, &mut outcomes);
    }
    let total: u64 = outcomes.values().sum();
    println!(
        "{count} sequences, {total} outcomes of {} kinds",
        outcomes.len()
    );
    outcomes
        .iter()
        .for_each(|(outcome, times)| println!("{times:>9} {outcome}"));
    // The generator reaches what it is meant to compare.
    for (outcome, least) in event::EXPECTED {
        let seen = outcomes.get(*outcome).copied().unwrap_or(0);
        let least = (least * count / 1_000).min(*least);
        assert!(
            seen >= least,
            "{outcome}: {seen} times in {count} sequences"
        );
    }
}

#[test]
fn a_failing_sequence_is_made_short() {
    let setup = Setup::draw(&mut Random(0));
    let mut events = vec![Event::Fail];
    let noise = || sequence(&mut Random(1));
    events.splice(0..0, noise());
    events.extend(noise());
    let events = shrink(&setup, events);
    assert!(matches!(events[..], [Event::Fail]), "{events:?}");
    assert!(tell(&setup, &events).contains("DIFFERS"));
}
