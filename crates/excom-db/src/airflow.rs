//! What is the same beside Airflow's tables in every database: the text of a value in Airflow's column, Airflow's words for
//! states, and what is refused because it is Airflow's.
//!
//! `jsonb` keeps what a value means to a database and not its text: spaces go, keys are put in order, of a key that
//! comes twice the last stays, numbers are written another way. Airflow reads what is in its column; Excom gives back
//! the text that was pushed. A text that `jsonb` gives back as it was, but for spaces, is stored once; any other is kept
//! beside Airflow's row as well.

use std::borrow::Cow;

use excom_core::attempt::TaskState;
use excom_core::db::Push;
use excom_core::entry::{Entry, Stored, Writer};
use excom_core::json::Scanner;
use excom_core::run::RunState;
use excom_core::seal::Reference;
use excom_core::value::ContentHash;
use excom_core::{Error, ErrorKind, Result, Shape, Value, Version, XComKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::packing::Packed;

/// The code of a value whose text is that of Airflow's column. Others are those of [`Codec`](crate::packing::Codec).
pub(crate) const JSONB: i16 = 4;

/// Where a number is as long as this, `jsonb` may write it another way.
#[cfg(feature = "postgres")]
const LONGEST_NUMBER: usize = 300;

/// The first millisecond of versions.
const EPOCH: i64 = 1_577_836_800_000;

/// A push as Airflow's row and ours hold it.
pub(crate) struct Row {
    /// What Airflow reads.
    pub(crate) value: String,
    pub(crate) head: String,
    pub(crate) codec: i16,
    pub(crate) body: Vec<u8>,
}

impl Row {
    /// The row of a push, and whether a text comes back from Airflow's column as it is.
    pub(crate) fn of(push: &Push, is_stable: impl Fn(&[u8]) -> bool) -> Self {
        let packed = Packed::push(push, None);
        let value = match &push.stored {
            Stored::Inline(value) => value.as_str().to_owned(),
            Stored::Offloaded(reference) => {
                let preview = if push.secret { "" } else { &push.preview };
                in_place(push.version, push.size, push.hash, push.secret, preview, reference)
            }
        };
        match &push.stored {
            Stored::Inline(inline) if is_stable(inline.bytes()) => {
                Self { value, head: packed.head, codec: JSONB, body: Vec::new() }
            }
            _ => Self { value, head: packed.head, codec: packed.codec as i16, body: packed.body.to_vec() },
        }
    }
}

/// What Airflow's column has in the place of a value that is elsewhere, so that who looks there sees what it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(rename = "$excom")]
    format: Cow<'a, str>,
    pub(crate) version: Version,
    pub(crate) size: u64,
    /// The checksum, 16 hex digits.
    hash: Cow<'a, str>,
    pub(crate) secret: bool,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    preview: Cow<'a, str>,
    #[serde(flatten)]
    pub(crate) reference: Cow<'a, Reference>,
}

const REFERENCE: &str = "reference-1";

impl Envelope<'_> {
    /// What kind of value it is, as its beginning tells. How long it is, is not known.
    pub(crate) fn shape(&self) -> Shape {
        match self.preview.as_bytes().first() {
            Some(b'{') => Shape::Dict(0),
            Some(b'[') => Shape::List(0),
            Some(b't' | b'f') => Shape::Bool,
            Some(b'n') => Shape::Null,
            Some(b'-' | b'0'..=b'9') => Shape::Number,
            _ => Shape::String,
        }
    }

    pub(crate) fn hash(&self) -> ContentHash {
        ContentHash(u64::from_str_radix(&self.hash, 16).unwrap_or(0))
    }
}

/// What stands in Airflow's column for a value that is elsewhere.
pub(crate) fn in_place(
    version: Version,
    size: u64,
    hash: ContentHash,
    secret: bool,
    preview: &str,
    reference: &Reference,
) -> String {
    let envelope = Envelope {
        format: REFERENCE.into(),
        version,
        size,
        hash: format!("{:016x}", hash.0).into(),
        secret,
        preview: preview.into(),
        reference: Cow::Borrowed(reference),
    };
    serde_json::to_string(&envelope).unwrap_or_default()
}

/// The envelope that a row written by something else holds: not the one of the version that Excom pushed there.
pub(crate) fn envelope(text: &str) -> Option<Envelope<'static>> {
    if !text.contains("\"$excom\"") {
        return None;
    }
    let envelope: Envelope<'static> = serde_json::from_str(text).ok()?;
    (envelope.format == REFERENCE).then_some(envelope)
}

