//! `excom xcom pull`: the value, or why there is none.

use std::future::poll_fn;

use clap::ArgMatches;
use excom::core::answer::Found;
use excom::core::engine::TaskAnswer;
use excom::core::entry::{Version, Writer};
use excom::{Answer, Error, Payload, PullOptions, Shape, Value, XComKey};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{concealed, no_value, raw, reveals};
use crate::context::Context;
use crate::door::Door;
use crate::identity;
use crate::output::Output;
use crate::stop::{NoValue, Stop};

/// What a pull found, as a document.
#[derive(Serialize)]
struct Document<'a> {
    answer: &'static str,
    key: &'a XComKey,
    version: Version,
    pushed_at: Timestamp,
    writer: &'a Writer,
    size: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
    value: Box<RawValue>,
}

/// An element of a mapped task's sequence, as part of a document.
#[derive(Serialize)]
struct Item {
    map_index: i32,
    value: Box<RawValue>,
}

/// How the value is wanted.
struct Wanted {
    key: XComKey,
    default: Option<Value>,
    options: PullOptions,
    raw: bool,
    /// Whether a secret is printed.
    reveal: bool,
}

impl Wanted {
    /// The value, unless it is a secret that is not to be printed.
    fn may_print<'a>(&self, key: &XComKey, value: &'a Value) -> Result<&'a Value, Stop> {
        if value.is_secret() && !self.reveal { Err(concealed(key)) } else { Ok(value) }
    }
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let caller = identity::caller(context.environment())?;
    let wanted = Wanted {
        key: identity::xcom(matches, context.environment())?,
        default: matches.get_one::<String>("default").map(|text| default(text)).transpose()?,
        options: PullOptions { include_prior_dates: matches.get_flag("include-prior-dates") },
        raw: matches.get_flag("raw"),
        reveal: reveals(&caller, matches),
    };
    let (door, empty) = context.looking()?;
    let pulled = if matches.get_flag("all") {
        all(&door, &wanted, output).await
    } else {
        one(&door, &wanted, output).await
    };
    door.close(output).await;
    match pulled? {
        None => Ok(()),
        Some(answer) => instead(answer, &wanted, empty, output),
    }
}

fn default(text: &str) -> Result<Value, Stop> {
    Value::parse(text.to_owned()).map_err(|error| {
        let usage = Stop::usage(format!("--default: {error}"));
        error.hints().iter().fold(usage, Stop::hint)
    })
}

/// Prints the value of one XCom. The answer comes back when there is none.
async fn one(door: &Door, wanted: &Wanted, output: &mut Output) -> Result<Option<Answer>, Stop> {
    let key = &wanted.key;
    // Only a value that is printed as it is needs not be held in memory.
    if !output.json() && !wanted.raw && !wanted.options.include_prior_dates {
        return match door.open(key).await? {
            Ok(payload) => {
                if let Payload::Value(value) = &payload {
                    wanted.may_print(key, value)?;
                }
                copy(payload, key, output).await.map(|()| None)
            }
            Err(answer) => Ok(Some(answer)),
        };
    }
    let Some(answer) = door.pull(std::slice::from_ref(key), wanted.options).await?.pop() else {
        return Ok(None);
    };
    let Some(Found { value, version, writer }) = answer.found() else { return Ok(Some(answer)) };
    wanted.may_print(key, value)?;
    if output.json() {
        output.document(&Document {
            answer: answer.code(),
            key,
            version: *version,
            pushed_at: version.time(),
            writer,
            size: value.size(),
            secret: value.is_secret(),
            value: raw(value)?,
        })?;
    } else {
        print(value, wanted.raw, output)?;
    }
    Ok(None)
}

/// Prints what was opened. Damage that shows only on the way is told like any other, behind what is out already.
async fn copy(payload: Payload, key: &XComKey, output: &mut Output) -> Result<(), Stop> {
    let mut stream = payload.into_stream();
    while let Some(piece) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        let piece = piece.map_err(|error| {
            let told = Error::new(error.kind(), format!("{}: {key}: {error}", error.code()));
            told.hint("restore the object from a backup, or clear the task and run it again")
        })?;
        output.bytes(&piece)?;
    }
    output.bytes(b"\n")
}

fn print(value: &Value, raw: bool, output: &mut Output) -> Result<(), Stop> {
    if raw && value.shape() == Shape::String {
        output.line(&value.get::<String>()?)
    } else {
        output.line(value.as_str())
    }
}

/// Prints the values of all map indexes. One that is damaged or forbidden is the answer for all: an
/// object without it would pass for the whole.
async fn all(door: &Door, wanted: &Wanted, output: &mut Output) -> Result<Option<Answer>, Stop> {
    let sequence = wanted.key.sequence();
    let pulled = door.pull_tasks(std::slice::from_ref(&sequence), wanted.options).await?.pop();
    let (items, length) = match pulled {
        Some(TaskAnswer::Mapped { items, length }) => (items, length),
        Some(TaskAnswer::Single(answer)) => (vec![(excom::UNMAPPED, answer)], 1),
        _ => return Ok(None),
    };
    if items.is_empty() {
        // An empty object would not tell a misspelt key from a task that pushed nothing.
        let whole = sequence.at(excom::UNMAPPED);
        return Ok(door.pull(&[whole], wanted.options).await?.pop());
    }
    let mut values = Vec::with_capacity(items.len());
    for (map_index, answer) in items {
        match answer.found() {
            Some(found) => {
                let value = wanted.may_print(&sequence.at(map_index), &found.value)?;
                values.push((map_index, value.clone()));
            }
            None => return Ok(Some(answer)),
        }
    }
    if output.json() {
        let items: Result<Vec<Item>, Stop> = values
            .iter()
            .map(|(map_index, value)| Ok(Item { map_index: *map_index, value: raw(value)? }))
            .collect();
        let document = serde_json::json!({"answer": "found", "key": sequence, "length": length});
        return write_items(document, items?, output).map(|()| None);
    }
    for (i, (map_index, value)) in values.iter().enumerate() {
        let before = if i == 0 { "{" } else { ", " };
        output.bytes(format!("{before}\"{map_index}\": ").as_bytes())?;
        output.bytes(value.bytes())?;
    }
    output.bytes(if values.is_empty() { b"{}\n" } else { b"}\n" })?;
    Ok(None)
}

/// A tree cannot hold raw values, so they are joined to it while it is written.
fn write_items(document: serde_json::Value, items: Vec<Item>, output: &mut Output) -> Result<(), Stop> {
    #[derive(Serialize)]
    struct Sequence {
        #[serde(flatten)]
        document: serde_json::Value,
        items: Vec<Item>,
    }
    output.document(&Sequence { document, items })
}

/// What is printed when there is no value: the default where it may stand in, else the reason.
fn instead(answer: Answer, wanted: &Wanted, empty: Option<String>, output: &mut Output) -> Result<(), Stop> {
    let may_stand_in = matches!(
        answer,
        Answer::Missing(_) | Answer::NotYet(_) | Answer::Skipped(_) | Answer::Cleared(_) | Answer::Absent(_)
    );
    match &wanted.default {
        Some(default) if may_stand_in => {
            if !output.json() {
                return print(default, wanted.raw, output);
            }
            #[derive(Serialize)]
            struct Default {
                #[serde(flatten)]
                none: serde_json::Value,
                default: bool,
                value: Box<RawValue>,
            }
            let none = NoValue::from(answer).document();
            output.document(&Default { none, default: true, value: raw(default)? })
        }
        _ => Err(no_value(answer, empty)),
    }
}
