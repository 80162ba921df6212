//! The types of values: how each is read from text, and what it is called in documentation.
//!
//! Flags, environment and TOML all come here as text, so a value means the same wherever it is
//! written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::setting::Allowed;

/// How one type of value is read.
pub trait Kind {
    /// The Rust type of the parsed value.
    type Out;
    /// What documentation calls it.
    const UNIT: &'static str;
    /// True where the value must never be printed.
    const SECRET: bool = false;
    /// Reads a value; the error says what is wrong with it, without repeating it.
    fn parse(text: &str, allowed: Allowed) -> Result<Self::Out, String>;
}

/// An optional value: empty text is none.
pub struct Maybe<K>(std::marker::PhantomData<K>);

impl<K: Kind> Kind for Maybe<K> {
    type Out = Option<K::Out>;
    const UNIT: &'static str = K::UNIT;
    const SECRET: bool = K::SECRET;
    fn parse(text: &str, allowed: Allowed) -> Result<Self::Out, String> {
        if text.is_empty() {
            Ok(None)
        } else {
            K::parse(text, allowed).map(Some)
        }
    }
}

/// A whole number.
pub struct Count;

impl Kind for Count {
    type Out = usize;
    const UNIT: &'static str = "count";
    fn parse(text: &str, allowed: Allowed) -> Result<usize, String> {
        let number = text
            .parse::<u64>()
            .map_err(|_| "not a whole number".to_owned())?;
        let number = within(number, allowed)?;
        usize::try_from(number).map_err(|_| "out of range".to_owned())
    }
}

/// A Kafka node id.
pub struct NodeId;

impl Kind for NodeId {
    type Out = i32;
    const UNIT: &'static str = "node id";
    fn parse(text: &str, allowed: Allowed) -> Result<i32, String> {
        let number = Count::parse(text, allowed)?;
        i32::try_from(number).map_err(|_| "out of range".to_owned())
    }
}

/// A TCP port.
pub struct Port;

impl Kind for Port {
    type Out = u16;
    const UNIT: &'static str = "port";
    fn parse(text: &str, allowed: Allowed) -> Result<u16, String> {
        let number = Count::parse(text, allowed)?;
        u16::try_from(number).map_err(|_| "out of range".to_owned())
    }
}

/// A size: bytes, or a number with a suffix, all powers of 1024.
pub struct Bytes;

impl Kind for Bytes {
    type Out = u64;
    const UNIT: &'static str = "bytes";
    fn parse(text: &str, allowed: Allowed) -> Result<u64, String> {
        let (number, suffix) = split_number(text)?;
        let shift = match suffix.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "ki" | "kib" => 10,
            "m" | "mb" | "mi" | "mib" => 20,
            "g" | "gb" | "gi" | "gib" => 30,
            "t" | "tb" | "ti" | "tib" => 40,
            _ => {
                return Err(format!(
                    "unit `{suffix}` is not one of B, KiB, MiB, GiB, TiB"
                ));
            }
        };
        let bytes = number.checked_mul(1 << shift).ok_or("out of range")?;
        within(bytes, allowed)
    }
}

/// A duration: milliseconds, or a number with a unit.
pub struct Millis;

impl Kind for Millis {
    type Out = Duration;
    const UNIT: &'static str = "ms";
    fn parse(text: &str, allowed: Allowed) -> Result<Duration, String> {
        duration(text, 1, allowed)
    }
}

/// A duration: seconds, or a number with a unit.
pub struct Seconds;

impl Kind for Seconds {
    type Out = Duration;
    const UNIT: &'static str = "s";
    fn parse(text: &str, allowed: Allowed) -> Result<Duration, String> {
        duration(text, 1000, allowed)
    }
}

/// A fraction.
pub struct Ratio;

impl Kind for Ratio {
    type Out = f64;
    const UNIT: &'static str = "fraction";
    fn parse(text: &str, allowed: Allowed) -> Result<f64, String> {
        let number = text.parse::<f64>().map_err(|_| "not a number".to_owned())?;
        match allowed {
            Allowed::Ratio(low, high) if !(low..=high).contains(&number) => {
                Err("out of range".to_owned())
            }
            _ => Ok(number),
        }
    }
}

/// An amount of money.
pub struct Dollars;

