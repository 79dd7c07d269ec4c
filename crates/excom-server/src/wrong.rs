//! What is wrong about a document, in the words of Airflow's server, so far as it is about a field's being there and of what
//! type it is: `type`, `loc`, `msg` and `input`, as pydantic lists them. What else types find out is told in their own words.

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use serde_path_to_error::{Path, Segment};

use crate::refusal::Refusal;

/// The most bytes of a body of which parts are told back.
const TOLD_BACK: usize = 64 << 10;

/// Whether a type is made of fields, and no map, text or anything that a list can be.
pub(crate) fn has_fields<T: DeserializeOwned>() -> bool {
    let Err(error) = T::deserialize(Json::Bool(true)) else { return false };
    !error.to_string().contains(", expected a ")
}

/// A body that is a list, whose elements would be taken for fields by their places.
pub(crate) fn no_object(body: &[u8]) -> Refusal {
    listed("model_attributes_type", &["body".into()], NO_OBJECT, &input(body, &[]))
}

/// A body that is not JSON, or has something behind it.
pub(crate) fn no_json(body: &[u8], error: &serde_json::Error) -> Refusal {
    if body.trim_ascii().is_empty() {
        return listed("missing", &["body".into()], "Field required", &Json::Null);
    }
    let before = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let place = before.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
    // A place in the text, not among its bytes.
    let place = String::from_utf8_lossy(body.get(..place).unwrap_or(body)).chars().count();
    let cause = json!({"error": words(error)});
    Refusal::listed(vec![json!({
        "type": "json_invalid", "loc": ["body", place], "msg": "JSON decode error", "input": {}, "ctx": cause,
    })])
}

/// A body that is JSON, of another shape than is asked for.
pub(crate) fn no_such_type(body: &[u8], path: &Path, error: &serde_json::Error) -> Refusal {
    let mut place: Vec<Json> = path.iter().filter_map(part).collect();
    let words = words(error);
    let quoted = |before: &str| Some(words.strip_prefix(before)?.split_once('`')?.0);
    let (kind, message, found) = if let Some(field) = quoted("missing field `") {
        let found = input(body, &place);
        place.push(field.into());
        ("missing", "Field required", found)
    } else if let Some(field) = quoted("unknown field `") {
        if place.last().is_none_or(|last| last != field) {
            place.push(field.into());
        }
        ("extra_forbidden", "Extra inputs are not permitted", input(body, &place))
    } else {
        let found = input(body, &place);
        let expected =
            words.strip_prefix("invalid type: ").and_then(|words| words.rsplit_once(", expected "));
        match expected.and_then(|(_, expected)| typed(expected, &found)) {
            Some((kind, message)) => (kind, message, found),
            None => ("value_error", &*words, found),
        }
    };
    place.insert(0, "body".into());
    listed(kind, &place, message, &found)
}

const NO_OBJECT: &str = "Input should be a valid dictionary or object to extract fields from";

fn listed(kind: &str, place: &[Json], message: &str, found: &Json) -> Refusal {
    Refusal::listed(vec![json!({"type": kind, "loc": place, "msg": message, "input": found})])
}

