//! What brokers may log in tests: a WARN or ERROR line that is not listed here fails the test whose broker logged it.
//!
//! A line is listed if a test provokes it, by a fault or by a client that misbehaves. One that comes without such a reason
//! is a defect: of what it tells of, or of the line.

/// Parts of lines that tests provoke, each with how.
const PROVOKED: &[(&str, &str)] = &[
    (
        "of which one request may take its shard's half",
        "requests that are larger than any that is taken",
    ),
    (
        "its client asks for too much in one request",
        "requests that name more than any that is taken",
    ),
    (
        "small segments are not merged",
        "tests on a store without If-Match",
    ),
    (
        "broker.addr is ignored: listeners.bind is set",
        "tests of several listeners",
    ),
    (
        "the object store does not keep a promise",
        "tests on a store without conditional writes",
    ),
    (
        "the object store is slow or fails",
        "faults of the store, a full disk",
    ),
    (
        "the object store is unavailable",
        "faults of the store, a full disk",
    ),
    (
        "the object store takes no writes",
        "faults of the store, a full disk",
    ),
    (
        "a flush does not get through",
        "faults of the store, a full disk",
    ),
    (
        "this session is over: everything is dropped",
        "brokers that are frozen, clocks that jump",
    ),
    (
        "the metadata store does not answer; produce and reads go on",
        "brokers that are frozen while they wait for an answer",
    ),
    (
        "a new session begins",
        "brokers that are frozen, clocks that jump",
    ),
    (
        "a coordinator slot was changed by others",
        "brokers that are frozen or die",
    ),
    (
        "old segments are gone; the log starts later",
        "lifecycle rules, an adopted bucket",
    ),
    ("log lines were left out", "a bound of one line a second"),
];

/// The lines that nothing provokes.
pub(crate) fn loud_lines(log: &str) -> Vec<&str> {
    let is_loud = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let is_provoked = |line: &str| PROVOKED.iter().any(|(part, _)| line.contains(part));
    log.lines()
        .filter(is_loud)
        .filter(|line| !is_provoked(line))
        .collect()
}

/// Fails if a broker has logged what nothing provokes. To be called when a broker ends; says nothing in a test that fails
/// anyway.
#[track_caller]
pub(crate) fn assert_quiet(who: &str, log: &str) {
    if std::thread::panicking() {
        return;
    }
    let loud = loud_lines(log);
    assert!(
        loud.is_empty(),
        "{who} has logged what no test provokes (tests/common/quiet.rs):\n{}",
        loud.join("\n")
    );
}
