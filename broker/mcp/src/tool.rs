//! [`Tool`]: one thing that an agent can ask for, and [`Toolbox`]: those that a server offers.
//!
//! A tool says what it needs by a type, from which its JSON schema is made and by which its arguments are checked; what it
//! answers is JSON of another type. What the caller could do better is an answer marked as an error, whose text says what
//! to do next: models read those, and see nothing of errors of the protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::ClientError;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, ToolAnnotations};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wire::ErrorCode;

use crate::desk::Visit;

/// What a tool does to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Reads,
    /// It changes something.
    Writes,
}

/// One thing that an agent can ask for.
pub(crate) trait Tool {
    /// What it needs to know.
    type Arguments: DeserializeOwned + JsonSchema + Send + 'static;
    /// What it finds out.
    type Answer: Serialize + JsonSchema + 'static;

    const NAME: &'static str;
    const TITLE: &'static str;
    const DESCRIPTION: &'static str;
    const EFFECT: Effect;

    /// Does it. Blocks.
    fn run(visit: &mut Visit, arguments: Self::Arguments) -> Result<Self::Answer, ToolError>;
}

/// Why a tool has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// The cluster, or the way to it.
    #[error("{}{}", .0, advice(.0))]
    Client(#[from] ClientError),
    /// The caller asks for what cannot be.
    #[error("{0}")]
    Arguments(String),
    /// The answer cannot be written as JSON.
    #[error("the answer cannot be written as JSON: {0}")]
    Answer(#[from] serde_json::Error),
}

/// What an agent should do, where the error does not say.
fn advice(error: &ClientError) -> &'static str {
    match error.code() {
        Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {
            "; `list_topics` shows the topics that exist"
        }
        Some(ErrorCode::GROUP_ID_NOT_FOUND) => "; `list_groups` shows the groups that exist",
        Some(
            ErrorCode::TOPIC_AUTHORIZATION_FAILED
            | ErrorCode::GROUP_AUTHORIZATION_FAILED
            | ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        ) => {
            "; the rules (ACLs) of the cluster do not allow it to the user of this server: ask its operator, trying \
             again does not help"
        }
        _ => "",
    }
}

type Run = dyn Fn(&mut Visit, JsonObject) -> CallToolResult + Send + Sync;

/// A tool with its types forgotten.
#[derive(Clone)]
pub(crate) struct Offered {
    pub(crate) tool: rmcp::model::Tool,
    pub(crate) run: Arc<Run>,
}

/// The tools that a server offers, by name.
#[derive(Clone, Default)]
pub(crate) struct Toolbox(BTreeMap<&'static str, Offered>);

impl Toolbox {
    /// Adds a tool.
    pub(crate) fn with<T: Tool>(mut self) -> Self {
        let offered = offer::<T>();
        let before = self.0.insert(T::NAME, offered);
        assert!(before.is_none(), "{} is the name of one tool", T::NAME);
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Offered> {
        self.0.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &rmcp::model::Tool> {
        self.0.values().map(|offered| &offered.tool)
    }
}

fn offer<T: Tool>() -> Offered {
    let reads = T::EFFECT == Effect::Reads;
    let annotations = ToolAnnotations::with_title(T::TITLE)
        .read_only(reads)
        .destructive(!reads)
        .idempotent(reads)
        .open_world(false);
    let mut tool = rmcp::model::Tool::new(T::NAME, T::DESCRIPTION, JsonObject::new())
        .with_title(T::TITLE)
        .with_input_schema::<T::Arguments>()
        .with_output_schema::<T::Answer>()
        .with_annotations(annotations);
    let schema = Arc::make_mut(&mut tool.input_schema);
    // Without arguments there is nothing to describe; some clients ask for the field all the same.
    schema
        .entry("properties")
        .or_insert_with(|| Value::Object(JsonObject::new()));
    schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    let names = Arc::clone(&tool.input_schema);
    let run = move |visit: &mut Visit, arguments: JsonObject| {
        let done = parse::<T::Arguments>(&names, arguments).and_then(|arguments| {
            let answer = T::run(visit, arguments)?;
            Ok(serde_json::to_value(answer)?)
        });
        match done {
            Ok(answer) => CallToolResult::structured(answer),
            Err(error) => refusal(&error.to_string()),
        }
    };
    Offered {
        tool,
        run: Arc::new(run),
    }
}

/// An answer that says why there is none.
pub(crate) fn refusal(text: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

fn parse<T: DeserializeOwned>(schema: &JsonObject, arguments: JsonObject) -> Result<T, ToolError> {
    let known = schema.get("properties").and_then(Value::as_object);
    let is_known = |name: &String| known.is_some_and(|known| known.contains_key(name));
    if let Some(unknown) = arguments.keys().find(|name| !is_known(name)) {
        let known: Vec<&str> = known
            .map(|known| known.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let text = format!(
            "there is no argument `{unknown}`; there are: {}",
            known.join(", ")
        );
        return Err(ToolError::Arguments(text));
    }
    let read = |arguments: JsonObject| serde_json::from_value::<T>(Value::Object(arguments));
    let error = match read(arguments.clone()) {
        Ok(read) => return Ok(read),
        Err(error) => error.to_string(),
    };
    // The reader does not tell which argument it failed at: it is the one without which it does not fail so.
    let culprit = arguments.keys().find(|name| {
        let mut others = arguments.clone();
        others.remove(*name);
        read(others)
            .err()
            .is_none_or(|other| other.to_string() != error)
    });
    Err(ToolError::Arguments(match culprit {
        Some(name) => format!("argument `{name}`: {error}"),
        None => format!("arguments: {error}"),
    }))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::bounds::{Limit, Text};

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Wanted {
        /// A name.
        name: Text<1, 5>,
        /// A number.
        #[serde(default)]
        count: Limit<1, 9, 3>,
    }

    fn read(arguments: Value) -> Result<Wanted, String> {
        let schema = schemars::schema_for!(Wanted);
        let (Value::Object(arguments), Value::Object(schema)) =
            (arguments, serde_json::to_value(schema).unwrap())
        else {
            panic!("objects");
        };
        parse(&schema, arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn an_argument_that_cannot_be_used_is_named() {
        let read_one = read(json!({ "name": "a" })).unwrap();
        assert_eq!((read_one.name.as_str(), read_one.count.get()), ("a", 3));
        let error = |arguments| read(arguments).unwrap_err();
        let text = error(json!({ "name": "a", "count": 10 }));
        assert!(
            text.contains("`count`") && text.contains("1 to 9"),
            "{text}"
        );
        let text = error(json!({ "name": "too long", "count": 1 }));
        assert!(text.contains("`name`") && text.contains("1 to 5"), "{text}");
        let text = error(json!({ "count": 1 }));
        assert!(text.contains("missing field `name`"), "{text}");
        let text = error(json!({ "name": "a", "offset": 1 }));
        assert!(
            text.contains("no argument `offset`") && text.contains("count, name"),
            "{text}"
        );
    }

    #[test]
    fn errors_say_what_to_do_next() {
        let unknown = ClientError::UnknownTopic {
            topic: "t".to_owned(),
        };
        assert!(
            ToolError::from(unknown)
                .to_string()
                .contains("`list_topics`")
        );
        let denied = ClientError::Refused {
            operation: "find topic t".to_owned(),
            code: ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            message: None,
        };
        assert!(
            ToolError::from(denied)
                .to_string()
                .contains("ask its operator")
        );
    }
}
