//! The files of the page, in the binary: each with a tag of its contents, so that a browser asks once, and compressed
//! once, when it is first asked for.

use std::io::Write;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    IF_NONE_MATCH, VARY,
};
use hyper::{Response, StatusCode};

/// A file and what it is.
struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    made: OnceLock<Made>,
}

/// What is made of it once.
struct Made {
    tag: String,
    compressed: Bytes,
}

const fn asset(name: &'static str, kind: &'static str, text: &'static str) -> Asset {
    Asset {
        name,
        kind,
        text,
        made: OnceLock::new(),
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! file {
    ($name:literal, $kind:ident) => {
        asset($name, $kind, include_str!(concat!("page/", $name)))
    };
}

/// All files.
static ASSETS: [Asset; 22] = [
    file!("index.html", HTML),
    file!("console.css", CSS),
    file!("icon.svg", SVG),
    file!("app.js", JS),
    file!("api.js", JS),
    file!("dom.js", JS),
    file!("format.js", JS),
    file!("charts.js", JS),
    file!("table.js", JS),
    file!("views/overview.js", JS),
    file!("views/cluster.js", JS),
    file!("views/topics.js", JS),
    file!("views/topic.js", JS),
    file!("views/messages.js", JS),
    file!("views/groups.js", JS),
    file!("views/group.js", JS),
    file!("views/storage.js", JS),
    file!("views/cache.js", JS),
    file!("views/latency.js", JS),
    file!("views/events.js", JS),
    file!("views/security.js", JS),
    file!("views/login.js", JS),
];

impl Asset {
    fn made(&self) -> &Made {
        self.made.get_or_init(|| {
            let digest = ring::digest::digest(&ring::digest::SHA256, self.text.as_bytes());
            let hash: String = digest
                .as_ref()
                .iter()
                .take(12)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            // Writing to memory does not fail.
            let written = encoder.write_all(self.text.as_bytes());
            let compressed = written.and_then(|()| encoder.finish()).unwrap_or_default();
            Made {
                tag: format!("\"{hash}\""),
                compressed: compressed.into(),
            }
        })
    }
}

/// A file by its name; the page itself has none.
pub(super) fn answer(name: &str, asked: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let name = if name.is_empty() { "index.html" } else { name };
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let made = asset.made();
    let text = |name| {
        asked
            .get(name)
            .and_then(|it: &HeaderValue| it.to_str().ok())
    };
    let has = |list: Option<&str>, word: &str| {
        list.is_some_and(|list| list.split(',').any(|it| it.trim().starts_with(word)))
    };
    let is_known = has(text(IF_NONE_MATCH), &made.tag);
    let is_small = has(text(ACCEPT_ENCODING), "gzip") && !made.compressed.is_empty();
    let body = match (is_known, is_small) {
        (true, _) => Bytes::new(),
        (false, true) => made.compressed.clone(),
        (false, false) => Bytes::from_static(asset.text.as_bytes()),
    };
    let mut answer = Response::new(Full::new(body));
    if is_known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    // Asked for each time, and answered by its tag: a broker that was upgraded shows its own page at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&made.tag) {
        headers.insert(ETAG, tag);
    }
    if is_small && !is_known {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(of: &[(hyper::header::HeaderName, &str)]) -> HeaderMap {
        let of = of.iter();
        of.map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn a_browser_that_has_a_file_is_not_sent_it_again() {
        let first = answer("", &asked(&[])).unwrap();
        assert_eq!(first.headers()[CONTENT_TYPE], HTML);
        let tag = first.headers()[ETAG].to_str().unwrap();
        let again = answer("index.html", &asked(&[(IF_NONE_MATCH, tag)])).unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = answer("index.html", &asked(&[(IF_NONE_MATCH, "\"0\"")])).unwrap();
        assert_eq!(other.status(), StatusCode::OK);
        let small = answer("app.js", &asked(&[(ACCEPT_ENCODING, "br, gzip")])).unwrap();
        assert_eq!(small.headers()[CONTENT_ENCODING], "gzip");
    }

    #[test]
    fn there_are_no_files_but_those_of_the_page() {
        for name in [
            "../Cargo.toml",
            "..%2fmod.rs",
            "page/app.js",
            "app.js/",
            ".",
        ] {
            assert!(answer(name, &asked(&[])).is_none(), "{name}");
        }
    }

    #[test]
    fn nothing_in_the_page_is_inline_or_from_elsewhere() {
        for asset in &ASSETS {
            for part in [
                "<script>",
                "onclick=",
                "onload=",
                "style=\"",
                "javascript:",
                "https://cdn",
                "eval(",
                "innerHTML",
            ] {
                assert!(!asset.text.contains(part), "{}: {part}", asset.name);
            }
        }
        let bytes: usize = ASSETS.iter().map(|it| it.made().compressed.len()).sum();
        assert!(bytes < 60_000, "{bytes} bytes of page");
    }
}
