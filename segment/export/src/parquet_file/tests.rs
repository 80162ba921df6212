use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, RowAccessor};
use proptest::prelude::*;

use super::*;
use crate::Part;
use crate::samples::{Sample, batch, for_each_row, origin};

fn options() -> ParquetOptions {
    ParquetOptions::default()
}

/// The file of these rows, from offset 41 on.
fn written(samples: &[Sample], append_time: Option<i64>, options: &ParquetOptions) -> Bytes {
    let mut file = ParquetFile::create(Vec::new(), &origin(), options).unwrap();
    if !samples.is_empty() {
        for_each_row(&batch(41, samples, append_time), |row| {
            file.push(row).unwrap()
        });
    }
    assert_eq!(file.rows(), samples.len() as u64);
    Bytes::from(file.finish().unwrap())
}

fn reader(file: &Bytes) -> SerializedFileReader<Bytes> {
    SerializedFileReader::new(file.clone()).unwrap()
}

fn bytes(field: &Field) -> Option<Vec<u8>> {
    match field {
        Field::Null => None,
        Field::Bytes(bytes) => Some(bytes.data().to_vec()),
        Field::Str(text) => Some(text.as_bytes().to_vec()),
        other => panic!("{other:?} is neither bytes nor text"),
    }
}

/// What the parquet crate's own reader finds: offset, type of the timestamp, the rest.
fn read(file: &Bytes) -> Vec<(i64, String, Sample)> {
    let reader = reader(file);
    let rows = reader.get_row_iter(None).unwrap();
    let rows = rows.map(|row| {
        let row = row.unwrap();
        assert_eq!(row.get_int(0).unwrap(), 3);
        let columns: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
        let timestamp = match columns[2] {
            Field::Null => -1,
            Field::TimestampMillis(timestamp) => *timestamp,
            other => panic!("{other:?} is no timestamp"),
        };
        let headers = match columns[6] {
            Field::ListInternal(list) => list.elements().iter().map(|element| match element {
                Field::Group(group) => {
                    let value = group.get_column_iter().nth(1).unwrap().1;
                    (group.get_string(0).unwrap().clone(), bytes(value))
                }
                other => panic!("{other:?} is no header"),
            }),
            other => panic!("{other:?} is no list"),
        };
        let sample = Sample {
            timestamp,
            key: bytes(columns[4]),
            value: bytes(columns[5]),
            headers: headers.collect(),
        };
        (
            row.get_long(1).unwrap(),
            row.get_string(3).unwrap().clone(),
            sample,
        )
    });
    rows.collect()
}

fn rows_of(samples: &[Sample], timestamp_type: &str) -> Vec<(i64, String, Sample)> {
    let rows = samples.iter().cloned().zip(41..);
    rows.map(|(sample, offset)| (offset, timestamp_type.to_owned(), sample))
        .collect()
}

fn value(bytes: Vec<u8>) -> Sample {
    Sample {
        value: Some(bytes),
        timestamp: 5,
        ..Sample::default()
    }
}

fn metadata(file: &Bytes, name: &str) -> Option<String> {
    let reader = reader(file);
    let metadata = reader.metadata().file_metadata();
    let entries = metadata.key_value_metadata().unwrap();
    entries
        .iter()
        .find(|entry| entry.key == name)?
        .value
        .clone()
}

/// Rows of each row group.
fn groups_of(file: &Bytes) -> Vec<i64> {
    let reader = reader(file);
    let groups = reader.metadata().row_groups().iter();
    groups.map(|group| group.num_rows()).collect()
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let headers = prop::collection::vec(("[a-zäß]{0,5}", bytes()), 0..4);
    let timestamp = prop_oneof![Just(-1), 0..=1_i64 << 45];
    (timestamp, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Sample {
        timestamp,
        key,
        value,
        headers,
    })
}

proptest! {
    #[test]
    fn rows_come_back_as_they_were(
        samples in prop::collection::vec(any_sample(), 1..50),
        row_group_bytes in 1_usize..20_000,
        compression in prop::sample::select(vec![
            ParquetCompression::None, ParquetCompression::Snappy, ParquetCompression::Zstd,
        ]),
    ) {
        let options = ParquetOptions { compression, row_group_bytes: Some(row_group_bytes), text: false };
        prop_assert_eq!(read(&written(&samples, None, &options)), rows_of(&samples, "CreateTime"));
    }
}

#[test]
fn the_time_of_the_broker_is_told_as_such() {
    let samples = [value(b"a".to_vec()), value(b"b".to_vec())];
    let found = read(&written(&samples, Some(9), &options()));
    for (_, timestamp_type, sample) in found {
        assert_eq!(
            (timestamp_type.as_str(), sample.timestamp),
            ("LogAppendTime", 9)
        );
    }
}

