//! Progress of long work, for a person who watches: only where standard error is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}";
const BYTES_NO_END: &str = "{msg} {spinner} {bytes} {bytes_per_sec}";
const COUNT: &str = "{msg} {wide_bar} {human_pos}/{human_len} {rate} ETA {eta}";
/// Redraws a second.
const REDRAWS: u8 = 5;

/// A bar with rate and remaining time, or nothing at all.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Nothing at all.
    pub(super) fn none() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Of bytes, towards a total if there is one.
    pub(super) fn bytes(what: &str, total: Option<u64>) -> Self {
        match total {
            Some(total) => Self::new(what, BYTES, Some(total)),
            None => Self::new(what, BYTES_NO_END, None),
        }
    }

    /// Of things that are counted.
    pub(super) fn count(what: &str, total: u64) -> Self {
        Self::new(what, COUNT, Some(total))
    }

    fn new(what: &str, template: &str, total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::none();
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", rate));
        }
        bar.set_message(what.to_owned());
        Self(bar)
    }

    pub(super) fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// There is more, or less, to do than was thought.
    pub(super) fn set_total(&self, total: u64) {
        self.0.set_length(total);
    }

    pub(super) fn add(&self, amount: u64) {
        self.0.inc(amount);
    }
}

/// Things a second, in whole numbers.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // A failure to format leaves the place empty, which harms nobody.
    let _ = write!(out, "{:.0}/s", state.per_sec());
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for template in [BYTES, BYTES_NO_END, COUNT] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
