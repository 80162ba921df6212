//! What keeps other web sites out: names of the host, origins of changes, and the headers of every answer.
//!
//! Pure functions. Rules:
//! - on a loopback address a request must name the machine itself as its host: a page of another site whose name
//!   resolves to 127.0.0.1 (DNS rebinding) is refused;
//! - a change must come from a page of this console, or from no page at all; with a cookie a browser must say from
//!   which, as all of them do.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};

/// What the page may load: scripts, styles and pictures of its own, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers of every answer of the console.
pub(super) const HEADERS: [(HeaderName, &str); 6] = [
    (hyper::header::CONTENT_SECURITY_POLICY, POLICY),
    (hyper::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (hyper::header::X_FRAME_OPTIONS, "DENY"),
    (hyper::header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

fn text<'a>(headers: &'a HeaderMap<HeaderValue>, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The name or address in `host[:port]`.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(address, _)| address);
    }
    authority
        .split_once(':')
        .map_or(authority, |(host, _)| host)
}

/// Whether a request may be meant for this listener, which listens at `listens`.
pub(super) fn is_ours(headers: &HeaderMap<HeaderValue>, listens: IpAddr) -> bool {
    if !listens.is_loopback() {
        return true;
    }
    let Some(authority) = text(headers, &HOST) else {
        return false;
    };
    let host = host_of(authority);
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}

/// Whether a change comes from a page of this console, or from no browser. `has_cookie`: whether it is a cookie that
/// lets it in.
pub(super) fn may_change(headers: &HeaderMap<HeaderValue>, is_tls: bool, has_cookie: bool) -> bool {
    let site = text(headers, &SEC_FETCH_SITE);
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    match text(headers, &ORIGIN) {
        Some(origin) => {
            let scheme = if is_tls { "https://" } else { "http://" };
            let host = text(headers, &HOST).unwrap_or_default();
            let authority = origin.strip_prefix(scheme);
            !host.is_empty() && authority.is_some_and(|it| it.eq_ignore_ascii_case(host))
        }
        None => site.is_some() || !has_cookie,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap<HeaderValue> {
        let of = of.iter();
        of.map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .collect()
    }

    #[test]
    fn on_loopback_only_the_machine_itself_may_be_named() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        for host in [
            "localhost:9093",
            "LOCALHOST",
            "127.0.0.1:9093",
            "127.8.8.8",
            "[::1]:9093",
        ] {
            assert!(is_ours(&headers(&[("host", host)]), loopback), "{host}");
        }
        for host in [
            "evil.example:9093",
            "localhost.evil.example",
            "10.0.0.1:9093",
            "[2001:db8::1]:9093",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!is_ours(&headers(&[("host", host)]), loopback), "{host}");
        }
        assert!(!is_ours(&headers(&[]), loopback));
        let everywhere: IpAddr = "0.0.0.0".parse().unwrap();
        assert!(is_ours(
            &headers(&[("host", "broker-1.example")]),
            everywhere
        ));
    }

    #[test]
    fn a_change_comes_from_our_own_page_or_from_no_page() {
        let host = ("host", "localhost:9093");
        let may = |of: &[(&'static str, &'static str)], has_cookie| {
            may_change(&headers(&[&[host], of].concat()), false, has_cookie)
        };
        assert!(may(&[("origin", "http://localhost:9093")], true));
        assert!(may(
            &[
                ("origin", "http://localhost:9093"),
                ("sec-fetch-site", "same-origin")
            ],
            true
        ));
        assert!(may(&[], false), "a script has no origin");
        assert!(!may(&[], true), "a browser has");
        for origin in [
            "http://evil.example",
            "https://localhost:9093",
            "http://localhost:9094",
            "null",
            "",
        ] {
            assert!(!may(&[("origin", origin)], true), "{origin}");
            assert!(!may(&[("origin", origin)], false), "{origin}");
        }
        assert!(!may(&[("sec-fetch-site", "cross-site")], false));
        assert!(!may(&[("sec-fetch-site", "same-site")], true));
    }
}