/// The text of a `jsonb` without the spaces that the server puts behind colons and commas.
pub(crate) fn compact(text: &str) -> String {
    let mut compact = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        // Outside of strings up to the next quote, then the string itself.
        let (outside, inside) = rest.split_at(rest.find('"').unwrap_or(rest.len()));
        compact.extend(outside.split(' '));
        if inside.is_empty() {
            return compact;
        }
        let end = end_of_string(inside.as_bytes());
        compact.push_str(&inside[..end]);
        rest = &inside[end..];
    }
}

/// How long the string is that a text begins with, with its quotes.
fn end_of_string(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// The value that a JSON string holds as text, if it is a list, a dict or a string: so Airflow's server stores what it
/// pushes itself, and so its own models read it.
pub(crate) fn inner(text: &str) -> Option<String> {
    if !text.starts_with("\"[") && !text.starts_with("\"{") && !text.starts_with("\"\\\"") {
        return None;
    }
    let inner: String = serde_json::from_str(text).ok()?;
    serde_json::from_str::<Box<RawValue>>(&inner).ok()?;
    Some(inner)
}

/// Whether `jsonb` gives a JSON text back as it is, but for spaces. Some that it does are told as others.
#[cfg(feature = "postgres")]
pub(crate) fn is_stable(text: &[u8]) -> bool {
    // For each dict that is open its last key; none for a list.
    let mut open: Vec<Option<&[u8]>> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'[' => open.push(None),
            b'{' => open.push(Some(b"")),
            b']' | b'}' => drop(open.pop()),
            b',' | b':' => {}
            b'"' => {
                let end = at + end_of_string(&text[at..]);
                let string = &text[at..end];
                if !is_plain(string) {
                    return false;
                }
                if text.get(end) == Some(&b':')
                    && let Some(Some(last)) = open.last_mut()
                {
                    // Keys are in order of their length, then of their bytes, without escapes.
                    if string.contains(&b'\\') || (string.len(), string) <= (last.len(), *last) {
                        return false;
                    }
                    *last = string;
                }
                at = end;
                continue;
            }
            b't' | b'n' => at += 3,
            b'f' => at += 4,
            b'-' | b'0'..=b'9' => {
                let length = text[at..].iter().take_while(|byte| !b",]} \t\r\n".contains(byte)).count();
                let number = &text[at..at + length];
                let digits = number.strip_prefix(b"-").unwrap_or(number);
                let is_zero = digits.iter().all(|byte| matches!(byte, b'0' | b'.'));
                let exponent = number.iter().any(|byte| matches!(byte, b'e' | b'E'));
                if exponent || number.len() > LONGEST_NUMBER || (is_zero && digits.len() < number.len()) {
                    return false;
                }
                at += length;
                continue;
            }
            // A space, which is not given back, or what is no JSON.
            _ => return false,
        }
        at += 1;
    }
    true
}

/// Whether a string has only such escapes as the server writes itself.
#[cfg(feature = "postgres")]
fn is_plain(string: &[u8]) -> bool {
    let mut bytes = string.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && !matches!(bytes.next(), Some(b'"' | b'\\' | b'n' | b'r' | b't' | b'b' | b'f')) {
            return false;
        }
        if *byte == 0x7f {
            return false;
        }
    }
    true
}

/// An entry that something else wrote: all there is to know is in its value. A version in the history that has no bytes
/// any more has nothing.
pub(crate) fn outside(noted: Version, found: Option<&str>) -> Result<Entry> {
    if let Some(envelope) = found.and_then(envelope) {
        return Ok(Entry {
            version: envelope.version,
            writer: Writer::Outside,
            size: envelope.size,
            hash: envelope.hash(),
            shape: envelope.shape(),
            secret: envelope.secret,
            stored: Stored::Offloaded(envelope.reference.into_owned()),
        });
    }
    bare(noted, found.unwrap_or("null"))
}

/// The same, where what looks like a reference is kept as the text that it is.
pub(crate) fn bare(noted: Version, found: &str) -> Result<Entry> {
    let text = compact(found);
    let text = inner(&text).unwrap_or(text);
    let shape = Scanner::scan(text.as_bytes())?;
    Ok(Entry {
        version: noted,
        writer: Writer::Outside,
        size: text.len() as u64,
        hash: ContentHash::of(text.as_bytes()),
        shape,
        secret: false,
        stored: Stored::Inline(Value::trusted(text.into(), shape)),
    })
}

