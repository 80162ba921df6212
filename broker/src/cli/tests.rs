//! Tests of the command line as a whole: what parses, and what it ends with.

use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let words = line.split_whitespace();
    let matches = command().try_get_matches_from(std::iter::once("kafscale").chain(words))?;
    Cli::from_arg_matches(&matches)
}

#[test]
fn the_declaration_is_sound() {
    command().debug_assert();
}

#[test]
fn every_documented_form_parses() {
    for line in [
        "topic create t --partitions 3 --replication-factor 3 --config a=b -c c=d --if-not-exists",
        "topic list --json",
        "topic describe t u --all-configs",
        "topic describe",
        "topic alter t --config a= --delete-config b --partitions 4",
        "topic delete t --if-exists",
        "-b h:1,i:2 produce t --file - -K : -p 0 -z zstd --acks all -H a=b --null-value NULL",
        "produce t -b h:1 --acks -1",
        "produce t --acks 0 --no-idempotence --batch-bytes 5 --linger 1s",
        "consume t --from-beginning --exit-at-end -n 5 --timeout 10s --format json",
        "consume t --offset -5 -p 0 -p 1 --print-key --print-headers --print-offset",
        "consume t --timestamp 2024-05-01T12:00:00Z --output x --delimiter ,",
        "consume t --group g --from-beginning",
        "group list",
        "group describe g h --json",
        "group reset-offsets g --topic t:0,1 --to-earliest",
        "group reset-offsets g --all-topics --shift-by -5 --execute",
        "group reset-offsets g -t t --to-timestamp 0 --dry-run",
        "group delete g",
        "segment inspect a.kfs b.wal --batches --json",
        "segment verify -",
        "export --topic t --output d",
        "export --topic t --partitions 0,2 -p 3 --from 5 --to latest -o d --compression snappy --text",
        "export -t t --from 2024-05-01 --to @1714564800000 -o d --append --file-bytes 64MiB",
        "mcp",
        "mcp -b h:1 --admin http://h:9093,https://i:9093 --admin-ca-file c --allow-writes",
        "mcp --listen 127.0.0.1:0 --token-file f --allow-host a --allow-host b",
        "export -t t --format json --encoding json -z zstd --output - --config c.toml --data-dir d",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_excludes_each_other_is_refused() {
    for line in [
        "topic create t --partitions 0",
        "topic create t --config a",
        "produce t --acks 2",
        "produce t -p -1",
        "consume t --offset 5 --from-beginning",
        "consume t --group g --offset 5",
        "consume t --group g -p 0",
        "group reset-offsets g --topic t",
        "group reset-offsets g --to-latest",
        "group reset-offsets g --topic t --to-latest --to-earliest",
        "group reset-offsets g --topic t --to-latest --execute --dry-run",
        "segment verify",
        "export --topic t",
        "mcp --listen localhost",
        "mcp --token-file f",
        "mcp --admin-ca-file c",
        "export --topic a/b --output d",
        "export --topic t --output d --from latest",
        "export --topic t --output d --file-bytes 0",
        "consume",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn help_explains_the_exit_codes_and_the_version_is_told() {
    let help = command()
        .try_get_matches_from(["kafscale", "--help"])
        .unwrap_err();
    assert_eq!(help.kind(), ErrorKind::DisplayHelp);
    let text = help.to_string();
    for part in [
        "broker",
        "topic",
        "produce",
        "consume",
        "group",
        "segment",
        "Exit codes:",
    ] {
        assert!(text.contains(part), "{part} is missing from:\n{text}");
    }
    let version = command()
        .try_get_matches_from(["kafscale", "--version"])
        .unwrap_err();
    assert_eq!(version.kind(), ErrorKind::DisplayVersion);
}

#[test]
fn exit_codes_are_those_of_the_help() {
    use client::ClientError;
    let unreachable = ClientError::Unreachable {
        addresses: "127.0.0.1:9092".to_owned(),
        cause: "connection refused".to_owned(),
    };
    let text = unreachable.to_string();
    assert!(text.contains("start one with `kafscale broker`"), "{text}");
    assert_eq!(CliError::from(unreachable).exit_code(), 3);
    assert_eq!(CliError::TimedOut(String::new()).exit_code(), 4);
    assert_eq!(CliError::Usage(String::new()).exit_code(), 2);
    assert_eq!(
        CliError::Damaged {
            damaged: 1,
            total: 2
        }
        .exit_code(),
        1
    );
    let gone = CliError::Write {
        name: "standard output".to_owned(),
        cause: std::io::ErrorKind::BrokenPipe.into(),
    };
    assert!(gone.is_quiet());
    assert_eq!(gone.exit_code(), 0);
}
