//! Digest: the ETags and checksums of bodies, and whether they are what the client said.

use bytes::Bytes;
use hyper::HeaderMap;
use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, ChecksumAlgorithm};
use s3s::{S3Result, s3_error};

use crate::store::hex;

/// What a client says about a body.
#[derive(Default)]
pub(super) struct Claim {
    pub(super) content_md5: Option<String>,
    pub(super) algorithm: Option<ChecksumAlgorithm>,
    pub(super) checksum: Checksum,
}

impl Claim {
    /// Takes in what came behind the body.
    pub(super) fn add_trailers(&mut self, trailers: &HeaderMap) {
        let get = |name: &str| trailers.get(name)?.to_str().ok().map(str::to_owned);
        let sum = &mut self.checksum;
        let slots = [
            ("x-amz-checksum-crc32", &mut sum.checksum_crc32),
            ("x-amz-checksum-crc32c", &mut sum.checksum_crc32c),
            ("x-amz-checksum-crc64nvme", &mut sum.checksum_crc64nvme),
            ("x-amz-checksum-sha1", &mut sum.checksum_sha1),
            ("x-amz-checksum-sha256", &mut sum.checksum_sha256),
        ];
        for (name, slot) in slots {
            if let Some(value) = get(name) {
                *slot = Some(value);
            }
        }
    }

    /// Computes what the client named, or CRC64-NVME if it named nothing, and refuses the body with
    /// `BadDigest` where they differ. The MD5 comes along.
    pub(super) fn verify(&self, bytes: &Bytes) -> S3Result<([u8; 16], Checksum)> {
        let md5 = md5(bytes);
        if let Some(claimed) = &self.content_md5
            && *claimed != base64_simd::STANDARD.encode_to_string(md5)
        {
            return Err(s3_error!(BadDigest, "Content-MD5 is not that of the body"));
        }
        Ok((md5, self.verify_checksums(bytes)?))
    }

    /// [`Claim::verify`] without the MD5, which takes a second for a GiB and which S3 does not
    /// compute of an object that was written in parts.
    pub(super) fn verify_checksums(&self, bytes: &Bytes) -> S3Result<Checksum> {
        let found = self.compute(bytes);
        let claimed = &self.checksum;
        let pairs = [
            (&claimed.checksum_crc32, &found.checksum_crc32),
            (&claimed.checksum_crc32c, &found.checksum_crc32c),
            (&claimed.checksum_crc64nvme, &found.checksum_crc64nvme),
            (&claimed.checksum_sha1, &found.checksum_sha1),
            (&claimed.checksum_sha256, &found.checksum_sha256),
        ];
        if pairs
            .iter()
            .any(|(claimed, found)| claimed.is_some() && claimed != found)
        {
            return Err(s3_error!(BadDigest, "the checksum is not that of the body"));
        }
        Ok(found)
    }

    fn compute(&self, bytes: &Bytes) -> Checksum {
        let named = |algorithm: &str| {
            self.algorithm
                .as_ref()
                .is_some_and(|named| named.as_str() == algorithm)
        };
        let claimed = &self.checksum;
        let wants = |sum: &Option<String>, algorithm| sum.is_some() || named(algorithm);
        let mut hasher = ChecksumHasher {
            crc32: wants(&claimed.checksum_crc32, ChecksumAlgorithm::CRC32).then(Default::default),
            crc32c: wants(&claimed.checksum_crc32c, ChecksumAlgorithm::CRC32C)
                .then(Default::default),
            sha1: wants(&claimed.checksum_sha1, ChecksumAlgorithm::SHA1).then(Default::default),
            sha256: wants(&claimed.checksum_sha256, ChecksumAlgorithm::SHA256)
                .then(Default::default),
            crc64nvme: wants(&claimed.checksum_crc64nvme, ChecksumAlgorithm::CRC64NVME)
                .then(Default::default),
        };
        let none = hasher.crc32.is_none()
            && hasher.crc32c.is_none()
            && hasher.sha1.is_none()
            && hasher.sha256.is_none();
        if none {
            hasher.crc64nvme.get_or_insert_default();
        }
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// The checksum of an object whose writer named none.
pub(crate) fn default_checksum(bytes: &Bytes) -> Checksum {
    Claim::default().compute(bytes)
}

/// The ETag of an object written in one piece.
pub(crate) fn etag(bytes: &Bytes) -> String {
    hex(&md5(bytes))
}

fn md5(bytes: &Bytes) -> [u8; 16] {
    Md5::digest(bytes).into()
}