/// A state in Airflow's words. One that Airflow has not set yet waits for what it depends on; one that it says and we do
/// not know is on its way.
pub(crate) fn state(name: Option<&str>) -> TaskState {
    match name {
        None => TaskState::Scheduled,
        Some("restarting" | "awaiting_input") => TaskState::Running,
        Some(name) => {
            TaskState::ALL.into_iter().find(|state| state.name() == name).unwrap_or(TaskState::Running)
        }
    }
}

/// The state of a run in Airflow's words; none while it is queued.
pub(crate) fn run_state(name: Option<&str>) -> Option<RunState> {
    RunState::ALL.into_iter().find(|state| Some(state.name()) == name)
}

/// The microsecond at which Airflow's row says that a version was pushed. Some of its random bits are in it, so that
/// hardly any two pushes have the same.
pub(crate) fn pushed(version: Version) -> i64 {
    version.time().as_microsecond() + version.to_code() % 1000
}

/// The version of a row that something else wrote: its time, in microseconds. None for a time that is none.
pub(crate) fn written(micros: i64) -> Option<Version> {
    Version::from_code(((micros.div_euclid(1000) - EPOCH).max(0) << 22) | (micros.rem_euclid(1000) << 12))
}

/// The refusal of a push for which Airflow has no row.
pub(crate) fn no_task_instance(key: &XComKey, place: &str) -> Error {
    Error::new(
        ErrorKind::InvalidRequest,
        format!(
            "Airflow has no task instance {} in {place}, so it can have no XCom; nothing was written",
            key.ti
        ),
    )
    .hint("check DAG, run, task and map index; runs and task instances are made by Airflow alone")
}

/// What only Airflow may do with its runs and states, as methods of a `Tables` on its database that fail as its others.
macro_rules! airflows_alone {
    ($tables:ty, $failure:ty) => {
        impl $tables {
            /// A run that Airflow has is known; there is no other way to make one.
            pub(super) async fn register_run(
                &self,
                run: &excom_core::db::DagRun,
            ) -> std::result::Result<(), $failure> {
                match self.run_info(&run.dag_id, &run.run_id).await? {
                    Some(_) => Ok(()),
                    None => self.airflows(&format!("has no run {} of {}", run.run_id, run.dag_id)),
                }
            }

            pub(super) async fn start_run(
                &self,
                run: &excom_core::db::DagRun,
                _at: jiff::Timestamp,
            ) -> std::result::Result<(), $failure> {
                self.airflows(&format!("starts the runs of {}", run.dag_id))
            }

            pub(super) async fn begin_run(
                &self,
                run: &excom_core::db::DagRun,
                at: jiff::Timestamp,
            ) -> std::result::Result<bool, $failure> {
                self.start_run(run, at).await.map(|()| true)
            }

            pub(super) async fn set_run_state(
                &self,
                dag_id: &str,
                _run_id: &str,
                _state: excom_core::run::RunState,
                _at: jiff::Timestamp,
            ) -> std::result::Result<(), $failure> {
                self.airflows(&format!("tells how the runs of {dag_id} stand"))
            }

            pub(super) async fn set_states(
                &self,
                states: &[(excom_core::TaskInstanceKey, excom_core::attempt::TaskState)],
                _at: jiff::Timestamp,
            ) -> std::result::Result<(), $failure> {
                match states {
                    [] => Ok(()),
                    _ => self.airflows("sets the states of its task instances"),
                }
            }

            pub(super) async fn skip(
                &self,
                instances: &[excom_core::TaskInstanceKey],
                _at: jiff::Timestamp,
            ) -> std::result::Result<(), $failure> {
                match instances {
                    [] => Ok(()),
                    _ => self.airflows("sets the states of its task instances"),
                }
            }

            fn airflows(&self, what: &str) -> std::result::Result<(), $failure> {
                Err(crate::airflow::airflows(&self.place(), what).into())
            }
        }
    };
}
pub(crate) use airflows_alone;

