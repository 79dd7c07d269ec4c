//! The shape of what a pull returns: a bare value or a list, with null or the default in the gaps.

use excom_core::engine::TaskAnswer;
use excom_core::{Answer, Result, Shape, Value};

/// One place of a result.
#[derive(Debug)]
pub(super) enum Element {
    /// An answer.
    Answer(Answer),
    /// A mapped task instance that pushed nothing.
    Gap,
}

/// The most gaps that a list is filled up with. More is no mapped task but a slip, or an attack on memory.
const GAPS: u64 = 1_000_000;

/// What one task gives: one place, or one for each map index.
///
/// # Errors
/// When a list would be almost all gaps.
pub(super) fn elements(answer: TaskAnswer) -> Result<Vec<Element>> {
    Ok(match answer {
        TaskAnswer::Single(answer) => vec![Element::Answer(answer)],
        TaskAnswer::Mapped { items, length } => {
            if length.saturating_sub(items.len() as u64) > GAPS {
                return Err(crate::error::invalid(format!(
                    "the mapped task has map indexes up to {}, but only {} values; a list of them would be \
                     almost all gaps",
                    length - 1,
                    items.len()
                ))
                .hint("name the indexes to pull with map_indexes"));
            }
            let length = usize::try_from(length).unwrap_or(0);
            let mut elements: Vec<Element> = Vec::with_capacity(length);
            for (map_index, answer) in items {
                let place = usize::try_from(map_index).unwrap_or(0);
                while elements.len() < place {
                    elements.push(Element::Gap);
                }
                elements.push(Element::Answer(answer));
            }
            while elements.len() < length {
                elements.push(Element::Gap);
            }
            elements
        }
        // A kind of answer that this version does not know has nothing to show.
        _ => Vec::new(),
    })
}

/// The elements as one value, and the first answer that has none.
pub(super) fn of(
    elements: Vec<Element>,
    bare: bool,
    default: Option<&Value>,
) -> Result<(Value, Option<Answer>)> {
    let mut missing = None;
    let mut value = |element: Element| -> Result<Value> {
        let found = match element {
            Element::Gap => None,
            Element::Answer(answer) => {
                if answer.found().is_none() && default.is_none() {
                    missing.get_or_insert_with(|| answer.clone());
                }
                answer.or_none()?
            }
        };
        Ok(found.or_else(|| default.cloned()).unwrap_or_else(Value::null))
    };
    if bare {
        let value = elements.into_iter().next().map_or_else(|| Ok(Value::null()), value)?;
        return Ok((value, missing));
    }
    let length = elements.len() as u64;
    let (mut text, mut secret) = (vec![b'['], false);
    for (place, element) in elements.into_iter().enumerate() {
        if place > 0 {
            text.push(b',');
        }
        let value = value(element)?;
        text.extend_from_slice(value.bytes());
        secret |= value.is_secret();
    }
    text.push(b']');
    // Each part was validated when it was pushed.
    Ok((Value::trusted(text.into(), Shape::List(length)).secret_if(secret), missing))
}
