//! Signals that end a client command: the first asks it to finish what it has begun, the second
//! ends the process at once.
//!
//! The handlers stay for the life of the process, which ends with its command. A handler does
//! nothing but set a flag, or end the process if the flag is set already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::error::{CODE_INTERRUPTED, CliError};

/// Whether the command has been asked to end.
#[derive(Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens to SIGINT (Ctrl-C) and SIGTERM from now on.
    ///
    /// # Errors
    /// The operating system refuses the handlers.
    pub(super) fn listen() -> Result<Self, CliError> {
        let told = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Handlers run in the order of their registration: the first signal finds the flag
            // unset and sets it, the second finds it set.
            let code = i32::from(CODE_INTERRUPTED);
            flag::register_conditional_shutdown(signal, code, told.clone())
                .and_then(|_| flag::register(signal, told.clone()))
                .map_err(CliError::Signals)?;
        }
        Ok(Self(told))
    }

    /// Whether a signal has come.
    pub(super) fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
