use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use reader::RunBatch;
use segment::batch::BatchHeader;
use segment::record::{NewRecord, RecordBatchBuilder};
use segment::{TimestampMs, TopicId, TopicPartition};

use super::*;

fn partition() -> PartitionIndex {
    PartitionIndex::new(3)
}

fn topic() -> Topic {
    Topic {
        name: TopicName::new("orders").unwrap(),
        id: TopicId::new([7; 16]),
        generation: 0,
        partitions: 4,
        configs: BTreeMap::new(),
    }
}

/// A run of one batch whose records have these timestamps, and values that do not compress.
fn run_of(base: i64, timestamps: &[i64]) -> Run {
    let mut builder = RecordBatchBuilder::new().base_offset(Offset::new(base));
    for (offset, timestamp) in (base..).zip(timestamps) {
        let value: Vec<u8> = (0..100_u64)
            .map(|place| (offset as u64 * 131 + place).wrapping_mul(0x9e37_79b9_7f4a_7c15) as u8)
            .collect();
        let record = NewRecord {
            timestamp: TimestampMs::new(*timestamp),
            key: Some(b"k"),
            value: Some(&value),
            headers: &[],
        };
        builder.push(record).unwrap();
    }
    run(builder.build().unwrap())
}

fn run(bytes: Bytes) -> Run {
    let header = BatchHeader::parse_whole(&bytes).unwrap();
    let last = header.base_offset.get() + i64::from(header.last_offset_delta);
    Run {
        partition: TopicPartition::new(topic().id, partition()),
        position: header.base_offset,
        next: Offset::new(last + 1),
        batches: vec![RunBatch {
            header,
            bytes,
            key: Arc::from("the-object"),
        }],
    }
}

fn span(from: i64, to: i64) -> Span {
    Span {
        from: Offset::new(from),
        to: Offset::new(to),
        ..Span::default()
    }
}

fn json() -> Format {
    Format::Json {
        encoding: JsonEncoding::Auto,
        compressed: false,
    }
}

fn parquet() -> Format {
    Format::Parquet(ParquetOptions::default())
}

fn directory(path: &Path, file_bytes: u64) -> Target {
    Target::Directory {
        path: path.to_owned(),
        append: false,
        file_bytes,
    }
}

fn prepare(format: Format, target: Target) -> Result<Encoding, ExportError> {
    Encoding::prepare("c".to_owned(), &topic(), &[partition()], format, target)
}

/// Encodes runs of one partition; without `ends` it is broken off behind them.
fn encode(
    encoding: Encoding,
    span: Span,
    runs: Vec<Run>,
    ends: bool,
) -> Result<Written, ExportError> {
    let (sender, receiver) = mpsc::channel(runs.len() + 2);
    let partition = partition();
    sender.try_send(Work::Begin { partition, span }).unwrap();
    for run in runs {
        sender.try_send(Work::Run(run)).unwrap();
    }
    if ends {
        sender.try_send(Work::End).unwrap();
    }
    drop(sender);
    let written = encoding.run(receiver)?;
    Ok(written.get(&partition).copied().unwrap_or_default())
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Offsets of all lines in these files, in order.
fn offsets(path: &Path) -> Vec<i64> {
    let text = names(path).into_iter();
    let text = text.map(|name| fs::read_to_string(path.join(name)).unwrap());
    let text: String = text.collect();
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| row["offset"].as_i64().unwrap()).collect()
}

#[test]
fn files_are_rolled_by_size_and_named_by_their_first_offset() {
    for (format, extension) in [(json(), "jsonl"), (parquet(), "parquet")] {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("made/if/absent");
        let encoding = prepare(format, directory(&path, 2_000)).unwrap();
        let runs = vec![run_of(5, &[1; 40]), run_of(45, &[1; 40])];
        let written = encode(encoding, span(5, 85), runs, true).unwrap();
        let names = names(&path);
        assert!(names.len() > 2, "{names:?}");
        assert_eq!(
            names[0],
            format!("orders-3-00000000000000000005.{extension}")
        );
        assert_eq!((written.rows, written.files), (80, names.len() as u64));
        let bytes = names
            .iter()
            .map(|name| fs::metadata(path.join(name)).unwrap().len());
        assert_eq!(written.bytes, bytes.sum::<u64>());
        let ends = (written.first.unwrap().get(), written.last.unwrap().get());
        assert_eq!(ends, (5, 84));
        if extension == "jsonl" {
            assert_eq!(offsets(&path), (5..85).collect::<Vec<i64>>());
        }
    }
}

