//! What is wrong about a document, in the words of Airflow's server, so far as it is about a field's being there and of what
//! type it is: `type`, `loc`, `msg` and `input`, as pydantic lists them, all that are. What else types find out is told in their
//! own words.

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

/// What is wrong at one place of a document.
struct Wrong {
    kind: &'static str,
    place: Vec<Json>,
    message: String,
    input: Json,
    /// The words of which one is expected there.
    words: Vec<String>,
}

impl Wrong {
    /// What a type finds wrong first in a text; none where that is nothing.
    fn first<T: DeserializeOwned>(text: &[u8], told: &Json) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
        Some(Self::of(error.path(), error.inner(), told))
    }

    /// An error, with what the document that is told back has there.
    fn of(path: &Path, error: &serde_json::Error, told: &Json) -> Self {
        let mut place: Vec<Json> = path.iter().filter_map(part).collect();
        let words = words(error);
        let quoted = |before: &str| Some(words.strip_prefix(before)?.split_once('`')?.0);
        let mut options = Vec::new();
        let (kind, message, input) = if let Some(field) = quoted("missing field `") {
            let input = at(told, &place);
            place.push(field.into());
            ("missing", "Field required".to_owned(), input)
        } else if let Some(field) = quoted("unknown field `") {
            if place.last().is_none_or(|last| last != field) {
                place.push(field.into());
            }
            ("extra_forbidden", "Extra inputs are not permitted".to_owned(), at(told, &place))
        } else {
            let input = at(told, &place);
            let (found, expected) = words.rsplit_once(", expected ").unwrap_or((&words, ""));
            let known = if found.starts_with("invalid type: ") {
                typed(expected, &input).map(|(kind, message)| (kind, message.to_owned()))
            } else if found.starts_with("invalid value: ") {
                beyond(expected, &input)
            } else if found.starts_with("unknown variant `") {
                options = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
                Some(("enum", format!("Input should be {}", one_of(&options))))
            } else {
                None
            };
            let (kind, message) = known.unwrap_or_else(|| ("value_error", words.clone()));
            (kind, message, input)
        };
        Self { kind, place, message, input, words: options }
    }

    /// Whether another is neither at the same place, nor around it, nor inside: then this one was mended.
    fn is_apart_from(&self, other: &Self) -> bool {
        let shorter = self.place.len().min(other.place.len());
        self.place[..shorter] != other.place[..shorter]
    }

    fn told(self) -> Json {
        let mut place = self.place;
        place.insert(0, "body".into());
        let mut told = json!({"type": self.kind, "loc": place, "msg": self.message, "input": self.input});
        if let (false, Json::Object(fields)) = (self.words.is_empty(), &mut told) {
            fields.insert("ctx".to_owned(), json!({"expected": one_of(&self.words)}));
        }
        told
    }
}

/// The most that is listed of what is wrong, and the largest document of which more than the first: each takes a few more looks
/// at all of it.
const MOST: usize = 20;
const LISTED: usize = 8 << 10;

const DATE: &str = "2000-01-01T00:00:00Z";
const UUID: &str = "00000000-0000-0000-0000-000000000000";

/// A body that is JSON, of another shape than is asked for. Types tell what they find first; so what is wrong is replaced by
/// something that is taken there, and they are asked again. What cannot be mended so ends the list. Not for enums whose variants
/// have fields: those of one would be missed that was not meant.
pub(crate) fn no_such_type<T: DeserializeOwned>(
    body: &[u8],
    path: &Path,
    error: &serde_json::Error,
) -> Refusal {
    if body.len() > TOLD_BACK {
        return Refusal::listed(vec![Wrong::of(path, error, &Json::Null).told()]);
    }
    let document: Json = serde_json::from_slice(body).unwrap_or_default();
    let (mut mended, mut listed) = (document.clone(), Vec::new());
    let mut next = Some(Wrong::of(path, error, &document));
    while let Some(mut wrong) = next.take() {
        if listed.len() + 1 < MOST && body.len() <= LISTED {
            next = mend::<T>(&mut mended, &mut wrong, &document);
        }
        listed.push(wrong.told());
    }
    Refusal::listed(listed)
}

