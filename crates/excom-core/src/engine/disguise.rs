//! Large values that are something else in disguise: a table as a list of dicts, a file as a string.
//!
//! They work, and they would be better off in a file or an object that a pointer names: other tools can
//! read it there, and a task can read a part of it. Only values over [`BOUND`] are looked at, and of
//! those only the beginning, so a push does not notice.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::json::{Scanner, Shape};

/// Smaller values are never looked at, in bytes.
pub(super) const BOUND: u64 = 256 << 10;

/// How much of a value is looked at, in bytes.
pub(super) const HEAD: usize = 8 << 10;

/// So many rows, or lines, must be alike before they count as a table.
const ALIKE: usize = 3;

/// So many lines in the beginning are a text file, and no message.
const LINES: usize = 24;

/// What a value looks like, from the beginning of its JSON text; none when it looks like a value.
pub(super) fn look(head: &[u8], size: u64, shape: Shape) -> Option<String> {
    if size <= BOUND {
        return None;
    }
    let head = head[..head.len().min(HEAD)].trim_ascii_start();
    match shape {
        Shape::List(rows) => {
            let columns = columns(head)?;
            Some(format!("a table of {rows} rows with {columns} columns each"))
        }
        Shape::String => file(&text(head)?),
        _ => None,
    }
}

/// How many names the dicts of a list have, when all in sight have the same.
fn columns(head: &[u8]) -> Option<usize> {
    let mut rest = head.strip_prefix(b"[")?;
    let mut first: Option<Names> = None;
    let mut rows = 0;
    loop {
        let mut elements = serde_json::Deserializer::from_slice(rest).into_iter::<Names>();
        match (elements.next(), &first) {
            (Some(Ok(names)), None) if !names.0.is_empty() => first = Some(names),
            (Some(Ok(names)), Some(known)) if names == *known => {}
            // The head ends in the middle of a row.
            (Some(Err(error)), Some(known)) if error.is_eof() => {
                return (rows >= ALIKE).then_some(known.0.len());
            }
            _ => return None,
        }
        rows += 1;
        let Some(behind) = rest[elements.byte_offset()..].trim_ascii_start().strip_prefix(b",") else {
            return first.filter(|_| rows >= ALIKE).map(|names| names.0.len());
        };
        rest = behind;
    }
}

/// The names of a dict, without what they stand for.
#[derive(PartialEq)]
struct Names(BTreeSet<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dict;
        impl<'de> Visitor<'de> for Dict {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dict")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = BTreeSet::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.insert(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Dict)
    }
}

/// The beginning of a string, from the beginning of its JSON text, which may stop in a character.
fn text(head: &[u8]) -> Option<String> {
    let head = match std::str::from_utf8(head) {
        Ok(head) => head,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
    };
    if let Ok(whole) = serde_json::from_str(head) {
        return Some(whole);
    }
    // The longest escape is a pair of surrogates with twelve bytes.
    (0..12)
        .filter_map(|less| head.get(..head.len().checked_sub(less)?))
        .find_map(|head| serde_json::from_str(&format!("{head}\"")).ok())
}

/// What kind of file a string is, if it is one.
fn file(text: &str) -> Option<String> {
    if let Some(kind) = text.strip_prefix("data:").and_then(|rest| rest.split_once(',')) {
        let kind = kind.0.trim_end_matches(";base64");
        return Some(format!("a `data:` URI ({})", if kind.is_empty() { "text/plain" } else { kind }));
    }
    if is_base64(text) {
        return Some("binary data in base64".to_owned());
    }
    if text.trim_start().starts_with(['{', '[']) && Scanner::new().feed(text.as_bytes()).is_ok() {
        return Some("a JSON document inside a string".to_owned());
    }
    if let Some(columns) = separated(text) {
        return Some(format!("a CSV file with {columns} columns"));
    }
    let start = text.trim_start();
    if ["<?xml", "<!doctype", "<!DOCTYPE", "<html", "<svg"].iter().any(|mark| start.starts_with(mark)) {
        return Some("an XML or HTML file".to_owned());
    }
    (text.lines().count() >= LINES).then(|| "a whole text file".to_owned())
}

fn is_base64(text: &str) -> bool {
    let bytes = || text.bytes().filter(|b| !matches!(b, b'\r' | b'\n'));
    let has = |is: fn(&u8) -> bool| bytes().any(|b| is(&b));
    // Text without spaces, or one letter repeated, has the same alphabet; bytes that mean something
    // have all of it.
    bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'='))
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_digit)
}

