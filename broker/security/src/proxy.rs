//! The PROXY protocol, versions 1 and 2: how a proxy tells for whom it has opened a connection.
//!
//! Source of the rules: "The PROXY protocol", revision 2020/03/05 (HAProxy). A header is read without taking a byte
//! of what follows it: [`parse`] says how many bytes may be read next. Whom to believe is for the caller to decide:
//! anybody can write such a header. Invariants: a header is bounded before it is read ([`V1_BYTES_MAX`],
//! [`V2_BYTES_MAX`]), and what it says is an address or an error, never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// Bytes of a header in text at most, its line end included (section 2.1).
pub const V1_BYTES_MAX: usize = 107;
/// Bytes of a binary header at most: addresses and extensions (TLVs), which are skipped. The protocol allows 64 KiB;
/// what proxies send is a few hundred bytes.
pub const V2_BYTES_MAX: usize = 4096;

/// Begins a binary header (section 2.2).
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;
/// Begins a header in text.
const WORD: &[u8] = b"PROXY ";
const LINE_END: &[u8] = b"\r\n";
/// The shortest header is "PROXY UNKNOWN\r\n": so many bytes are never more than one.
const FIRST_BYTES: usize = SIGNATURE.len();

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The connection begins with something else.
    #[error(
        "there is no PROXY header: let the proxy send one (send-proxy or send-proxy-v2 in HAProxy)"
    )]
    Absent,
    /// A header in text without a line end.
    #[error("the PROXY header has more than {V1_BYTES_MAX} bytes")]
    Endless,
    /// A header in text that is none.
    #[error("the PROXY header is wrong: {0}")]
    Text(&'static str),
    /// A binary header of another version, command, family or transport.
    #[error("the PROXY header has version and command {command:#04x}, family {family:#04x}")]
    Kind {
        /// Version and command.
        command: u8,
        /// Address family and transport.
        family: u8,
    },
    /// A binary header that is too short for its addresses, or longer than is taken.
    #[error("the PROXY header states {len} bytes of addresses")]
    Length {
        /// What it states.
        len: usize,
    },
}

/// How far a header has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// So many bytes more may be read; not less than 1, and never beyond the header.
    Needs(usize),
    /// The header is complete, and tells for whom the connection is: `None` where the proxy speaks for itself (LOCAL,
    /// as health checks do) or does not know (UNKNOWN, UNSPEC, and families that are not of TCP).
    Done(Option<SocketAddr>),
}