impl Kind for Dollars {
    type Out = f64;
    const UNIT: &'static str = "dollars";
    fn parse(text: &str, allowed: Allowed) -> Result<f64, String> {
        Ratio::parse(text, allowed)
    }
}

/// True or false.
pub struct Switch;

impl Kind for Switch {
    type Out = bool;
    const UNIT: &'static str = "boolean";
    fn parse(text: &str, _: Allowed) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("neither true nor false".to_owned()),
        }
    }
}

/// Text.
pub struct Text;

impl Kind for Text {
    type Out = String;
    const UNIT: &'static str = "text";
    fn parse(text: &str, allowed: Allowed) -> Result<String, String> {
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let count = text.chars().count() as u64;
        match allowed {
            Allowed::Name(_) if text.is_empty() => Err("empty".to_owned()),
            Allowed::Name(_) if !text.chars().all(name) => Err("a character is illegal".to_owned()),
            Allowed::Name(_) if text == "." || text == ".." => Err("not a name".to_owned()),
            Allowed::Name(max) | Allowed::Text(max) if count > max => Err("too long".to_owned()),
            _ if text.chars().any(char::is_control) => Err("a control character".to_owned()),
            _ => Ok(text.to_owned()),
        }
    }
}

/// A JSON document, over as many lines as it likes. What it says is checked where it is used.
pub struct Json;

impl Kind for Json {
    type Out = String;
    const UNIT: &'static str = "JSON";
    fn parse(text: &str, _: Allowed) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

/// A prefix of object keys: empty, or ends in `/`, and no part of it is empty, `.` or `..`. A lone `/`
/// is the empty prefix, which a variable of the environment cannot say otherwise.
pub struct KeyPrefix;

impl Kind for KeyPrefix {
    type Out = String;
    const UNIT: &'static str = "key prefix";
    fn parse(text: &str, allowed: Allowed) -> Result<String, String> {
        let text = Text::parse(text, allowed)?;
        if text.is_empty() || text == "/" {
            return Ok(String::new());
        }
        let Some(body) = text.strip_suffix('/') else {
            return Err("does not end in `/`".to_owned());
        };
        if body.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err("a part of it is empty, `.` or `..`".to_owned());
        }
        Ok(text)
    }
}

/// A credential.
pub struct Hidden;

impl Kind for Hidden {
    type Out = Secret;
    const UNIT: &'static str = "secret";
    const SECRET: bool = true;
    fn parse(text: &str, _: Allowed) -> Result<Secret, String> {
        if text.chars().any(char::is_control) {
            return Err("a control character".to_owned());
        }
        Ok(Secret::new(text))
    }
}

/// A path of the local file system.
pub struct File;

impl Kind for File {
    type Out = PathBuf;
    const UNIT: &'static str = "path";
    fn parse(text: &str, _: Allowed) -> Result<PathBuf, String> {
        if text.is_empty() {
            Err("empty".to_owned())
        } else {
            Ok(PathBuf::from(text))
        }
    }
}

/// Comma-separated text; a list in TOML.
pub struct List;

impl Kind for List {
    type Out = Vec<String>;
    const UNIT: &'static str = "list";
    fn parse(text: &str, allowed: Allowed) -> Result<Vec<String>, String> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts.map(|part| Text::parse(part, allowed)).collect()
    }
}

/// Principals, separated by semicolons as in Kafka's `super.users`, or by commas. Subjects of certificates have commas of
/// their own: what follows one belongs to the principal before, where it is another attribute of the subject.
pub struct Principals;

impl Kind for Principals {
    type Out = Vec<String>;
    const UNIT: &'static str = "list";
    fn parse(text: &str, allowed: Allowed) -> Result<Vec<String>, String> {
        let mut all: Vec<String> = Vec::new();
        for entry in text.split(';') {
            let first = all.len();
            for part in entry.split(',') {
                let is_begun = all.len() > first;
                let is_attribute = part.contains('=') && !part.trim_start().starts_with("User:");
                match all.last_mut() {
                    Some(last) if is_begun && (is_attribute || last.ends_with('\\')) => {
                        last.push(',');
                        last.push_str(part);
                    }
                    _ => all.push(part.to_owned()),
                }
            }
        }
        let all = all.iter().map(|it| it.trim()).filter(|it| !it.is_empty());
        all.map(|it| Text::parse(it, allowed)).collect()
    }
}

