//! Parts of a value, by a JSONPath (RFC 9535) such as `$.rows[0:5].id`.
//!
//! What a path may cost is bounded before it is followed: how it is written bounds how often a part of the value is
//! come by, and the value's size bounds the parts.

use std::io::{self, Write};

use axum::extract::State;
use axum::http::StatusCode;
use excom_core::{PullOptions, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use serde_json_path::JsonPath;
use tokio::task::spawn_blocking;

use super::LARGEST_LOOKED_INTO;
use super::names::OfXCom;
use super::openapi::Reply;
use crate::app::App;
use crate::auth::Asking;
use crate::refusal::Refusal;
use crate::request::{Path, Query};

/// The most bytes of a path.
const LONGEST: usize = 1000;

/// The most times that selectors beside each other may multiply what is found.
const WIDEST: usize = 16;

/// Where to look.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// A JSONPath, such as `$.rows[0:5].id`: with at most one `..` and one filter, without `match` and `search`.
    #[schemars(length(min = 1, max = 1000), example = "$.rows[0:5].id")]
    path: String,
}

/// What a path leads to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Parts {
    /// In the order of the value; none when the path leads nowhere. Numbers are told as 64 bits hold them.
    #[schemars(with = "Vec<Json>")]
    values: Box<RawValue>,
}

pub(super) async fn query(
    State(app): State<App>,
    asking: Asking,
    Path(xcom): Path<OfXCom>,
    Query(Which { path }): Query<Which>,
) -> Result<Reply<Parts>, Refusal> {
    let key = xcom.key()?;
    bounded(&path).map_err(|why| unfit(&path, &why))?;
    let parsed = JsonPath::parse(&path).map_err(|error| unfit(&path, &error.to_string()))?;
    // A permit is never refused: nobody closes them.
    let turn = app.own.looks.clone().acquire_owned().await;
    let (key, mut bytes) = (std::slice::from_ref(&key), LARGEST_LOOKED_INTO);
    let options = PullOptions::default();
    let answer = app.engine.pull_within(&asking.caller, key, options, &mut bytes).await?.pop();
    let Some(answer) = answer else { return Err(Refusal::not_found("there is no answer")) };
    app.metrics.answered(&answer);
    if answer.found().is_none() {
        return Err(Refusal::of_answer(&answer));
    }
    let (value, most) = (answer.value()?, app.options.body_limit);
    let found = spawn_blocking(move || {
        let found = follow(&value, &parsed, most);
        drop(turn);
        found
    });
    let stopped =
        |_| Refusal::plain(StatusCode::INTERNAL_SERVER_ERROR, "the path was not followed to its end");
    Ok(Reply::ok(Parts { values: found.await.map_err(stopped)?? }))
}

fn unfit(path: &str, why: &str) -> Refusal {
    Refusal::unprocessable("value_error", &["query", "path"], why, path)
}

/// What a path leads to, as a JSON list of no more than so many bytes.
fn follow(value: &Value, path: &JsonPath, most: u64) -> Result<Box<RawValue>, Refusal> {
    let unreadable = |error: serde_json::Error| {
        let message = format!("the value cannot be looked into: {error}");
        Refusal::because(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", message)
            .with("hints", vec!["take it whole from /values"])
    };
    let tree: Json = serde_json::from_slice(value.bytes()).map_err(unreadable)?;
    let mut text = Bounded { text: Vec::new(), left: usize::try_from(most).unwrap_or(usize::MAX) };
    let too_large = |_| {
        let message = format!("the path leads to over {most} bytes");
        Refusal::because(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    serde_json::to_writer(&mut text, &path.query(&tree).all()).map_err(too_large)?;
    let text = String::from_utf8_lossy(&text.text).into_owned();
    RawValue::from_string(text).map_err(unreadable)
}

/// A text that grows to a bound.
struct Bounded {
    text: Vec<u8>,
    left: usize,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(piece.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.text.write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a path comes by each part of a value only so often.
fn bounded(path: &str) -> Result<(), String> {
    if path.len() > LONGEST {
        return Err(format!("the path has over {LONGEST} bytes"));
    }
    let (mut roots, mut descents, mut filters, mut compared) = (0, 0, 0, 0);
    // How many selectors are beside each other, in brackets that are open, and multiplied, in those that are closed.
    let (mut open, mut ways) = (Vec::new(), 1_usize);
    let (mut quote, mut before) = (None, ' ');
    for letter in path.chars() {
        match quote {
            Some(_) if before == '\\' => before = ' ',
            Some(begun) => {
                before = letter;
                quote = quote.filter(|_| letter != begun);
            }
            None => {
                match letter {
                    '\'' | '"' => quote = Some(letter),
                    '$' => roots += 1,
                    '?' => filters += 1,
                    '@' => compared += 1,
                    '.' if before == '.' => descents += 1,
                    '[' => open.push(1),
                    ',' => open.iter_mut().for_each(|selectors| *selectors += 1),
                    ']' => ways = ways.saturating_mul(open.pop().unwrap_or(1)),
                    _ => {}
                }
                before = if quote.is_some() { ' ' } else { letter };
            }
        }
    }
    for (found, most, what) in [
        (roots, 1, "`$`, which stands at the beginning only"),
        (descents, 1, "`..`"),
        (filters, 1, "filter"),
        (compared, 4, "`@`"),
        (ways, WIDEST, "selectors beside each other"),
    ] {
        if found > most {
            return Err(format!("the path has {found} {what}; the most here: {most}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_may_cost_much_is_refused() {
        for path in [
            "$.rows[0:5].id",
            "$..id",
            "$['a','b'][*]",
            "$.rows[?@.id > 3].id",
            "$['..$$??,,,[[']",
            "$[\"\\\"$$\"]",
        ] {
            assert_eq!(bounded(path), Ok(()), "{path}");
        }
        let wide = format!("${}", "[0,0]".repeat(5));
        let long = format!("${}", ".a".repeat(600));
        for path in
            ["$..a..b", "$[?$.a == 1]", "$[?@.a][?@.b]", "$[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", &wide, &long]
        {
            assert!(bounded(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_is_found_is_bounded() {
        let value = Value::parse(r#"{"rows": [{"id": 1}, {"id": 2.5}, {}]}"#).unwrap();
        let follow = |path: &str, most| follow(&value, &JsonPath::parse(path).unwrap(), most);
        assert_eq!(follow("$.rows[*].id", 100).unwrap().get(), "[1,2.5]");
        assert_eq!(follow("$.nothing", 100).unwrap().get(), "[]");
        assert!(follow("$..*", 10).is_err());
    }
}