/// The number of columns when every line in sight has the same, apart by one of the usual signs.
fn separated(text: &str) -> Option<usize> {
    // The last line may be cut.
    let (lines, _) = text.rsplit_once('\n')?;
    if lines.lines().count() < ALIKE {
        return None;
    }
    [',', ';', '\t', '|'].into_iter().find_map(|separator| {
        let mut counts = lines.lines().map(|line| fields(line, separator));
        let first = counts.next()?;
        (first > 1 && counts.all(|count| count == first)).then_some(first)
    })
}

/// How many fields a line has; a separator between quotes is text.
fn fields(line: &str, separator: char) -> usize {
    let mut quoted = false;
    1 + line
        .chars()
        .filter(|c| {
            quoted ^= *c == '"';
            *c == separator && !quoted
        })
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Value;

    /// What a value would look like, were it large.
    fn seen(json: &serde_json::Value) -> Option<String> {
        let value = Value::of(json).unwrap();
        look(value.bytes(), BOUND + 1, value.shape())
    }

    fn string(text: &str) -> Option<String> {
        seen(&json!(text))
    }

    #[test]
    fn tables() {
        let rows: Vec<_> =
            (0..1000).map(|n| json!({"id": n, "name": format!("n{n}"), "tags": [n]})).collect();
        assert_eq!(seen(&json!(rows)).unwrap(), "a table of 1000 rows with 3 columns each");
        assert_eq!(seen(&json!(rows[..ALIKE])).unwrap(), "a table of 3 rows with 3 columns each");
        assert_eq!(seen(&json!(rows[..ALIKE - 1])), None);
        let mut mixed = rows.clone();
        mixed[1] = json!({"id": 1});
        assert_eq!(seen(&json!(mixed)), None);
        assert_eq!(seen(&json!([{}, {}, {}, {}])), None);
        assert_eq!(seen(&json!([[1, 2], [3, 4], [5, 6]])), None);
        assert_eq!(seen(&json!({"rows": rows})), None);
    }

    #[test]
    fn files() {
        assert_eq!(string("data:image/png;base64,iVBORw0KGgo").unwrap(), "a `data:` URI (image/png)");
        let bytes = "iVBORw0KGgoAAAANSUhEUgAA/8A+".repeat(400);
        assert_eq!(string(&bytes).unwrap(), "binary data in base64");
        let wrapped: Vec<&str> =
            bytes.as_bytes().chunks(76).map(|c| std::str::from_utf8(c).unwrap()).collect();
        assert_eq!(string(&wrapped.join("\n")).unwrap(), "binary data in base64");
        let line = "2026-11-21,\"Paris, France\",21.5\n";
        assert_eq!(string(&line.repeat(900)).unwrap(), "a CSV file with 3 columns");
        assert_eq!(string(&line.replace(',', "\t").repeat(4)).unwrap(), "a CSV file with 3 columns");
        let document = format!("[{}1]", "{\"a\": \"é\\n\"}, ".repeat(900));
        assert_eq!(string(&document).unwrap(), "a JSON document inside a string");
        assert_eq!(string("<?xml version=\"1.0\"?><a/>").unwrap(), "an XML or HTML file");
        assert_eq!(
            string(&"Starting: the thing, again\nand so on\n".repeat(300)).unwrap(),
            "a whole text file"
        );
    }

    #[test]
    fn what_looks_like_a_value_is_one() {
        assert_eq!(string(&"x".repeat(9000)), None);
        assert_eq!(string(&"A sentence, with words; and so on. ".repeat(900)), None);
        assert_eq!(string("one\ntwo\nthree, perhaps\n"), None);
        assert_eq!(string(&"[not JSON] ".repeat(900)), None);
        assert_eq!(seen(&json!(vec![1.5; 900])), None);
    }

    #[test]
    fn small_values_are_not_looked_at() {
        let rows = Value::of(&vec![json!({"id": 1}); 100]).unwrap();
        assert_eq!(look(rows.bytes(), BOUND, rows.shape()), None);
        assert!(look(rows.bytes(), BOUND + 1, rows.shape()).is_some());
    }

    proptest! {
        /// A head may stop anywhere, also within an escape, and be of anything.
        #[test]
        fn heads_stop_anywhere(text in "[\u{0}-é\u{1F600}\"\\\\\n{}\\[,]{0,60}", cut in 0usize..300) {
            for json in [json!(text), json!([{"a": text}, {"a": text}, {"a": text}])] {
                let value = Value::of(&json).unwrap();
                let head = &value.bytes()[..cut.min(value.bytes().len())];
                look(head, BOUND + 1, value.shape());
                look(head, BOUND + 1, Shape::List(3));
                look(head, BOUND + 1, Shape::String);
            }
        }
    }
}
