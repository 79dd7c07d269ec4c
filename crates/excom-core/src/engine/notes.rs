//! Notes of task instances: what is kept about them beside their XComs and states, under names. One of them is what the
//! fields of a task's operator were rendered to.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Engine;
use crate::attempt::{Attempt, Caller};
use crate::db::{Note, RENDERED};
use crate::value::secret::REDACTED;
use crate::{Error, ErrorKind, Result, TaskInstanceKey, Value};

/// The most bytes of a field that are kept.
const FIELD_LIMIT: usize = 4 << 10;

/// The most bytes of a note.
const NOTE_LIMIT: usize = 1 << 20;

/// The most characters of a note's name.
const NAME_LIMIT: usize = 512;

/// What the fields of an attempt's operator were rendered to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rendered {
    /// The attempt's place among the task instance's attempts, from 1.
    pub number: u32,
    /// Names and values, in the order of the fields.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<(String, serde_json::Value)>"))]
    pub fields: Vec<(String, Value)>,
}

impl Engine {
    /// Writes an attempt's note in place of the one of that name, or removes it. Notes are of the task instance: they
    /// outlive the attempt.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] for a name that is empty or longer than 512 characters, [`ErrorKind::TooLarge`] over
    /// 1 MiB, [`ErrorKind::InvalidValue`] for a secret; [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`]; when the
    /// database cannot be written.
    pub async fn note(&self, attempt: &Attempt, name: &str, value: Option<&Value>) -> Result<()> {
        may_note(name, value)?;
        self.0.db.note(attempt, name, value, self.0.clock.now()).await
    }

    /// The same, unless this very attempt has a note of that name. Returns the one that is there then.
    ///
    /// # Errors
    /// As [`Engine::note`].
    pub async fn note_once(&self, attempt: &Attempt, name: &str, value: &Value) -> Result<Value> {
        may_note(name, Some(value))?;
        self.0.db.note_once(attempt, name, value, self.0.clock.now()).await
    }

    /// The notes of a task instance whose names begin with a prefix, in order of their names, at most so many. One whose
    /// name is the prefix is the first.
    ///
    /// # Errors
    /// When the database cannot be read; [`ErrorKind::Forbidden`] when the caller may not read what the task pushed.
    pub async fn notes(
        &self,
        caller: &Caller,
        ti: &TaskInstanceKey,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<Note>> {
        self.may_look(caller, &ti.return_value()).await?;
        self.0.db.notes(ti, prefix, limit).await
    }

    /// Keeps what the fields of an attempt's operator were rendered to. Of a field over 4 KiB the
    /// beginning is kept, as text that ends with the size of the whole; of a secret, `***`.
    ///
    /// # Errors
    /// As [`Engine::note`].
    pub async fn note_rendered(&self, attempt: &Attempt, fields: &[(String, Value)]) -> Result<()> {
        let bounded = fields.iter().map(|(name, value)| Ok((name.clone(), bounded(value)?)));
        let bounded: Vec<(String, Value)> = bounded.collect::<Result<_>>()?;
        self.note(attempt, RENDERED, Some(&packed(&bounded)?)).await
    }

    /// The rendered fields of the newest attempt for which some were kept.
    ///
    /// # Errors
    /// As [`Engine::notes`].
    pub async fn rendered(&self, caller: &Caller, ti: &TaskInstanceKey) -> Result<Option<Rendered>> {
        let found = self.notes(caller, ti, RENDERED, 1).await?;
        found.iter().find(|note| &*note.name == RENDERED).map(unpacked).transpose()
    }
}

fn may_note(name: &str, value: Option<&Value>) -> Result<()> {
    if name.is_empty() || name.contains('\0') || name.chars().count() > NAME_LIMIT {
        let message = format!("a note cannot have the name {name:?}; nothing was written");
        let hint = format!("take 1 to {NAME_LIMIT} characters without NUL");
        return Err(Error::new(ErrorKind::InvalidName, message).hint(hint));
    }
    let Some(value) = value else { return Ok(()) };
    if value.is_secret() {
        let message =
            format!("the note `{name}` is a secret, and notes are not encrypted; nothing was written");
        return Err(Error::new(ErrorKind::InvalidValue, message).hint("push it as a secret XCom"));
    }
    let size = value.bytes().len();
    if size > NOTE_LIMIT {
        let message = format!(
            "the note `{name}` has {size} bytes, and one has at most {NOTE_LIMIT}; nothing was written"
        );
        return Err(
            Error::new(ErrorKind::TooLarge, message).hint("push it as an XCom, and keep its key in the note")
        );
    }
    Ok(())
}

/// Fields as their note: a list of names and values, in their order.
fn packed(fields: &[(String, Value)]) -> Result<Value> {
    let pairs = fields.iter().map(|(name, value)| {
        let name = serde_json::Value::from(name.as_str());
        format!("[{name},{}]", value.as_str())
    });
    Value::parse(format!("[{}]", pairs.collect::<Vec<_>>().join(",")))
}

fn unpacked(note: &Note) -> Result<Rendered> {
    let fields: Vec<(String, Box<RawValue>)> =
        serde_json::from_str(note.value.as_str()).map_err(|cause| {
            Error::new(ErrorKind::Corrupt, "the note of rendered fields is no list of names and values")
                .because(cause)
        })?;
    let fields =
        fields.into_iter().map(|(name, raw)| Ok((name, Value::parse(String::from(Box::<str>::from(raw)))?)));
    Ok(Rendered { number: note.number, fields: fields.collect::<Result<_>>()? })
}

fn bounded(value: &Value) -> Result<Value> {
    if value.is_secret() {
        return Value::of(REDACTED);
    }
    if value.bytes().len() <= FIELD_LIMIT {
        return Ok(value.clone());
    }
    // Text is cut as text, everything else as the JSON that it is.
    let text = value.get::<String>().unwrap_or_else(|_| value.as_str().to_owned());
    let kept = text.floor_char_boundary(FIELD_LIMIT.min(text.len()));
    Value::of(&format!("{}… ({} bytes)", &text[..kept], text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_fields_are_cut_at_a_character() {
        let short = Value::of(&"x".repeat(4000)).unwrap();
        assert_eq!(bounded(&short).unwrap(), short);
        let long: String = bounded(&Value::of(&"é".repeat(5000)).unwrap()).unwrap().get().unwrap();
        assert_eq!(long, format!("{}… (10000 bytes)", "é".repeat(2048)));
        let odd: String =
            bounded(&Value::of(&format!("x{}", "é".repeat(5000))).unwrap()).unwrap().get().unwrap();
        assert_eq!(odd, format!("x{}… (10001 bytes)", "é".repeat(2047)));
        assert_eq!(bounded(&Value::of("hunter2").unwrap().into_secret()).unwrap(), Value::of("***").unwrap());
        let list = Value::of(&vec![1; 5000]).unwrap();
        let text: String = bounded(&list).unwrap().get().unwrap();
        assert!(text.starts_with("[1,1,") && text.ends_with("… (10001 bytes)"), "{text}");
    }
}