/// Puts something in the place of what is wrong, and tells what is wrong besides. What is taken there also tells of what type it
/// should have been.
fn mend<T: DeserializeOwned>(mended: &mut Json, wrong: &mut Wrong, told: &Json) -> Option<Wrong> {
    let (last, parents) = wrong.place.split_last()?;
    // Nothing at all is tried last.
    let mut values = vec![None];
    if wrong.kind != "extra_forbidden" {
        let taken = [json!({}), json!([]), json!(false), json!(0), json!(UUID), json!(DATE), json!("x")];
        values.extend(taken.map(Some));
        values.extend(wrong.words.first().map(|word| Some(json!(word))));
    }
    while let Some(value) = values.pop() {
        let mut tried = mended.clone();
        match (parents.iter().try_fold(&mut tried, |found, part| inside(found, part))?, last, value.clone()) {
            (Json::Object(fields), Json::String(name), Some(value)) => {
                drop(fields.insert(name.clone(), value));
            }
            (Json::Object(fields), Json::String(name), None) => {
                drop(fields.remove(name));
            }
            (found, last, Some(value)) => *inside(found, last)? = value,
            (_, _, None) => continue,
        }
        let next = Wrong::first::<T>(tried.to_string().as_bytes(), told);
        if next.as_ref().is_none_or(|next| next.is_apart_from(wrong)) {
            let is_text = wrong.input.is_string();
            let named = match value.as_ref().and_then(Json::as_str) {
                Some(DATE) if is_text => Some(("datetime_parsing", "Input should be a valid datetime")),
                Some(DATE) => Some(("datetime_type", "Input should be a valid datetime")),
                Some(UUID) if is_text => Some(("uuid_parsing", "Input should be a valid UUID")),
                Some(UUID) => Some(("uuid_type", "Input should be a valid UUID")),
                _ => None,
            };
            if let Some((kind, message)) = named.filter(|_| wrong.kind == "value_error") {
                (wrong.kind, wrong.message) = (kind, message.to_owned());
            }
            *mended = tried;
            return next;
        }
        // One of a few words was missing.
        let word = next.filter(|_| value == Some(json!("x"))).and_then(|next| next.words.into_iter().next());
        values.extend(word.map(|word| Some(json!(word))));
    }
    None
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

/// What it is called that a number is beyond what serde names so.
fn beyond(expected: &str, found: &Json) -> Option<(&'static str, String)> {
    let number = found.as_i64().map(i128::from).or_else(|| found.as_u64().map(i128::from))?;
    let (least, most): (i128, i128) = match expected {
        "i32" => (i32::MIN.into(), i32::MAX.into()),
        "i64" => (i64::MIN.into(), i64::MAX.into()),
        "u32" => (0, u32::MAX.into()),
        "u64" => (0, u64::MAX.into()),
        _ => return None,
    };
    Some(match number < least {
        true => ("greater_than_equal", format!("Input should be greater than or equal to {least}")),
        false => ("less_than_equal", format!("Input should be less than or equal to {most}")),
    })
}

/// `'a', 'b' or 'c'`.
fn one_of(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    match &words[..] {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        words => words.concat(),
    }
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
    match body.len() > TOLD_BACK {
        true => Json::Null,
        false => at(&serde_json::from_slice(body).unwrap_or_default(), place),
    }
}

/// What a document has at a place; null where that is nothing.
fn at(document: &Json, place: &[Json]) -> Json {
    let found = place.iter().try_fold(document, |found, part| match part {
        Json::String(name) => found.get(name),
        part => found.get(usize::try_from(part.as_u64()?).ok()?),
    });
    found.cloned().unwrap_or_default()
}

/// The same, to change it.
fn inside<'a>(document: &'a mut Json, part: &Json) -> Option<&'a mut Json> {
    match part {
        Json::String(name) => document.get_mut(name),
        part => document.get_mut(usize::try_from(part.as_u64()?).ok()?),
    }
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

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only what is wrong about it matters")]
    struct Many {
        name: String,
        state: State,
        first: State,
        id: uuid::Uuid,
        at: Option<jiff::Timestamp>,
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Running,
        Failed,
        Success,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "state", rename_all = "lowercase")]
    #[expect(dead_code, reason = "only what is wrong about it matters")]
    enum Tagged {
        Running { pid: u32 },
    }

    /// What a refusal of a body for a type tells first.
    async fn told<T: DeserializeOwned>(body: &'static str) -> Json {
        listed::<T>(body).await[0].clone()
    }

    /// All that it tells.
    async fn listed<T: DeserializeOwned>(body: &'static str) -> Json {
        let refusal = parsed::<T>(&Bytes::from(body)).err().unwrap().into_response();
        assert_eq!(refusal.status(), 422, "{body}");
        let told = to_bytes(refusal.into_body(), usize::MAX).await.unwrap();
        let told: Json = serde_json::from_slice(&told).unwrap();
        told["detail"].clone()
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
    async fn all_that_is_wrong_is_listed() {
        let told = listed::<Many>(
            r#"{"inner": [{"id": -1}, {}], "other": 1, "at": "noon", "id": "7", "state": "runs", "extra": {}}"#,
        );
        let told = told.await;
        let mut found: Vec<(String, &str, &str)> = Vec::new();
        for part in told.as_array().unwrap() {
            let place = part["loc"].as_array().unwrap()[1..].iter().map(ToString::to_string);
            let place = place.collect::<Vec<_>>().join(".").replace('"', "");
            found.push((place, part["type"].as_str().unwrap(), part["msg"].as_str().unwrap()));
        }
        found.sort();
        let of = |place: &str, kind, message| (place.to_owned(), kind, message);
        assert_eq!(
            found,
            [
                of("at", "datetime_parsing", "Input should be a valid datetime"),
                of("extra", "extra_forbidden", "Extra inputs are not permitted"),
                of("first", "missing", "Field required"),
                of("id", "uuid_parsing", "Input should be a valid UUID"),
                of("inner.0.id", "greater_than_equal", "Input should be greater than or equal to 0"),
                of("inner.1.id", "missing", "Field required"),
                of("name", "missing", "Field required"),
                of("other", "extra_forbidden", "Extra inputs are not permitted"),
                of("state", "enum", "Input should be 'running', 'failed' or 'success'"),
            ]
        );
        let missing = told.as_array().unwrap().iter().find(|part| part["loc"][1] == "name").unwrap();
        assert_eq!(missing["input"]["at"], "noon", "what was sent is told back, not what mends it");
    }

    #[tokio::test]
    async fn what_cannot_be_mended_ends_the_list() {
        let told = listed::<Tagged>(r#"{"pid": "x"}"#).await;
        assert_eq!(
            (told.as_array().unwrap().len(), &told[0]["loc"]),
            (1, &json!(["body", "state"])),
            "{told}"
        );
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
                "less_than_equal",
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
