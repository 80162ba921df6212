//! Where everything is kept: opened, and checked before anything is served.

use std::sync::Arc;

use coord::keys::cluster::CommitMode;
use coord::kv::Kv;
use coord::kv::embedded::{Embedded, METADATA_FILE};
use store::local::{LocalOptions, LocalStore};
use store::{ListRequest, ObjectStore};

use super::StartError;
use crate::config::{Config, Mode};

/// Where everything is kept.
#[derive(Clone)]
pub struct Stores {
    /// The object store.
    pub objects: Arc<dyn ObjectStore>,
    /// The metadata store.
    pub kv: Arc<dyn Kv>,
    /// How a reader is told where that is.
    pub place: String,
    /// How WAL objects can be committed there.
    pub mode: CommitMode,
    /// Whether other brokers use them too, so that sessions must be proven alive.
    pub shared: bool,
}

/// Opens the stores that the settings name.
///
/// # Errors
/// [`StartError`]: what cannot be used, and what to do.
pub async fn open(config: &Config) -> Result<Stores, StartError> {
    match config.mode() {
        Mode::Embedded => open_embedded(config).await,
        Mode::Cluster => Err(StartError::Cluster),
    }
}

/// Opens the embedded stores of the data directory.
///
/// # Errors
/// [`StartError`]; a directory that another broker uses is refused.
async fn open_embedded(config: &Config) -> Result<Stores, StartError> {
    let directory = config.log.data_dir.clone();
    let opened = LocalStore::open(&directory, LocalOptions::default())?;
    let directory = opened.lock().root().to_owned();
    let objects: Arc<dyn ObjectStore> = Arc::new(opened);
    if !directory.join(METADATA_FILE).exists() {
        let page = objects.list(ListRequest::new("").limit(1)).await?;
        if let Some(first) = page.objects.first() {
            let example = first.key.as_str().to_owned();
            return Err(StartError::NoMetadata { directory, example });
        }
    }
    let kv: Arc<dyn Kv> = Arc::new(Embedded::open(&directory)?);
    let place = directory.display().to_string();
    Ok(Stores {
        objects,
        kv,
        place,
        mode: CommitMode::Conditional,
        shared: false,
    })
}