/// What it is called that something is not of a type, which serde names so.
fn typed(expected: &str, found: &Json) -> Option<(&'static str, &'static str)> {
    Some(match expected {
        "a string" | "a borrowed string" => ("string_type", "Input should be a valid string"),
        "a boolean" if found.is_string() => {
            ("bool_parsing", "Input should be a valid boolean, unable to interpret input")
        }
        "a boolean" => ("bool_type", "Input should be a valid boolean"),
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => match found {
            Json::String(_) => {
                ("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
            }
            Json::Number(_) => {
                ("int_from_float", "Input should be a valid integer, got a number with a fractional part")
            }
            _ => ("int_type", "Input should be a valid integer"),
        },
        "a sequence" => ("list_type", "Input should be a valid list"),
        "a map" => ("dict_type", "Input should be a valid dictionary"),
        _ if expected.starts_with("struct ") => ("model_attributes_type", NO_OBJECT),
        _ => return None,
    })
}

fn part(segment: &Segment) -> Option<Json> {
    match segment {
        Segment::Seq { index } => Some((*index).into()),
        Segment::Map { key } => Some(key.as_str().into()),
        // Airflow has no such step.
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// What a body has at a place; null where that is nothing, or the body is large.
fn input(body: &[u8], place: &[Json]) -> Json {
    if body.len() > TOLD_BACK {
        return Json::Null;
    }
    let mut found: Json = serde_json::from_slice(body).unwrap_or_default();
    for part in place {
        found = match (part, &mut found) {
            (Json::String(name), Json::Object(fields)) => fields.remove(name).unwrap_or_default(),
            (Json::Number(index), Json::Array(elements)) => {
                let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
                index.and_then(|index| elements.get_mut(index)).map(Json::take).unwrap_or_default()
            }
            _ => Json::Null,
        };
    }
    found
}

/// What serde says, without the place in the text.
fn words(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    words.strip_suffix(&place).unwrap_or(&words).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::body::to_bytes;
    use axum::response::IntoResponse as _;
    use bytes::Bytes;
    use serde::Deserialize;

    use super::*;
    use crate::request::parsed;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only what is wrong about it matters")]
    struct Asked {
        name: String,
        number: Option<i32>,
        flag: Option<bool>,
        inner: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only what is wrong about it matters")]
    struct Inner {
        id: u32,
    }

    /// What a refusal of a body for a type tells.
    async fn told<T: DeserializeOwned>(body: &'static str) -> Json {
        let refusal = parsed::<T>(&Bytes::from(body)).err().unwrap().into_response();
        assert_eq!(refusal.status(), 422, "{body}");
        let told = to_bytes(refusal.into_body(), usize::MAX).await.unwrap();
        let told: Json = serde_json::from_slice(&told).unwrap();
        told["detail"][0].clone()
    }

    #[tokio::test]
    async fn a_list_is_no_object_only_where_one_is_asked_for() {
        for (told, kind) in [
            (told::<Asked>("[1]").await, "model_attributes_type"),
            (told::<BTreeMap<String, Json>>(" [1]").await, "dict_type"),
            (told::<String>("[1]").await, "string_type"),
        ] {
            assert_eq!(
                (&told["type"], &told["loc"], &told["input"]),
                (&json!(kind), &json!(["body"]), &json!([1])),
                "{told}"
            );
        }
        assert_eq!(parsed::<Vec<u8>>(&Bytes::from("[1]")).unwrap(), [1]);
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_as_airflow_tells_it() {
        for (body, kind, place, input) in [
            ("{}", "missing", json!(["body", "name"]), json!({})),
            (r#"{"name": 5}"#, "string_type", json!(["body", "name"]), json!(5)),
            (r#"{"name": "n", "other": 1}"#, "extra_forbidden", json!(["body", "other"]), json!(1)),
            (r#"{"name": "n", "number": "5"}"#, "int_parsing", json!(["body", "number"]), json!("5")),
            (r#"{"name": "n", "number": 1.5}"#, "int_from_float", json!(["body", "number"]), json!(1.5)),
            (r#"{"name": "n", "number": []}"#, "int_type", json!(["body", "number"]), json!([])),
            (r#"{"name": "n", "flag": "x"}"#, "bool_parsing", json!(["body", "flag"]), json!("x")),
            (r#"{"name": "n", "flag": 2}"#, "bool_type", json!(["body", "flag"]), json!(2)),
            (r#"{"name": "n", "inner": 2}"#, "list_type", json!(["body", "inner"]), json!(2)),
            (
                r#"{"name": "n", "inner": [{"id": 1}, {}]}"#,
                "missing",
                json!(["body", "inner", 1, "id"]),
                json!({}),
            ),
            (
                r#"{"name": "n", "inner": [3]}"#,
                "model_attributes_type",
                json!(["body", "inner", 0]),
                json!(3),
            ),
            (
                r#"{"name": "n", "number": 5000000000}"#,
                "value_error",
                json!(["body", "number"]),
                json!(5_000_000_000_u64),
            ),
            ("[1]", "model_attributes_type", json!(["body"]), json!([1])),
            ("3", "model_attributes_type", json!(["body"]), json!(3)),
            ("", "missing", json!(["body"]), json!(null)),
            ("{\n\"name\": x}", "json_invalid", json!(["body", 10]), json!({})),
            (r#"{"name": "n"} 1"#, "json_invalid", json!(["body", 14]), json!({})),
            ("{\n\"name\": \"größer\", x}", "json_invalid", json!(["body", 20]), json!({})),
        ] {
            let told = told::<Asked>(body).await;
            assert_eq!(
                (&told["type"], &told["loc"], &told["input"]),
                (&json!(kind), &place, &input),
                "{body}: {told}"
            );
            let words = told["msg"].as_str().unwrap();
            assert!(
                kind == "value_error" || !words.contains('`') && !words.contains("column"),
                "{body}: {told}"
            );
        }
    }
}