/// Looks at the bytes of a header that have been read.
///
/// # Errors
/// [`ProxyError`]; the connection is to be closed.
pub fn parse(bytes: &[u8]) -> Result<Header, ProxyError> {
    let common = |expected: &[u8]| {
        let len = bytes.len().min(expected.len());
        bytes[..len] == expected[..len]
    };
    if !common(&SIGNATURE) && !common(WORD) {
        return Err(ProxyError::Absent);
    }
    if bytes.len() < FIRST_BYTES {
        return Ok(Header::Needs(FIRST_BYTES - bytes.len()));
    }
    if common(&SIGNATURE) {
        parse_v2(bytes)
    } else {
        parse_v1(bytes)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Header, ProxyError> {
    let Some(line) = bytes.strip_suffix(LINE_END) else {
        let missing = LINE_END.len() - usize::from(bytes.ends_with(b"\r"));
        return match bytes.len() + missing {
            more if more > V1_BYTES_MAX => Err(ProxyError::Endless),
            _ => Ok(Header::Needs(missing)),
        };
    };
    let line = str::from_utf8(line).map_err(|_| ProxyError::Text("it is not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Header::Done(None));
    }
    let mut next = || words.next().ok_or(ProxyError::Text("something is missing"));
    let (source, target) = (next()?, next()?);
    let (port, target_port) = (parse_port(next()?)?, parse_port(next()?)?);
    let source = parse_address(family, source)?;
    let _target = SocketAddr::new(parse_address(family, target)?, target_port);
    if words.next().is_some() {
        return Err(ProxyError::Text("something follows the ports"));
    }
    Ok(Header::Done(Some(SocketAddr::new(source, port))))
}

fn parse_address(family: &str, text: &str) -> Result<IpAddr, ProxyError> {
    let wrong = ProxyError::Text("an address is not of its family");
    match family {
        "TCP4" => Ipv4Addr::from_str(text).map(IpAddr::V4).map_err(|_| wrong),
        "TCP6" => Ipv6Addr::from_str(text).map(IpAddr::V6).map_err(|_| wrong),
        _ => Err(ProxyError::Text("it is neither of TCP4, TCP6 nor UNKNOWN")),
    }
}

fn parse_port(text: &str) -> Result<u16, ProxyError> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let port = is_plain.then(|| text.parse().ok()).flatten();
    port.ok_or(ProxyError::Text("a port is no number up to 65535"))
}

fn parse_v2(bytes: &[u8]) -> Result<Header, ProxyError> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(Header::Needs(V2_FIXED_BYTES - bytes.len()));
    };
    let [command, family, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
    let len = usize::from(u16::from_be_bytes([high, low]));
    let (is_local, addresses) = match (command, family) {
        (0x20, _) => (true, 0),
        (0x21, 0x11) => (false, 12),
        (0x21, 0x21) => (false, 36),
        // Unspecified, datagrams and Unix sockets: valid, and no address of a TCP client.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => (false, 0),
        _ => return Err(ProxyError::Kind { command, family }),
    };
    if len < addresses || V2_FIXED_BYTES + len > V2_BYTES_MAX {
        return Err(ProxyError::Length { len });
    }
    let total = V2_FIXED_BYTES + len;
    if bytes.len() < total {
        return Ok(Header::Needs(total - bytes.len()));
    }
    let body = &bytes[V2_FIXED_BYTES..];
    let source = match addresses {
        12 => {
            let (address, ports) = (body.first_chunk::<4>(), body.get(8..10));
            address
                .zip(ports)
                .map(|(address, port)| (IpAddr::from(*address), port))
        }
        36 => {
            let (address, ports) = (body.first_chunk::<16>(), body.get(32..34));
            address
                .zip(ports)
                .map(|(address, port)| (IpAddr::from(*address), port))
        }
        _ => None,
    };
    assert!(
        source.is_some() == (addresses > 0),
        "the length has been checked"
    );
    assert!(
        !is_local || source.is_none(),
        "a proxy has no client of its own"
    );
    let source = source
        .map(|(address, port)| SocketAddr::new(address, u16::from_be_bytes([port[0], port[1]])));
    Ok(Header::Done(source))
}

/// Addresses that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads networks (`10.0.0.0/8`, `fd00::/8`) and single addresses.
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, &'t str> {
        let network = |text: &'t str| {
            let single = || IpAddr::from_str(text).ok().map(IpNet::from);
            IpNet::from_str(text).ok().or_else(single).ok_or(text)
        };
        let networks: Result<Vec<IpNet>, &str> = texts.into_iter().map(network).collect();
        networks.map(Self)
    }

    /// Whether the address lies in one of them; an IPv4 address is the same in IPv6 (`::ffff:10.0.0.1`).
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header as a connection does; gives how many bytes it took.
    fn read(bytes: &[u8]) -> Result<(Option<SocketAddr>, usize), ProxyError> {
        let mut taken = 0;
        loop {
            match parse(&bytes[..taken])? {
                Header::Done(source) => return Ok((source, taken)),
                Header::Needs(more) => {
                    assert!(more > 0);
                    taken += more;
                    assert!(
                        taken <= bytes.len(),
                        "it wants bytes that are not of the header"
                    );
                }
            }
        }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    #[test]
    fn the_examples_of_the_specification_are_read_to_their_last_byte_and_no_further() {
        // Section 2.1: the longest lines, and what an unknown proxy may append.
        let cases: [(&[u8], Option<&str>); 6] = [
            (
                b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                Some("255.255.255.255:65535"),
            ),
            (
                b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
                None,
            ),
            (
                b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            (b"PROXY UNKNOWN\r\n", None),
            (
                b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                None,
            ),
            // Section 2.1's example session.
            (
                b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
                Some("192.168.0.1:56324"),
            ),
        ];
        for (line, expected) in cases {
            let followed = [line, b"\0\0\0\x10request"].concat();
            let read = read(&followed);
            if line.windows(3).any(|dots| dots == b"...") {
                assert!(read.is_err(), "the picture of an address is none");
                continue;
            }
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(read, Ok((expected, line.len())));
        }
        assert_eq!(cases[4].0.len(), V1_BYTES_MAX, "the worst case");
    }

    #[test]
    fn binary_headers_are_read_with_their_extensions_and_no_further() {
        let v4 = [192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb];
        // An extension of type NOOP with three bytes.
        let extended = [&v4[..], &[0x04, 0, 3, 0, 0, 0]].concat();
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        v6[32..34].copy_from_slice(&9_092_u16.to_be_bytes());
        let client = Some("192.168.0.1:56324");
        let cases: [(u8, u8, &[u8], Option<&str>); 9] = [
            (0x21, 0x11, &v4, client),
            (0x21, 0x11, &extended, client),
            (0x21, 0x21, &v6, Some("[::1]:9092")),
            (0x20, 0x00, &[], None),
            (0x20, 0x11, &v4, None),
            (0x21, 0x00, &[1, 2, 3], None),
            (0x21, 0x12, &v4, None),
            (0x21, 0x22, &v6, None),
            (0x21, 0x31, &[0; 216], None),
        ];
        for (command, family, body, expected) in cases {
            let header = v2(command, family, body);
            let followed = [&header[..], b"\0\0\0\x10request"].concat();
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(read(&followed), Ok((expected, header.len())));
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_byte() {
        for bytes in [
            &b"\0\0\0\x10"[..],
            b"\x16\x03\x01",
            b"GET / HTTP/1.1\r\n",
            b"PROXX",
            b"proxy ",
        ] {
            assert_eq!(parse(bytes), Err(ProxyError::Absent), "{bytes:?}");
        }
        assert_eq!(parse(b""), Ok(Header::Needs(12)));
        assert_eq!(parse(b"PROX"), Ok(Header::Needs(8)));
    }

    #[test]
    fn wrong_headers_are_refused() {
        let lines: [&[u8]; 12] = [
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 ::1 1.2.3.4 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.\xff 1 2\r\n",
            b"PROXY TCP4\r\n  1.2.3.4 1.2.3.4 1 2\r\n",
        ];
        for line in lines {
            assert!(matches!(read(line), Err(ProxyError::Text(_))), "{line:?}");
        }
        let endless = [WORD, &[b'x'; 200]].concat();
        assert_eq!(read(&endless), Err(ProxyError::Endless));
        for (command, family) in [
            (0x22, 0x11),
            (0x11, 0x11),
            (0x31, 0x11),
            (0x21, 0x13),
            (0x21, 0x41),
        ] {
            let header = v2(command, family, &[0; 36]);
            assert_eq!(read(&header), Err(ProxyError::Kind { command, family }));
        }
        for (family, len) in [(0x11, 11), (0x21, 35), (0x11, V2_BYTES_MAX)] {
            assert_eq!(
                read(&v2(0x21, family, &vec![0; len])),
                Err(ProxyError::Length { len })
            );
        }
    }

    #[test]
    fn networks_and_addresses_are_believed_and_others_not() {
        let networks = Networks::parse(["10.1.0.0/16", "192.0.2.7", "fd00::/8"]).unwrap();
        for inside in ["10.1.255.1", "192.0.2.7", "fd12::1", "::ffff:10.1.0.1"] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["10.2.0.1", "192.0.2.8", "fe80::1", "::1"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(!Networks::default().contains(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(
            Networks::parse(["10.0.0.0/8", "10.0.0.0/33"]),
            Err("10.0.0.0/33")
        );
        assert_eq!(Networks::parse(["proxy.example"]), Err("proxy.example"));
    }
}
