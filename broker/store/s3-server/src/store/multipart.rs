//! Multipart: uploads in parts, put together under the same lock and the same conditions as a
//! plain write.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use s3s::dto::Checksum;
use s3s::{S3Result, s3_error};

use super::{Attributes, Condition, Object, State, Store, cost};

/// Parts that an upload may have; the S3 API's own bound.
pub(crate) const MAX_PARTS: i32 = 10_000;
/// Uploads that may be open in a bucket.
const MAX_UPLOADS: usize = 100_000;

#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(crate) md5: [u8; 16],
    pub(crate) modified: SystemTime,
    pub(crate) checksum: Checksum,
}

#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) initiated: SystemTime,
    pub(crate) attributes: Attributes,
    pub(crate) parts: BTreeMap<i32, Part>,
}

impl Upload {
    pub(super) fn cost(&self) -> u64 {
        self.parts.values().map(|part| cost(&part.bytes)).sum()
    }
}

/// A page of open uploads.
#[derive(Debug, Default)]
pub(crate) struct OpenUploads {
    /// Key, id and begin.
    pub(crate) uploads: Vec<(String, String, SystemTime)>,
    /// Whether there are more after these.
    pub(crate) more: bool,
}

/// A part as the client names it at the end.
pub(crate) struct Completed {
    pub(crate) number: i32,
    /// Without quotes.
    pub(crate) etag: Option<String>,
    pub(crate) checksum: Checksum,
}

impl State {
    fn upload_mut(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<&mut Upload> {
        let uploads = &mut self.bucket_mut(bucket)?.uploads;
        let upload = uploads.get_mut(&(key.to_owned(), id.to_owned()));
        upload.ok_or_else(|| s3_error!(NoSuchUpload))
    }

    /// Forgets an upload and its parts.
    pub(super) fn drop_upload(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let uploads = &mut self.bucket_mut(bucket)?.uploads;
        let upload = uploads.remove(&(key.to_owned(), id.to_owned()));
        let cost = upload.ok_or_else(|| s3_error!(NoSuchUpload))?.cost();
        self.bytes = self.bytes.saturating_sub(cost);
        Ok(())
    }
}

impl Store {
    /// Opens an upload; its id.
    pub(crate) fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        attributes: Attributes,
    ) -> S3Result<String> {
        let mut state = self.lock();
        let id = format!("upload-{:016}", state.next_upload);
        let uploads = &mut state.bucket_mut(bucket)?.uploads;
        if uploads.len() >= MAX_UPLOADS {
            return Err(s3_error!(SlowDown, "too many uploads are open"));
        }
        let initiated = SystemTime::now();
        let upload = Upload {
            initiated,
            attributes,
            parts: BTreeMap::new(),
        };
        uploads.insert((key.to_owned(), id.clone()), upload);
        state.next_upload += 1;
        Ok(id)
    }