#[test]
fn what_is_broken_off_leaves_whole_files_and_nothing_else() {
    for format in [json(), parquet()] {
        let place = tempfile::tempdir().unwrap();
        let encoding = prepare(format, directory(place.path(), 2_000)).unwrap();
        let runs = vec![run_of(0, &[1; 39])];
        let written = encode(encoding, span(0, 85), runs, false).unwrap();
        let names = names(place.path());
        assert_eq!(names.len() as u64, written.files);
        assert!(
            !names.is_empty() && names.iter().all(|name| !name.starts_with('.')),
            "{names:?}"
        );
        assert!(
            written.rows < 39,
            "the last rows had no whole file: {written:?}"
        );
        let one = tempfile::tempdir().unwrap();
        let encoding = prepare(format, directory(one.path(), 1 << 30)).unwrap();
        let written = encode(encoding, span(0, 85), vec![run_of(0, &[1; 39])], false).unwrap();
        assert_eq!(written, Written::default());
        assert_eq!(self::names(one.path()), [""; 0]);
    }
}

#[test]
fn no_rows_make_no_file() {
    let place = tempfile::tempdir().unwrap();
    let encoding = prepare(parquet(), directory(place.path(), 2_000)).unwrap();
    let written = encode(encoding, span(0, 0), Vec::new(), true).unwrap();
    assert_eq!(
        (written, names(place.path()).len()),
        (Written::default(), 0)
    );
}

#[test]
fn only_what_is_in_the_span_is_written_each_record_by_its_own_time() {
    let place = tempfile::tempdir().unwrap();
    let encoding = prepare(json(), directory(place.path(), 1 << 30)).unwrap();
    let span = Span {
        from: Offset::new(2),
        to: Offset::new(11),
        not_before: Some(TimestampMs::new(100)),
        before: Some(TimestampMs::new(200)),
    };
    // Offsets                 0    1    2    3   4    5    6   7    8
    let first = run_of(0, &[150, 150, 100, 99, 199, 200, -1, 120, 300]);
    //                          9   10   11
    let second = run_of(9, &[101, 90, 150]);
    encode(encoding, span, vec![first, second], true).unwrap();
    assert_eq!(offsets(place.path()), [2, 4, 7, 9]);
}

#[test]
fn offsets_before_the_position_of_a_run_have_been_given_before() {
    let place = tempfile::tempdir().unwrap();
    let encoding = prepare(json(), directory(place.path(), 1 << 30)).unwrap();
    let mut again = run_of(0, &[1; 6]);
    again.position = Offset::new(4);
    encode(encoding, span(0, 6), vec![run_of(0, &[1; 4]), again], true).unwrap();
    assert_eq!(offsets(place.path()), (0..6).collect::<Vec<i64>>());
}

#[test]
fn a_directory_with_files_of_the_partition_is_refused_unless_told_and_never_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let here = |append| Target::Directory {
        path: place.path().to_owned(),
        append,
        file_bytes: 1 << 30,
    };
    // Of other topics and partitions, and no files of an export at all.
    for other in [
        "orders-1-2-00000000000000000000.jsonl",
        "orders-2-00000000000000000000.jsonl",
        "x",
    ] {
        fs::write(place.path().join(other), "").unwrap();
    }
    let leftover = ".orders-3-00000000000000000007.parquet.tmp";
    fs::write(place.path().join(leftover), "half").unwrap();
    let encoding = prepare(json(), here(false)).unwrap();
    assert!(!names(place.path()).contains(&leftover.to_owned()));
    encode(encoding, span(0, 4), vec![run_of(0, &[1; 4])], true).unwrap();
    for format in [json(), parquet()] {
        let refused = prepare(format, here(false)).err().unwrap();
        let told = refused.to_string();
        assert!(matches!(refused, ExportError::Occupied(_)), "{told}");
        assert!(told.contains("orders-3-00000000000000000000.jsonl") && told.contains("--append"));
    }
    let whole = fs::read(place.path().join("orders-3-00000000000000000000.jsonl")).unwrap();
    let encoding = prepare(json(), here(true)).unwrap();
    let refused = encode(encoding, span(0, 2), vec![run_of(0, &[1; 2])], true).unwrap_err();
    assert!(matches!(refused, ExportError::Exists(_)), "{refused}");
    assert_eq!(
        fs::read(place.path().join("orders-3-00000000000000000000.jsonl")).unwrap(),
        whole
    );
    let encoding = prepare(json(), here(true)).unwrap();
    encode(encoding, span(4, 8), vec![run_of(4, &[1; 4])], true).unwrap();
    assert!(names(place.path()).contains(&"orders-3-00000000000000000004.jsonl".to_owned()));
}

