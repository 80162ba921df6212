use serde_json::{Value, json};

use super::*;
use crate::samples::{Sample, batch, for_each_row};

fn lines_of(samples: &[Sample], append_time: Option<i64>, encoding: JsonEncoding) -> String {
    let topic = TopicName::new("orders").unwrap();
    let mut lines = JsonLines::create(Vec::new(), topic, encoding, false).unwrap();
    for_each_row(&batch(41, samples, append_time), |row| {
        lines.push(row).unwrap();
    });
    assert_eq!(lines.rows(), samples.len() as u64);
    let bytes = lines.bytes();
    let text = String::from_utf8(lines.finish().unwrap()).unwrap();
    assert_eq!(bytes, text.len() as u64);
    text
}

fn sample() -> Sample {
    Sample {
        timestamp: 1_000,
        key: Some(b"k".to_vec()),
        value: Some(b"v \"1\"\n".to_vec()),
        headers: vec![
            ("h".to_owned(), Some(b"x".to_vec())),
            ("h".to_owned(), None),
        ],
    }
}

#[test]
fn a_line_has_every_field_in_order() {
    let found = lines_of(&[sample()], None, JsonEncoding::Auto);
    let expected = concat!(
        r#"{"topic":"orders","partition":3,"offset":41,"timestamp":1000,"#,
        r#""timestamp_type":"CreateTime","key":"k","value":"v \"1\"\n","#,
        r#""headers":[{"key":"h","value":"x"},{"key":"h","value":null}]}"#,
        "\n"
    );
    assert_eq!(found, expected);
}

#[test]
fn only_a_tombstone_has_the_value_null() {
    let binary = Some(vec![0xff, 0]);
    let rows = [
        Sample {
            value: None,
            ..Sample::default()
        },
        Sample {
            value: Some(Vec::new()),
            ..Sample::default()
        },
        Sample {
            value: binary.clone(),
            key: binary.clone(),
            ..Sample::default()
        },
        Sample {
            headers: vec![("h".to_owned(), binary)],
            ..sample()
        },
    ];
    let text = lines_of(&rows, Some(5), JsonEncoding::Auto);
    let found: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let values: Vec<&Value> = found.iter().map(|row| &row["value"]).collect();
    let base64 = json!({"base64": "/wA="});
    assert_eq!(
        values,
        [&Value::Null, &json!(""), &base64, &json!("v \"1\"\n")]
    );
    assert_eq!(found[2]["key"], base64);
    assert_eq!(found[3]["headers"][0]["value"], base64);
    for row in &found {
        assert_eq!(
            (&row["timestamp"], &row["timestamp_type"]),
            (&json!(5), &json!("LogAppendTime"))
        );
    }
}

#[test]
fn no_timestamp_is_null() {
    let text = lines_of(
        &[Sample {
            timestamp: -1,
            ..sample()
        }],
        None,
        JsonEncoding::Auto,
    );
    assert!(text.contains(r#""timestamp":null,"#), "{text}");
}

#[test]
fn base64_is_for_everything_and_documents_stand_for_themselves() {
    let text = lines_of(&[sample()], None, JsonEncoding::Base64);
    let row: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&row["key"], &row["value"]),
        (&json!("aw=="), &json!("diAiMSIK"))
    );
    assert_eq!(row["headers"][0]["value"], "eA==");
    let document = |text: &str| Sample {
        value: Some(text.as_bytes().to_vec()),
        ..sample()
    };
    let rows = [
        document("{\n \"a\": [1,\r\n 2.50]\n}"),
        document("17"),
        document("not json"),
        document("{\"a\":1} {\"b\":2}"),
    ];
    let text = lines_of(&rows, None, JsonEncoding::Json);
    assert_eq!(text.lines().count(), rows.len(), "{text}");
    // What stands there is the document itself: 2.50 stays 2.50.
    assert!(text.contains("2.50"), "{text}");
    let found: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found[0]["value"], json!({"a": [1, 2.5]}));
    assert_eq!(found[1]["value"], json!(17));
    assert_eq!(found[2]["value"], json!("not json"));
    assert_eq!(found[3]["value"], json!("{\"a\":1} {\"b\":2}"));
    assert_eq!(found[0]["key"], json!("k"));
}

#[test]
fn compressed_lines_are_the_same_lines() {
    let topic = TopicName::new("orders").unwrap();
    let mut lines = JsonLines::create(Vec::new(), topic, JsonEncoding::Auto, true).unwrap();
    for_each_row(&batch(41, &[sample()], None), |row| {
        lines.push(row).unwrap()
    });
    let packed = lines.finish().unwrap();
    let text = zstd::decode_all(packed.as_slice()).unwrap();
    assert_eq!(
        text,
        lines_of(&[sample()], None, JsonEncoding::Auto).into_bytes()
    );
}
