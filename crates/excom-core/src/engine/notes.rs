//! Rendered fields: what the fields of a task's operator were rendered to, kept to be looked at.

use super::Engine;
use crate::attempt::{Attempt, Caller};
use crate::db::Rendered;
use crate::value::secret::REDACTED;
use crate::{Result, TaskInstanceKey, Value};

/// The most bytes of a field that are kept.
const FIELD_LIMIT: usize = 4 << 10;

impl Engine {
    /// Keeps what the fields of an attempt's operator were rendered to. Of a field over 4 KiB the
    /// beginning is kept, as text that ends with the size of the whole; of a secret, `***`.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`](crate::ErrorKind::Superseded),
    /// [`ErrorKind::NotStarted`](crate::ErrorKind::NotStarted); when the database cannot be written.
    pub async fn note_rendered(&self, attempt: &Attempt, fields: &[(String, Value)]) -> Result<()> {
        let bounded = fields.iter().map(|(name, value)| Ok((name.clone(), bounded(value)?)));
        let bounded: Vec<(String, Value)> = bounded.collect::<Result<_>>()?;
        self.0.db.note_rendered(attempt, &bounded, self.0.clock.now()).await
    }

    /// The rendered fields of the newest attempt for which some were kept.
    ///
    /// # Errors
    /// When the database cannot be read; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) when the
    /// caller may not read what the task pushed.
    pub async fn rendered(&self, caller: &Caller, ti: &TaskInstanceKey) -> Result<Option<Rendered>> {
        self.may_look(caller, &ti.return_value()).await?;
        self.0.db.rendered(ti).await
    }
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