#[test]
fn a_file_tells_where_it_comes_from() {
    let file = written(
        &[value(b"a".to_vec()), value(b"b".to_vec())],
        None,
        &options(),
    );
    let expected = [
        (meta::CLUSTER, "c1"),
        (meta::TOPIC, "orders"),
        (meta::TOPIC_ID, "BwcHBwcHBwcHBwcHBwcHBw"),
        (meta::PARTITION, "3"),
        (meta::FIRST_OFFSET, "41"),
        (meta::LAST_OFFSET, "42"),
    ];
    for (name, value) in expected {
        assert_eq!(metadata(&file, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn a_file_without_rows_is_a_file() {
    let file = written(&[], None, &options());
    assert_eq!(read(&file), []);
    assert_eq!(metadata(&file, meta::FIRST_OFFSET), None);
    assert_eq!(reader(&file).num_row_groups(), 0);
}

#[test]
fn columns_have_the_types_of_the_table() {
    for (text, string) in [(false, ""), (true, " (STRING)")] {
        let file = written(&[], None, &ParquetOptions { text, ..options() });
        let reader = reader(&file);
        let mut printed = Vec::new();
        let schema = reader.metadata().file_metadata().schema().clone();
        parquet::schema::printer::print_schema(&mut printed, &schema);
        let printed = String::from_utf8(printed).unwrap();
        for line in [
            "REQUIRED INT32 partition;",
            "REQUIRED INT64 offset;",
            "OPTIONAL INT64 timestamp (TIMESTAMP(MILLIS,true));",
            "REQUIRED BYTE_ARRAY timestamp_type (STRING);",
            &format!("OPTIONAL BYTE_ARRAY key{string};"),
            &format!("OPTIONAL BYTE_ARRAY value{string};"),
        ] {
            assert!(printed.contains(line), "{line} is not in\n{printed}");
        }
    }
}

#[test]
fn text_that_is_none_is_refused_by_its_offset() {
    let options = ParquetOptions {
        text: true,
        ..options()
    };
    let text = [value("grün".as_bytes().to_vec()), Sample::default()];
    assert_eq!(
        read(&written(&text, None, &options)),
        rows_of(&text, "CreateTime")
    );
    let mut file = ParquetFile::create(Vec::new(), &origin(), &options).unwrap();
    let mut outcomes = Vec::new();
    let key = Sample {
        key: Some(vec![0xff]),
        ..Sample::default()
    };
    let rows = batch(41, &[value(b"a".to_vec()), value(vec![0xc3]), key], None);
    for_each_row(&rows, |row| outcomes.push(file.push(row)));
    assert!(outcomes[0].is_ok());
    for (outcome, (offset, part)) in outcomes[1..]
        .iter()
        .zip([(42, Part::Value), (43, Part::Key)])
    {
        let told = outcome.as_ref().unwrap_err().to_string();
        assert_eq!(
            told,
            format!("the {part} of partition 3, offset {offset} is not UTF-8")
        );
    }
}

#[test]
fn row_groups_end_by_bytes_and_by_rows_and_a_large_value_has_its_own() {
    let options = ParquetOptions {
        row_group_bytes: Some(10_000),
        ..options()
    };
    let mut samples: Vec<Sample> = (0..100_u8).map(|byte| value(vec![byte; 900])).collect();
    samples.insert(50, value(vec![1; 3_000_000]));
    let file = written(&samples, None, &options);
    assert_eq!(read(&file), rows_of(&samples, "CreateTime"));
    let groups = groups_of(&file);
    assert_eq!(groups.iter().max(), Some(&10), "{groups:?}");
    assert!(groups.contains(&1), "{groups:?}");
    let many = vec![Sample::default(); ROW_GROUP_ROWS + 1];
    let file = written(&many, None, &self::options());
    assert_eq!(groups_of(&file), [ROW_GROUP_ROWS as i64, 1]);
}

#[test]
fn a_full_disk_is_told_as_one() {
    #[derive(Debug)]
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut file = ParquetFile::create(Full, &origin(), &options()).unwrap();
    let noise: Vec<u8> = (0..100_000_u32)
        .flat_map(|it| it.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    for_each_row(&batch(41, &[value(noise)], None), |row| {
        file.push(row).unwrap()
    });
    let error = file.finish().unwrap_err();
    assert!(
        matches!(&error, EncodeError::Io(cause) if cause.kind() == std::io::ErrorKind::StorageFull),
        "{error:?}"
    );
}
