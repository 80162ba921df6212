//! `KAFSCALE_*` variables that are not settings of this broker, and what to do about each.

/// What a variable that is no setting means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Kubernetes sets it for a service whose name starts with `kafscale`.
    Injected,
    /// A variable of the original KafScale that is not needed here; the text says why.
    Unneeded(&'static str),
    /// A variable of the original KafScale that would be unsafe to ignore.
    Refused(&'static str),
    /// A variable of another program of KafScale.
    OtherProgram,
    /// Nothing that we know.
    Unknown,
}

/// Prefixes, after `KAFSCALE_`, of the operator, proxy, console and tools.
const OTHER_PROGRAMS: &[&str] = &[
    "OPERATOR_",
    // Read by the command line, the suites and the tests of this repository.
    "BOOTSTRAP",
    "BIN",
    "CACHE_DIR",
    "SIM_SEEDS",
    "PROXY_",
    "LFS_",
    "CONSOLE_",
    "MCP_",
    "IDOC_",
    "DEMO_",
    "E2E_",
    "ICEBERG_",
];

const DURABLE: &str = "an acknowledged batch is always in the store";
const NO_FAIL_OPEN: &str = "a broker whose rules cannot be read does not start";
const NO_SOURCE: &str =
    "names in rules are users; rules for addresses are made with `kafscale acl --host`";
const NO_GATE: &str = "topic administration cannot be turned off yet";
const NO_MEMORY_STORE: &str = "there is no store in memory; use a data directory on a tmpfs";

/// Variables of the original broker, after `KAFSCALE_`, and why they are not needed.
const UNNEEDED: &[(&str, &str)] = &[
    ("CONTROL_ADDR", "there is no gRPC control port"),
    ("USE_MEMORY_S3", NO_MEMORY_STORE),
    ("PRODUCE_SYNC_FLUSH", DURABLE),
    ("READAHEAD_SEGMENTS", "read-ahead sizes itself"),
    (
        "INDEX_CACHE_BYTES",
        "indexes share the cache of KAFSCALE_CACHE_SIZE",
    ),
    ("ALLOW_ADMIN_APIS", "topic administration is allowed"),
    ("TRACE_KAFKA", "use KAFSCALE_LOG_LEVEL=debug"),
    ("STARTUP_TIMEOUT_SEC", "start-up says what it waits for"),
    ("ENV", "defaults are the same everywhere"),
    ("ACL_FAIL_OPEN", NO_FAIL_OPEN),
    (
        "PRINCIPAL_SOURCE",
        "names in rules are users, who have shown who they are",
    ),
];

/// Variables whose meaning is a protection: a value that asks for it refuses to start.
const REFUSED: &[(&str, Asks, &str)] = &[
    ("ACL_FAIL_OPEN", Asks::Unless(false), NO_FAIL_OPEN),
    ("PRINCIPAL_SOURCE", Asks::UnlessText("client_id"), NO_SOURCE),
    ("ALLOW_ADMIN_APIS", Asks::Unless(true), NO_GATE),
    ("USE_MEMORY_S3", Asks::Unless(false), NO_MEMORY_STORE),
];

/// Which values ask for the protection.
#[derive(Clone, Copy)]
enum Asks {
    Unless(bool),
    UnlessText(&'static str),
}

/// Says what a variable means that is not a setting. `value` is not empty.
pub(super) fn classify(name: &str, value: &str) -> Foreign {
    let Some(rest) = name.strip_prefix("KAFSCALE_") else {
        return Foreign::Unknown;
    };
    if injected(rest, value) {
        return Foreign::Injected;
    }
    for (refused, asks, reason) in REFUSED {
        let asked = match asks {
            Asks::UnlessText(harmless) => value != *harmless,
            Asks::Unless(harmless) => parse_bool(value) != Some(*harmless),
        };
        if *refused == rest && asked {
            return Foreign::Refused(reason);
        }
    }
    if let Some((_, why)) = UNNEEDED.iter().find(|(unneeded, _)| *unneeded == rest) {
        return Foreign::Unneeded(why);
    }
    if OTHER_PROGRAMS.iter().any(|prefix| rest.starts_with(prefix)) {
        return Foreign::OtherProgram;
    }
    Foreign::Unknown
}

/// True for what Kubernetes injects for a service, also where the name is one of our settings:
/// a service `kafscale-broker` sets `KAFSCALE_BROKER_PORT=tcp://10.0.0.1:9092`.
pub(super) fn is_injected(name: &str, value: &str) -> bool {
    name.strip_prefix("KAFSCALE_")
        .is_some_and(|rest| injected(rest, value))
}

fn injected(rest: &str, value: &str) -> bool {
    let url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    if rest == "PORT" || (url && rest.ends_with("_PORT")) {
        return true;
    }
    if tail_after(rest, "SERVICE_HOST").is_some_and(str::is_empty) {
        return true;
    }
    if tail_after(rest, "SERVICE_PORT").is_some_and(|tail| tail.is_empty() || tail.starts_with('_'))
    {
        return true;
    }
    // PORT_9092_TCP, PORT_9092_TCP_PROTO, PORT_9092_TCP_PORT, PORT_9092_TCP_ADDR
    let Some(tail) = tail_after(rest, "PORT_") else {
        return false;
    };
    let digits = tail
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(tail.len());
    let after = &tail[digits..];
    digits > 0
        && ["_TCP", "_UDP", "_SCTP"]
            .iter()
            .any(|protocol| after.starts_with(protocol))
}

/// What follows `word` where it starts the text or a part of it after `_`.
fn tail_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let starts = text
        .match_indices(word)
        .find(|(at, _)| *at == 0 || text[..*at].ends_with('_'));
    starts.map(|(at, _)| &text[at + word.len()..])
}

fn parse_bool(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The nearest of `known` if it is near enough to be a slip of the hand.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.len() / 5).clamp(1, 4);
    let distances = known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate));
    distances
        .filter(|(steps, _)| *steps <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edit distance, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_injects_is_recognized_also_under_our_own_names() {
        for (name, value) in [
            ("KAFSCALE_PORT", "tcp://10.0.0.1:9092"),
            ("KAFSCALE_SERVICE_HOST", "10.0.0.1"),
            ("KAFSCALE_SERVICE_PORT", "9092"),
            ("KAFSCALE_SERVICE_PORT_KAFKA", "9092"),
            ("KAFSCALE_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
            ("KAFSCALE_PORT_9092_TCP_PROTO", "tcp"),
            ("KAFSCALE_PORT_9092_TCP_ADDR", "10.0.0.1"),
            ("KAFSCALE_BROKER_SERVICE_HOST", "10.0.0.1"),
            ("KAFSCALE_BROKER_HEADLESS_SERVICE_PORT_METRICS", "9093"),
            ("KAFSCALE_BROKER_PORT", "tcp://10.0.0.1:9092"),
            ("KAFSCALE_OPERATOR_PORT_8080_TCP_PORT", "8080"),
        ] {
            assert_eq!(classify(name, value), Foreign::Injected, "{name}");
            assert!(is_injected(name, value), "{name}");
        }
        for (name, value) in [
            ("KAFSCALE_BROKER_PORT", "9092"),
            ("KAFSCALE_BROKER_SERVICE", "kafscale-headless"),
            ("KAFSCALE_SUPPORT_1_TCP", "x"),
            ("KAFSCALE_PORT_TCP", "x"),
        ] {
            assert!(!is_injected(name, value), "{name}");
        }
    }

    #[test]
    fn a_protection_that_is_asked_for_is_refused_and_not_ignored() {
        assert!(matches!(
            classify("KAFSCALE_ACL_FAIL_OPEN", "true"),
            Foreign::Refused(_)
        ));
        assert!(matches!(
            classify("KAFSCALE_ACL_FAIL_OPEN", "0"),
            Foreign::Unneeded(_)
        ));
        assert!(matches!(
            classify("KAFSCALE_PRINCIPAL_SOURCE", "remote_addr"),
            Foreign::Refused(_)
        ));
        assert!(matches!(
            classify("KAFSCALE_PRINCIPAL_SOURCE", "client_id"),
            Foreign::Unneeded(_)
        ));
        assert!(matches!(
            classify("KAFSCALE_ALLOW_ADMIN_APIS", "false"),
            Foreign::Refused(_)
        ));
        assert!(matches!(
            classify("KAFSCALE_ALLOW_ADMIN_APIS", "true"),
            Foreign::Unneeded(_)
        ));
        assert!(matches!(
            classify("KAFSCALE_PRODUCE_SYNC_FLUSH", "false"),
            Foreign::Unneeded(_)
        ));
        assert_eq!(
            classify("KAFSCALE_PROXY_ADDR", ":9092"),
            Foreign::OtherProgram
        );
        assert_eq!(classify("KAFSCALE_SEGMENT_BYTE", "1"), Foreign::Unknown);
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = ["KAFSCALE_SEGMENT_BYTES", "KAFSCALE_SHARDS"];
        assert_eq!(
            nearest("KAFSCALE_SEGMENT_BYTE", known),
            Some("KAFSCALE_SEGMENT_BYTES")
        );
        assert_eq!(nearest("KAFSCALE_SHARD", known), Some("KAFSCALE_SHARDS"));
        assert_eq!(nearest("KAFSCALE_COLOR", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
