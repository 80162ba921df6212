//! Tests of the tools as a model sees them.

use serde_json::{Map, Value};

use super::*;
use crate::desk::Desk;

fn all() -> Toolbox {
    let admin = AdminPages::new(&["http://127.0.0.1:9093".to_owned()], None).unwrap();
    toolbox(&admin, true)
}

fn names(tools: &Toolbox) -> Vec<&str> {
    tools.all().map(|tool| &*tool.name).collect()
}

const READING: [&str; 8] = [
    "describe_cluster",
    "describe_group",
    "describe_topic",
    "health",
    "list_groups",
    "list_topics",
    "read_records",
    "search_records",
];

#[test]
fn tools_that_write_are_there_only_where_they_are_allowed() {
    let none = AdminPages::none();
    assert_eq!(names(&toolbox(&none, false)), READING);
    let all = all();
    let mut writing = names(&all);
    writing.retain(|name| !READING.contains(name));
    assert_eq!(
        writing,
        [
            "create_topic",
            "metrics",
            "produce_record",
            "reset_group_offsets"
        ]
    );
}

#[test]
fn what_writes_is_marked_and_what_does_not_is_too() {
    let tools = all();
    for tool in tools.all() {
        let marks = tool.annotations.as_ref().unwrap();
        let writes =
            ["create_topic", "produce_record", "reset_group_offsets"].contains(&&*tool.name);
        assert_eq!(marks.read_only_hint, Some(!writes), "{}", tool.name);
        assert_eq!(marks.destructive_hint, Some(writes), "{}", tool.name);
    }
}

/// Every argument says what it is, and what it may be.
fn check(tool: &str, name: &str, schema: &Map<String, Value>) {
    let kind = match &schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        // Optional: one kind, or null.
        Some(Value::Array(kinds)) => kinds[0].as_str().unwrap(),
        _ => {
            let choice = schema.contains_key("enum") || schema.contains_key("oneOf");
            assert!(choice, "{tool}: {name} has no type: {schema:?}");
            return;
        }
    };
    let has = |bound: &str| assert!(schema.contains_key(bound), "{tool}: {name} has no {bound}");
    match kind {
        "integer" => ["minimum", "maximum"].into_iter().for_each(has),
        "string" => {
            if !schema.contains_key("enum") {
                has("maxLength");
            }
        }
        "array" => {
            has("maxItems");
            check(tool, name, schema["items"].as_object().unwrap());
        }
        "object" => match schema.get("properties") {
            None => has("maxProperties"),
            Some(properties) => {
                for (name, property) in properties.as_object().unwrap() {
                    check(tool, name, property.as_object().unwrap());
                }
            }
        },
        "boolean" => (),
        other => panic!("{tool}: {name} is of kind {other}"),
    }
}

#[test]
fn every_argument_is_described_and_bounded() {
    for tool in all().all() {
        assert!(
            tool.description.as_ref().unwrap().len() > 20,
            "{}",
            tool.name
        );
        let schema = &tool.input_schema;
        assert_eq!(
            schema["additionalProperties"],
            Value::Bool(false),
            "{}",
            tool.name
        );
        for (name, property) in schema["properties"].as_object().unwrap() {
            let property = property.as_object().unwrap();
            assert!(
                property.contains_key("description"),
                "{}: {name}",
                tool.name
            );
            check(&tool.name, name, property);
        }
        assert!(tool.output_schema.is_some(), "{}", tool.name);
    }
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_told_by_every_tool() {
    let settings = client::ClientSettings {
        retry_timeout: std::time::Duration::from_millis(100),
        ..client::ClientSettings::with_bootstrap("127.0.0.1:1")
    };
    let desk = std::sync::Arc::new(Desk::new(settings, AdminPages::none()));
    let tools = toolbox(&AdminPages::none(), true);
    for (name, arguments) in [
        ("list_topics", "{}"),
        ("describe_topic", r#"{"topic":"t"}"#),
        ("read_records", r#"{"topic":"t"}"#),
        ("describe_group", r#"{"group":"g"}"#),
        ("produce_record", r#"{"topic":"t"}"#),
    ] {
        let run = std::sync::Arc::clone(&tools.get(name).unwrap().run);
        let arguments = serde_json::from_str(arguments).unwrap();
        let result = desk.call(move |visit| run(visit, arguments)).await.unwrap();
        let text = serde_json::to_string(&result.content).unwrap();
        assert_eq!(result.is_error, Some(true), "{name}: {text}");
        assert!(
            text.contains("cannot connect to 127.0.0.1:1"),
            "{name}: {text}"
        );
    }
    let run = std::sync::Arc::clone(&tools.get("health").unwrap().run);
    let result = desk
        .call(move |visit| run(visit, Map::new()))
        .await
        .unwrap();
    let told = result.structured_content.unwrap();
    assert_eq!(
        (result.is_error, &told["healthy"]),
        (Some(false), &Value::Bool(false))
    );
}