    /// Stores a part, in place of an earlier one of the same number.
    pub(crate) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: i32,
        part: Part,
    ) -> S3Result<()> {
        if !(1..=MAX_PARTS).contains(&number) {
            return Err(s3_error!(
                InvalidArgument,
                "part numbers are 1 to {MAX_PARTS}"
            ));
        }
        let mut state = self.lock();
        let parts = &state.upload_mut(bucket, key, id)?.parts;
        let old = parts.get(&number).map_or(0, |old| cost(&old.bytes));
        state.account(cost(&part.bytes), old, self.memory_bytes)?;
        state
            .upload_mut(bucket, key, id)?
            .parts
            .insert(number, part);
        Ok(())
    }

    pub(crate) fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        self.lock().upload_mut(bucket, key, id).cloned()
    }

    /// Open uploads of keys with `prefix`, in order, after `after` if given.
    pub(crate) fn uploads(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<(String, String)>,
        limit: usize,
    ) -> S3Result<OpenUploads> {
        let state = self.lock();
        let mut page = OpenUploads::default();
        for ((key, id), upload) in &state.bucket(bucket)?.uploads {
            let past = after.as_ref().is_none_or(|(last_key, last_id)| {
                (key, id) > (last_key, last_id) && (key != last_key || !last_id.is_empty())
            });
            if !key.starts_with(prefix) || !past {
                continue;
            }
            if page.uploads.len() >= limit {
                page.more = true;
                break;
            }
            page.uploads
                .push((key.clone(), id.clone(), upload.initiated));
        }
        Ok(page)
    }

    pub(crate) fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        self.lock().drop_upload(bucket, key, id)
    }

    /// The parts that make the object of an upload, as the client names them.
    pub(crate) fn choose_parts(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        named: &[Completed],
    ) -> S3Result<Chosen> {
        let mut state = self.lock();
        let upload = state.upload_mut(bucket, key, id)?;
        choose(upload, named, self.min_part_bytes)
    }

    /// Makes the object of an upload, of bytes, ETag and checksum, if `condition` holds; the upload
    /// stays open if not.
    pub(crate) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        (bytes, etag, checksum): (Bytes, String, Checksum),
        condition: &Condition,
    ) -> S3Result<()> {
        let mut state = self.lock();
        let upload = state.upload_mut(bucket, key, id)?;
        let attributes = upload.attributes.clone();
        let freed = upload.cost();
        let current = state.bucket(bucket)?.objects.get(key);
        condition.check(current.map(AsRef::as_ref))?;
        let modified = SystemTime::now();
        let object = Object {
            bytes,
            etag,
            modified,
            checksum,
            attributes,
        };
        // The parts make room for the object that they become.
        let limit = self.memory_bytes.saturating_add(freed);
        state.put(bucket, key, object, limit)?;
        state.drop_upload(bucket, key, id)
    }
}

/// The parts of an object, in order, and their MD5 sums.
pub(crate) struct Chosen(Vec<(Bytes, [u8; 16])>);

impl Chosen {
    /// Puts the parts together and gives the ETag that S3 gives for them.
    pub(crate) fn assemble(&self) -> (Bytes, String) {
        let mut digests = Md5::new();
        let mut bytes = BytesMut::with_capacity(self.0.iter().map(|(part, _)| part.len()).sum());
        for (part, md5) in &self.0 {
            digests.update(md5);
            bytes.extend_from_slice(part);
        }
        let etag = format!("{}-{}", hex(&digests.finalize()), self.0.len());
        (bytes.freeze(), etag)
    }
}

/// Finds the parts that the client names.
fn choose(upload: &Upload, named: &[Completed], min: u64) -> S3Result<Chosen> {
    if named.is_empty() {
        return Err(s3_error!(MalformedXML, "an upload needs at least one part"));
    }
    if !named.is_sorted_by(|one, next| one.number < next.number) {
        return Err(s3_error!(InvalidPartOrder));
    }
    let mut chosen = Vec::with_capacity(named.len());
    for (place, name) in named.iter().enumerate() {
        let part = upload
            .parts
            .get(&name.number)
            .ok_or_else(|| s3_error!(InvalidPart))?;
        let etag = name
            .etag
            .as_ref()
            .is_none_or(|etag| *etag == hex(&part.md5));
        if !etag || !agree(&name.checksum, &part.checksum) {
            return Err(s3_error!(InvalidPart));
        }
        if place + 1 < named.len() && (part.bytes.len() as u64) < min {
            return Err(s3_error!(EntityTooSmall));
        }
        chosen.push((part.bytes.clone(), part.md5));
    }
    Ok(Chosen(chosen))
}

/// Whether each checksum that the client names is the part's, as far as the part has one.
fn agree(named: &Checksum, known: &Checksum) -> bool {
    let pairs = [
        (&named.checksum_crc32, &known.checksum_crc32),
        (&named.checksum_crc32c, &known.checksum_crc32c),
        (&named.checksum_crc64nvme, &known.checksum_crc64nvme),
        (&named.checksum_sha1, &known.checksum_sha1),
        (&named.checksum_sha256, &known.checksum_sha256),
    ];
    pairs
        .iter()
        .all(|(named, known)| named.is_none() || known.is_none() || named == known)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
