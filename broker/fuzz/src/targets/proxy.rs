//! PROXY headers, as a connection reads them.

use security::proxy::{Header, V1_BYTES_MAX, V2_BYTES_MAX, parse};

use super::Target;
use crate::feedback;

/// Headers of both versions.
pub const PROXY: Target = Target {
    name: "proxy-header",
    about: "a PROXY header: it ends within its bound, and is read step by step as at once",
    run: proxy,
    seeds: || {
        let binary = |rest: &[u8]| [b"\r\n\r\n\0\r\nQUIT\n", rest].concat();
        vec![
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
            b"PROXY TCP6 ::1 fd00::2 1 65535\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            binary(b"\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x02\0\x01\0\x02"),
            binary(&[&[0x21, 0x21, 0, 39][..], &[7; 36], &[4, 0, 0]].concat()),
            binary(b"\x20\0\0\0"),
        ]
    },
    words: &[
        b"PROXY ",
        b"TCP4 ",
        b"TCP6 ",
        b"UNKNOWN",
        b"\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\x21\x11",
        b"65536",
    ],
};

fn proxy(input: &[u8]) {
    let mut taken = 0;
    let source = loop {
        match parse(&input[..taken]) {
            Err(error) => return feedback::note_result::<(), _>("proxy", &Err(error)),
            Ok(Header::Needs(more)) => {
                assert!(more > 0, "a header that is not complete needs bytes");
                taken += more;
                let bound = V1_BYTES_MAX.max(V2_BYTES_MAX);
                assert!(taken <= bound, "a header ends within its bound");
                if taken > input.len() {
                    return feedback::note("cut off");
                }
            }
            Ok(Header::Done(source)) => break source,
        }
    };
    assert_eq!(
        parse(&input[..taken]),
        Ok(Header::Done(source)),
        "the same header"
    );
    if let Some(source) = source {
        feedback::note(source.is_ipv4());
    }
}