/// A listen address: `ip:port`, `localhost:port`, or `:port` for every interface.
pub struct Addr;

impl Kind for Addr {
    type Out = SocketAddr;
    const UNIT: &'static str = "ip:port";
    fn parse(text: &str, _: Allowed) -> Result<SocketAddr, String> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(addr);
        }
        let (host, port) = text.rsplit_once(':').ok_or("not `ip:port`")?;
        let port = port
            .parse::<u16>()
            .map_err(|_| "the port is not 0 to 65535".to_owned())?;
        let ip = match host {
            "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            "[::]" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return Err("not `ip:port` (a host name goes to broker.host)".to_owned()),
        };
        Ok(SocketAddr::new(ip, port))
    }
}

/// Declares an enum whose values are words.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $( #[doc = $about:literal] $variant:ident = $word:literal, )* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( #[doc = $about] $variant, )* }

        impl $name {
            /// The words that name the values.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The word that names this value.
            pub fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl Kind for $name {
            type Out = Self;
            const UNIT: &'static str = "word";
            fn parse(text: &str, _: Allowed) -> Result<Self, String> {
                match text.to_ascii_lowercase().as_str() {
                    $( $word => Ok(Self::$variant), )*
                    _ => Err("not one of the words".to_owned()),
                }
            }
        }
    };
}

choice! {
    /// Which kernel interface a shard's runtime uses.
    IoDriver {
        /// io_uring where the kernel allows it, else epoll.
        Auto = "auto",
        /// io_uring, or refuse to start.
        IoUring = "io_uring",
        /// epoll.
        Epoll = "epoll",
    }
}

choice! {
    /// Whether rules decide what clients may do.
    AuthorizerMode {
        /// Where clients must say who they are.
        Auto = "auto",
        /// Always.
        On = "on",
        /// Never.
        Off = "off",
    }
}

choice! {
    /// How the store encrypts objects at rest, where no KMS key is named.
    Encryption {
        /// As the bucket is set up.
        Bucket = "bucket",
        /// SSE-S3.
        Aes256 = "aes256",
    }
}

choice! {
    /// When a write carries a checksum that nobody stated.
    Checksums {
        /// Always.
        Supported = "when_supported",
        /// Only where the store demands one.
        Required = "when_required",
    }
}

choice! {
    /// Whether clients show a certificate (Kafka's `ssl.client.auth`).
    ClientAuth {
        /// They are not asked for one.
        None = "none",
        /// They may.
        Requested = "requested",
        /// They must.
        Required = "required",
    }
}

choice! {
    /// A version of TLS.
    TlsVersion {
        /// 1.2.
        Tls12 = "tlsv1.2",
        /// 1.3.
        Tls13 = "tlsv1.3",
    }
}

