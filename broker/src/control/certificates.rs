//! Takes the files of TLS anew when they change, so that a certificate is replaced without a restart.
//!
//! Control thread. Files that cannot be used change nothing: connections go on being made with what was read before,
//! and the operator is told.

use std::rc::Rc;
use std::time::Duration;

use super::context::Context;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks at the files for ever. Without TLS there is nothing to look at.
pub async fn follow(context: Rc<Context>) {
    let security = context.users.security().clone();
    if security.tls().is_none() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (security, config) = (security.clone(), context.config.clone());
        let looked = tokio::task::spawn_blocking(move || security.reload(&config));
        match looked.await {
            Ok(Ok(true)) => tracing::info!("the files of TLS have changed and are in use"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the files of TLS have changed and cannot be \
                used; new connections are made with what they held before"),
            // The pool has ended, and the broker with it.
            Err(_) => return,
        }
    }
}