#[test]
fn what_cannot_be_decoded_or_is_no_text_is_named_and_leaves_no_file() {
    let place = tempfile::tempdir().unwrap();
    let encoding = prepare(parquet(), directory(place.path(), 1 << 30)).unwrap();
    let mut damaged = run_of(10, &[1; 3]);
    let mut bytes = damaged.batches[0].bytes.to_vec();
    let end = bytes.len() - 1;
    bytes[end] = 0x7f;
    damaged.batches[0].bytes = Bytes::from(bytes);
    let error = encode(
        encoding,
        span(0, 13),
        vec![run_of(0, &[1; 10]), damaged],
        true,
    );
    let told = error.unwrap_err().to_string();
    for part in [
        "partition 3",
        "10 to 12",
        "the-object",
        "--to 10",
        "--from 13",
    ] {
        assert!(told.contains(part), "{part} is not in: {told}");
    }
    assert_eq!(names(place.path()), [""; 0]);
    let text = Format::Parquet(ParquetOptions {
        text: true,
        ..ParquetOptions::default()
    });
    let encoding = prepare(text, directory(place.path(), 1 << 30)).unwrap();
    let error = encode(encoding, span(0, 10), vec![run_of(0, &[1; 10])], true);
    let told = error.unwrap_err().to_string();
    assert!(
        told.contains("offset 0 is not UTF-8; without --text"),
        "{told}"
    );
    assert_eq!(names(place.path()), [""; 0]);
}

#[test]
fn a_stream_gets_the_lines_of_all_partitions() {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let out = Shared::default();
    let encoding = prepare(json(), Target::Stream(Box::new(out.clone()))).unwrap();
    let written = encode(encoding, span(0, 4), vec![run_of(0, &[1; 4])], true).unwrap();
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    assert_eq!(
        (text.lines().count(), written.rows, written.files),
        (4, 4, 0)
    );
    assert_eq!(written.bytes, text.len() as u64);
}

#[test]
fn spans_come_from_bounds() {
    let held = (Offset::new(10), Offset::new(100));
    let resolve = |from, to, first: Option<i64>| {
        Span::resolve(partition(), held, from, to, first.map(Offset::new))
    };
    let at = |offset| Bound::Offset(Offset::new(offset));
    let time = |ms| Bound::Time(TimestampMs::new(ms));
    assert_eq!(
        resolve(Bound::Earliest, Bound::Latest, None).unwrap(),
        span(10, 100)
    );
    assert_eq!(resolve(at(20), at(30), None).unwrap(), span(20, 30));
    assert_eq!(resolve(at(30), at(20), None).unwrap().offsets(), 0);
    assert_eq!(resolve(at(100), Bound::Latest, None).unwrap().offsets(), 0);
    for (from, to) in [
        (at(9), Bound::Latest),
        (Bound::Earliest, at(101)),
        (at(101), Bound::Latest),
    ] {
        let told = resolve(from, to, None).unwrap_err().to_string();
        assert!(
            told.contains("offsets 10 to before 100") && told.contains("earliest"),
            "{told}"
        );
    }
    // By time: from the first that is late enough, and always up to the end.
    let found = resolve(time(5), time(9), Some(40)).unwrap();
    let expected = Span {
        not_before: Some(TimestampMs::new(5)),
        before: Some(TimestampMs::new(9)),
        ..span(40, 100)
    };
    assert_eq!(found, expected);
    // The log start has moved between two looks.
    assert_eq!(
        resolve(time(5), Bound::Latest, Some(3)).unwrap().from,
        Offset::new(10)
    );
}

#[test]
fn partitions_are_those_that_are_there() {
    let at = |partitions: &[i32]| {
        partitions
            .iter()
            .map(|it| PartitionIndex::new(*it))
            .collect()
    };
    let (all, some): (Vec<_>, Vec<_>) = (at(&[0, 1, 2, 3]), at(&[2, 0, 2]));
    assert_eq!(chosen(&topic(), &[]).unwrap(), all);
    let expected: Vec<_> = at(&[0, 2]);
    assert_eq!(chosen(&topic(), &some).unwrap(), expected);
    let none: Vec<_> = at(&[4]);
    let told = chosen(&topic(), &none).unwrap_err().to_string();
    assert_eq!(told, "topic orders has partitions 0 to 3, no 4");
}

/// A source that gives what it is told to.
#[derive(Default)]
struct Script {
    answers: VecDeque<Result<Option<Run>, ReadError>>,
    position: Offset,
    seeks: Arc<Mutex<Vec<i64>>>,
}

