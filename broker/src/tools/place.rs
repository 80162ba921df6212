//! Whether bucket and metadata belong together, before a tool writes to both.

use store::{GetError, GetRange};

use super::Ground;

/// Why a tool must not write there.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The object store failed.
    #[error(transparent)]
    Get(#[from] GetError),
    /// The objects are another cluster's, or lie elsewhere.
    #[error(
        "{key} names {found}; the settings say {ours}: set KAFSCALE_S3_BUCKET, KAFSCALE_S3_PREFIX, KAFSCALE_S3_NAMESPACE, \
         KAFSCALE_CLUSTER and KAFSCALE_ETCD_ENDPOINTS as for its brokers"
    )]
    Other {
        /// The object that names the cluster.
        key: String,
        /// The cluster that it names, and where its segments lie.
        found: String,
        /// The cluster of the metadata, and where the settings say that segments lie.
        ours: String,
    },
}

/// Compares the object that names the cluster with the cluster of the metadata. Where there is no
/// such object, no broker has ever started on these objects.
///
/// # Errors
/// [`PlaceError`].
pub(super) async fn check(ground: &Ground) -> Result<(), PlaceError> {
    let key = ground.keys.cluster();
    let found = match ground.objects.get(&key, GetRange::Full).await {
        Ok(found) => found,
        Err(GetError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8_lossy(&found.bytes);
    let mut lines = text.lines();
    let id = lines.next().unwrap_or_default();
    let root = ground.keys.segments_root();
    let found_root = lines.next().unwrap_or(root);
    let ours = ground.cluster.as_ref().map_or("", |c| &c.cluster_id);
    if id == ours && found_root == root {
        return Ok(());
    }
    let told = |id: &str, root: &str| format!("cluster {id:?} with segments under {root:?}");
    Err(PlaceError::Other {
        key,
        found: told(id, found_root),
        ours: told(ours, root),
    })
}
