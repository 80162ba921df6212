//! A record as JSON: what is text as text, everything else in base64, each cut to a stated number of bytes.

use segment::record::Record;
use serde::Serialize;

/// Headers of one record that are shown.
const HEADERS_MAX: usize = 64;

/// A record.
#[derive(Debug, Serialize)]
pub(super) struct RecordRow {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// None where the record has none.
    pub(super) timestamp_ms: Option<i64>,
    key: Option<Blob>,
    value: Option<Blob>,
    headers: Vec<Header>,
    /// Headers that are not shown.
    headers_left_out: usize,
}

#[derive(Debug, Serialize)]
struct Header {
    name: String,
    value: Option<Blob>,
}

/// Some bytes, or the first of them.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Blob {
    /// All of them.
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Whether there is more than is shown.
    is_cut: bool,
}

impl Blob {
    fn of(bytes: &[u8], most: usize) -> Self {
        let shown = &bytes[..bytes.len().min(most)];
        let is_cut = shown.len() < bytes.len();
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text),
            // A character that the cut goes through is left out.
            Err(error) if is_cut && error.error_len().is_none() => {
                std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        // What a terminal would act on is no text to look at.
        let is_plain = |text: &&str| {
            !text
                .chars()
                .any(|it| it.is_control() && !"\n\r\t".contains(it))
        };
        let text = text.filter(is_plain);
        Self {
            bytes: bytes.len(),
            base64: match text {
                None => Some(base64_simd::STANDARD.encode_to_string(shown)),
                Some(_) => None,
            },
            text: text.map(str::to_owned),
            is_cut,
        }
    }

    fn weight(&self) -> usize {
        let text = self.text.as_ref().map_or(0, String::len);
        text + self.base64.as_ref().map_or(0, String::len)
    }
}

impl RecordRow {
    /// A record of a partition; of key, value and each header at most `most` bytes.
    pub(super) fn of(partition: i32, record: &Record<'_>, most: usize) -> Self {
        let all = record.headers.clone();
        let count = all.len();
        let headers = all.take(HEADERS_MAX).map(|(name, value)| Header {
            name: String::from_utf8_lossy(&name[..name.len().min(most)]).into_owned(),
            value: value.map(|value| Blob::of(value, most)),
        });
        let timestamp = record.timestamp.get();
        Self {
            partition,
            offset: record.offset.get(),
            timestamp_ms: (timestamp >= 0).then_some(timestamp),
            key: record.key.map(|key| Blob::of(key, most)),
            value: record.value.map(|value| Blob::of(value, most)),
            headers: headers.collect(),
            headers_left_out: count.saturating_sub(HEADERS_MAX),
        }
    }

    /// About how many bytes it takes in the answer.
    pub(super) fn weight(&self) -> usize {
        let blobs = [&self.key, &self.value].into_iter().flatten();
        let headers = self.headers.iter();
        let headers = headers.map(|it| it.name.len() + it.value.as_ref().map_or(0, Blob::weight));
        blobs.map(Blob::weight).sum::<usize>() + headers.sum::<usize>() + 200
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_and_the_rest_is_base64() {
        let of = |bytes: &[u8], most| {
            let blob = Blob::of(bytes, most);
            (blob.text, blob.base64, blob.bytes, blob.is_cut)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(of("ä\n".as_bytes(), 9), (text("ä\n"), None, 3, false));
        assert_eq!(of("aää".as_bytes(), 4), (text("aä"), None, 5, true));
        assert_eq!(of(b"\xff\x00", 9), (None, text("/wA="), 2, false));
        assert_eq!(of(b"\x1b[2J", 9), (None, text("G1sySg=="), 4, false));
        assert_eq!(of(b"", 9), (text(""), None, 0, false));
        assert_eq!(of(b"abcdef", 0), (text(""), None, 6, true));
    }
}