impl Source for Script {
    fn seek(&mut self, offset: Offset) {
        self.position = offset;
        self.seeks.lock().unwrap().push(offset.get());
    }

    fn position(&self) -> Option<Offset> {
        Some(self.position)
    }

    async fn next(&mut self) -> Result<Option<Run>, ReadError> {
        let Some(answer) = self.answers.pop_front() else {
            return std::future::pending().await;
        };
        if let Ok(Some(run)) = &answer {
            self.position = run.next;
        }
        answer
    }
}

/// Who watches, and ends it when so many offsets were reached.
struct Until {
    ends_at: u64,
    reached: RefCell<Vec<u64>>,
}

impl Watch for Until {
    fn planned(&self, _: u64) {}

    fn reached(&self, offsets: u64) {
        self.reached.borrow_mut().push(offsets);
    }

    fn is_told(&self) -> bool {
        let reached = self.reached.borrow();
        reached
            .last()
            .is_some_and(|reached| *reached >= self.ends_at)
    }
}

/// What came of reading, and how many runs and ends were handed over.
fn read(
    answers: Vec<Result<Option<Run>, ReadError>>,
    span: Span,
    watch: &Until,
) -> (Result<Outcome, ExportError>, Vec<i64>, (usize, usize)) {
    let (sender, mut receiver) = mpsc::channel(100);
    let reading = Reading {
        watch,
        sender,
        reached: 0,
        outcome: Outcome::default(),
    };
    let source = Script {
        answers: answers.into(),
        ..Script::default()
    };
    let seeks = source.seeks.clone();
    let planned = vec![Planned {
        partition: partition(),
        source,
        span,
    }];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(reading.run(planned));
    let (mut runs, mut ends) = (0, 0);
    while let Ok(work) = receiver.try_recv() {
        match work {
            Work::Begin { .. } => {}
            Work::Run(_) => runs += 1,
            Work::End => ends += 1,
        }
    }
    let seeks = seeks.lock().unwrap().clone();
    (outcome, seeks, (runs, ends))
}

fn never() -> Until {
    Until {
        ends_at: u64::MAX,
        reached: RefCell::default(),
    }
}

#[test]
fn reading_ends_where_the_span_does_though_there_is_more() {
    let watch = never();
    let answers = vec![
        Ok(Some(run_of(0, &[1; 10]))),
        Ok(Some(run_of(10, &[1; 10]))),
    ];
    let (outcome, _, work) = read(answers, span(0, 15), &watch);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.partitions[&partition()].span, span(0, 15));
    assert!(!outcome.is_interrupted);
    assert_eq!(work, (2, 1));
    assert_eq!(*watch.reached.borrow(), [10, 15]);
}

#[test]
fn offsets_that_are_deleted_meanwhile_are_counted_and_passed() {
    let passed = |position, log_start| ReadError::LogStartPassed {
        position: Offset::new(position),
        log_start: Offset::new(log_start),
    };
    let answers = vec![
        Ok(Some(run_of(0, &[1; 10]))),
        Err(passed(10, 25)),
        Ok(Some(run_of(25, &[1; 5]))),
    ];
    let (outcome, seeks, work) = read(answers, span(0, 30), &never());
    assert_eq!(outcome.unwrap().partitions[&partition()].lost, 15);
    assert_eq!((seeks, work), (vec![0, 25], (2, 1)));
    let (outcome, _, work) = read(vec![Err(passed(0, 100))], span(0, 30), &never());
    assert_eq!(outcome.unwrap().partitions[&partition()].lost, 30);
    assert_eq!(work, (0, 1));
}

#[test]
fn an_end_before_the_end_is_an_error() {
    let answers = vec![Ok(Some(run_of(0, &[1; 10]))), Ok(None)];
    let (outcome, _, work) = read(answers, span(0, 30), &never());
    let told = outcome.unwrap_err().to_string();
    assert!(
        told.contains("ends at offset 10, but reached to 30"),
        "{told}"
    );
    assert_eq!(work, (1, 0), "the file is not kept");
}

#[test]
fn an_export_that_is_told_to_end_ends_between_runs_and_inside_a_wait() {
    let watch = Until {
        ends_at: 10,
        reached: RefCell::default(),
    };
    // The next run never comes.
    let answers = vec![Ok(Some(run_of(0, &[1; 10])))];
    let (outcome, _, work) = read(answers, span(0, 30), &watch);
    let outcome = outcome.unwrap();
    assert!(outcome.is_interrupted);
    assert_eq!(outcome.partitions[&partition()].span, span(0, 10));
    assert_eq!(work, (1, 0), "the file is not kept");
}
