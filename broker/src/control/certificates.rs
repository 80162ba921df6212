//! Takes the files of TLS anew when they change, so that a certificate is replaced without a restart.
//!
//! Control thread. Files that cannot be used change nothing: connections go on being made with what was read before,
//! and the operator is told.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use crate::security::tls::{Tls, TlsError};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks at the files of the Kafka listeners for ever. Without TLS there is nothing to look at.
pub async fn follow(context: Rc<Context>) {
    let security = context.users.security().clone();
    if !security.has_tls() {
        return std::future::pending().await;
    }
    let config = context.config.clone();
    look(move || security.reload(&config)).await;
}

/// Looks at the files of the admin listener for ever.
pub async fn follow_admin(tls: Arc<Tls>) {
    look(move || tls.reload()).await;
}

async fn look(reload: impl Fn() -> Result<bool, TlsError> + Clone + Send + 'static) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match tokio::task::spawn_blocking(reload.clone()).await {
            Ok(Ok(true)) => tracing::info!("the files of TLS have changed and are in use"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the files of TLS have changed and cannot be \
                used; new connections are made with what they held before"),
            // The pool has ended, and the broker with it.
            Err(_) => return,
        }
    }
}