choice! {
    /// How much is logged.
    LogLevel {
        /// A human must look.
        Error = "error",
        /// Degraded but continuing.
        Warn = "warn",
        /// Changes of state.
        Info = "info",
        /// Each connection.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// How a log line is written.
    LogFormat {
        /// One line of text.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

fn within(number: u64, allowed: Allowed) -> Result<u64, String> {
    let inside = match allowed {
        Allowed::Count(low, high) | Allowed::Bytes(low, high) | Allowed::Millis(low, high) => {
            (low..=high).contains(&number)
        }
        _ => true,
    };
    if inside {
        Ok(number)
    } else {
        Err("out of range".to_owned())
    }
}

/// Splits `64MiB` or `64 MiB` into the number and the unit.
fn split_number(text: &str) -> Result<(u64, &str), String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number = digits
        .parse::<u64>()
        .map_err(|_| "not a whole number".to_owned())?;
    Ok((number, unit.trim_start()))
}

fn duration(text: &str, unit_millis: u64, allowed: Allowed) -> Result<Duration, String> {
    let (number, unit) = split_number(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" => unit_millis,
        "ms" => 1,
        "s" | "sec" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("unit `{unit}` is not one of ms, s, min, h, d")),
    };
    let millis = number.checked_mul(factor).ok_or("out of range")?;
    within(millis, allowed)?;
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_every_suffix_as_a_power_of_1024() {
        for text in ["65536", "64K", "64k", "64kb", "64KiB", "64 KiB", "64Ki"] {
            assert_eq!(Bytes::parse(text, Allowed::Any), Ok(65536), "{text}");
        }
        assert_eq!(Bytes::parse("2G", Allowed::Any), Ok(2 << 30));
        for text in [
            "",
            "MiB",
            "-1",
            "1.5GiB",
            "64 parsecs",
            "18446744073709551615T",
        ] {
            assert!(Bytes::parse(text, Allowed::Any).is_err(), "{text}");
        }
        let allowed = Allowed::Bytes(65536, 1 << 30);
        assert_eq!(
            Bytes::parse("1KiB", allowed),
            Err("out of range".to_owned())
        );
        assert_eq!(Bytes::parse("1GiB", allowed), Ok(1 << 30));
    }

    #[test]
    fn durations_take_their_own_unit_or_a_named_one() {
        assert_eq!(
            Millis::parse("250", Allowed::Any),
            Ok(Duration::from_millis(250))
        );
        assert_eq!(
            Millis::parse("10min", Allowed::Any),
            Ok(Duration::from_secs(600))
        );
        assert_eq!(
            Seconds::parse("60", Allowed::Any),
            Ok(Duration::from_secs(60))
        );
        assert_eq!(
            Seconds::parse("1500ms", Allowed::Any),
            Ok(Duration::from_millis(1500))
        );
        assert!(Millis::parse("10 fortnights", Allowed::Any).is_err());
        assert!(Millis::parse("1", Allowed::Millis(10, 100)).is_err());
    }

    #[test]
    fn principals_may_be_subjects_with_commas() {
        let all = |text: &str| Principals::parse(text, Allowed::Any).unwrap();
        assert_eq!(all("User:a, User:b"), ["User:a", "User:b"]);
        assert_eq!(all("User:a;User:b;"), ["User:a", "User:b"]);
        let subject = "User:CN=broker,O=Example\\, Inc,C=US";
        assert_eq!(all(subject), [subject]);
        assert_eq!(all(&format!("{subject},User:a")), [subject, "User:a"]);
        assert_eq!(all(&format!("User:a;{subject}")), ["User:a", subject]);
        // What is neither is left to be refused as no principal.
        assert_eq!(all("User:a,bob"), ["User:a", "bob"]);
        assert_eq!(all(""), [""; 0]);
    }

    #[test]
    fn listen_addresses_take_the_forms_of_kafscale() {
        let all = "0.0.0.0:9092".parse::<SocketAddr>().unwrap();
        assert_eq!(Addr::parse(":9092", Allowed::Any), Ok(all));
        assert_eq!(Addr::parse("*:9092", Allowed::Any), Ok(all));
        let local = "127.0.0.1:0".parse::<SocketAddr>().unwrap();
        assert_eq!(Addr::parse("localhost:0", Allowed::Any), Ok(local));
        assert!(Addr::parse("[::1]:9092", Allowed::Any).is_ok_and(|addr| addr.is_ipv6()));
        for text in [
            "",
            "9092",
            "kafka.example:9092",
            "127.0.0.1:70000",
            "127.0.0.1",
        ] {
            assert!(Addr::parse(text, Allowed::Any).is_err(), "{text}");
        }
    }

    #[test]
    fn text_kinds_refuse_what_they_cannot_hold() {
        assert!(Text::parse("a b", Allowed::Name(10)).is_err());
        assert!(Text::parse("..", Allowed::Name(10)).is_err());
        assert!(Text::parse("a\nb", Allowed::Text(10)).is_err());
        assert!(Text::parse("abcdef", Allowed::Text(5)).is_err());
        for none in ["", "/"] {
            assert_eq!(KeyPrefix::parse(none, Allowed::Text(99)), Ok(String::new()));
        }
        assert_eq!(
            KeyPrefix::parse("a/b/", Allowed::Text(99)),
            Ok("a/b/".to_owned())
        );
        for text in ["a", "//", "a//", "../", "/a/"] {
            assert!(KeyPrefix::parse(text, Allowed::Text(99)).is_err(), "{text}");
        }
        assert_eq!(
            List::parse("a, b,,", Allowed::Any),
            Ok(vec!["a".into(), "b".into()])
        );
        assert!(Switch::parse("maybe", Allowed::Any).is_err());
        assert!(Ratio::parse("NaN", Allowed::Ratio(0.0, 1.0)).is_err());
        assert_eq!(IoDriver::parse("EPOLL", Allowed::Any), Ok(IoDriver::Epoll));
    }
}
