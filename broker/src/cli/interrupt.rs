//! Ctrl-C and SIGTERM: the first asks a command to end, the second ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// The code of a process that an interrupt has ended.
const CODE_INTERRUPTED: i32 = 130;

/// Whether the command has been asked to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches for signals from now on. Where that cannot be had, they end the process as usual.
    pub(super) fn watch() -> Self {
        let interrupt = Self::default();
        let flag = interrupt.0.clone();
        let _ = std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .build();
                if let Ok(runtime) = runtime {
                    runtime.block_on(wait(&flag));
                }
            });
        interrupt
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn wait(flag: &AtomicBool) {
    let (Ok(mut interrupts), Ok(mut terminations)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupts.recv() => (),
            _ = terminations.recv() => (),
        }
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(CODE_INTERRUPTED);
        }
    }
}