/// What has no place in Airflow's tables lies in ours as in a database of Excom's own, and is asked there.
macro_rules! excoms_own {
    ($tables:ident) => {
        $crate::airflow::excoms_own! { $tables:
            fn mark(name: &str) -> Option<String>;
            fn set_mark(name: &str, value: &str) -> String;
            fn marks(prefix: &str) -> Vec<(String, String)>;
            fn take_turn(name: &str, at: Timestamp, every: Duration) -> bool;
            fn note_refusals(refusals: &[RefusalCount]) -> ();
            fn refusals(limit: u32) -> Vec<RefusalCount>;
            fn note_intent(object: &LooseObject) -> Pushed;
            fn claim_loose(before: Timestamp, at: Timestamp, limit: u32) -> Vec<LooseObject>;
            fn intents() -> Vec<LooseObject>;
            fn forget_loose(objects: &[LooseObject]) -> ();
            fn release_loose(objects: &[LooseObject]) -> ();
            fn knows_object(store: &str, object: &ObjectName, version: Version) -> bool;
            fn claim_orphan(object: &LooseObject) -> bool;
            fn history(key: &XComKey, limit: u32) -> Vec<PastEntry>;
            fn past(key: &XComKey, version: Version) -> Option<Entry>;
            fn readers(key: &XComKey) -> Vec<LedgerRow>;
            fn reads_of(ti: &TaskInstanceKey) -> Vec<LedgerRow>;
            fn pushed_by(ti: &TaskInstanceKey, number: u32) -> Vec<EntryInfo>;
            fn notes(ti: &TaskInstanceKey, prefix: &str, limit: u32) -> Vec<Note>;
            fn note_dag_version(dag_id: &str, version: &str, document: &Value, at: Timestamp) -> ();
            fn dag_versions(dag_id: &str, limit: u32) -> Vec<DagVersion>;
            fn dag_version(dag_id: &str, version: &str) -> Option<DagVersion>;
        }
    };
    ($tables:ident: $(fn $name:ident($($argument:ident: $type:ty),*) -> $made:ty;)*) => {
        impl $tables {
            $(pub(super) async fn $name(&self, $($argument: $type),*) -> Result<$made> {
                self.own.$name($($argument),*).await
            })*
        }
    };
}
pub(crate) use excoms_own;

/// The refusal of what only Airflow may do.
pub(crate) fn airflows(place: &str, what: &str) -> Error {
    let message = format!("the Airflow of {place} {what}; nothing was written");
    Error::new(ErrorKind::InvalidRequest, message)
        .hint("runs, task instances and their states are Airflow's: trigger the run there")
        .hint("to run DAGs without Airflow use a database of Excom's own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_go_outside_of_strings_only() {
        let text = r#"{"a b": [1, 2, "c, \" d: e"], "": {"x": null}}"#;
        assert_eq!(compact(text), r#"{"a b":[1,2,"c, \" d: e"],"":{"x":null}}"#);
        assert_eq!(compact("1"), "1");
        assert_eq!(compact(r#""\\""#), r#""\\""#);
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn what_jsonb_changes_is_known() {
        for stable in [
            "1",
            "-1.50",
            "0",
            "0.00",
            "true",
            "null",
            "\"é \\n \\\" \u{1F600}\"",
            "[]",
            "{}",
            "[[1,false],{}]",
            r#"{"":1,"a":{"b":1,"cc":2},"b":[{"x":1},{"x":2}],"aa":0}"#,
        ] {
            assert!(is_stable(stable.as_bytes()), "{stable}");
        }
        for changed in [
            "1e2",
            "-0",
            "-0.0",
            "[1, 2]",
            " 1",
            r#"{"b":1,"a":2}"#,
            r#"{"aa":1,"b":2}"#,
            r#"{"a":1,"a":2}"#,
            r#""\u0041""#,
            r#""\/""#,
            r#"[{"b":1,"a":2}]"#,
            r#"{"a":1,"\n":2}"#,
        ] {
            assert!(!is_stable(changed.as_bytes()), "{changed}");
        }
    }

    #[test]
    fn what_airflows_server_pushes_is_read() {
        assert_eq!(inner(r#""{\"a\": 1}""#).as_deref(), Some(r#"{"a": 1}"#));
        assert_eq!(inner(r#""\"abc\"""#).as_deref(), Some("\"abc\""));
        for plain in [r#""5""#, r#""{a""#, r#""abc""#, "[1]", r#""true""#] {
            assert_eq!(inner(plain), None, "{plain}");
        }
    }
}
