//! JSON as Python's `json.dumps` writes it, with what is to be hidden hidden.

use excom_core::json::MAX_DEPTH;
use excom_core::python::json_text;
use serde_json::value::RawValue;

use super::parts::Parts;
use super::shown::{once, printed};

/// How deep names are followed into what is hidden; below that all of it is.
const DEEPEST: usize = 5;

/// What stands in the place of what is hidden.
const HIDDEN: &str = "\"***\"";

/// What is hidden of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Masking {
    None,
    /// What names in dicts say is to be.
    Under(fn(&str) -> bool),
    /// Everything but names, and what says nothing.
    All,
}

/// How JSON is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dump {
    /// Spaces for each level, which have lines then.
    pub(crate) indent: Option<usize>,
    pub(crate) masking: Masking,
}

/// `json.dumps` of a value, with an indent if there is one; none where a text in it is no Unicode, or it is deeper than
/// values may be.
pub(crate) fn dumped(raw: &RawValue, indent: Option<usize>) -> Option<String> {
    Dump { indent, masking: Masking::None }.text(raw)
}

impl Dump {
    pub(crate) fn text(self, raw: &RawValue) -> Option<String> {
        let mut out = String::with_capacity(raw.get().len());
        self.value(&mut out, raw, self.masking, 0)?;
        Some(out)
    }

    fn value(self, out: &mut String, raw: &RawValue, masking: Masking, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let hides = matches!(masking, Masking::All);
        if hides && depth > DEEPEST {
            out.push_str(HIDDEN);
            return Some(());
        }
        match Parts::of(raw)? {
            Parts::Scalar("null") => out.push_str("null"),
            Parts::Scalar(_) if hides => out.push_str(HIDDEN),
            Parts::Scalar(text) if text.starts_with('"') => {
                json_text(out, &serde_json::from_str::<String>(text).ok()?, true);
            }
            Parts::Scalar(text @ ("true" | "false")) => out.push_str(text),
            Parts::Scalar(number) => out.push_str(&match printed(number).as_str() {
                "inf" => "Infinity".to_owned(),
                "-inf" => "-Infinity".to_owned(),
                number => number.to_owned(),
            }),
            Parts::List(elements) => {
                out.push('[');
                for (n, element) in elements.iter().enumerate() {
                    self.between(out, n, depth);
                    self.value(out, element, masking, depth + 1)?;
                }
                self.end(out, elements.len(), depth);
                out.push(']');
            }
            Parts::Dict(entries) => {
                let entries = once(entries);
                out.push('{');
                for (n, (name, element)) in entries.iter().enumerate() {
                    self.between(out, n, depth);
                    json_text(out, name, true);
                    out.push_str(": ");
                    let below = match masking {
                        Masking::Under(is_hidden) if is_hidden(name) => Masking::All,
                        masking => masking,
                    };
                    self.value(out, element, below, depth + 1)?;
                }
                self.end(out, entries.len(), depth);
                out.push('}');
            }
        }
        Some(())
    }

    fn between(self, out: &mut String, before: usize, depth: usize) {
        out.push_str(match (before, self.indent) {
            (0, _) => "",
            (_, None) => ", ",
            (_, Some(_)) => ",",
        });
        self.line(out, depth + 1);
    }

    fn end(self, out: &mut String, elements: usize, depth: usize) {
        if elements > 0 {
            self.line(out, depth);
        }
    }

    fn line(self, out: &mut String, depth: usize) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        for (json, told) in [
            (
                r#"{"a":[1,2.0,1e3,-0,1e400,null,true],"b":{},"c":[]}"#,
                r#"{"a": [1, 2.0, 1000.0, 0, Infinity, null, true], "b": {}, "c": []}"#,
            ),
            (r#""é\u0000\u007f😀\"\\\/\b""#, r#""\u00e9\u0000\u007f\ud83d\ude00\"\\/\b""#),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a": 3, "b": 2}"#),
        ] {
            assert_eq!(dumped(&raw(json), None).unwrap(), told);
        }
        let lines = "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}";
        assert_eq!(dumped(&raw(r#"{"a": [1, {}], "b": []}"#), Some(2)).unwrap(), lines);
    }

    #[test]
    fn what_is_hidden_is_hidden_whatever_it_is() {
        let hides = |json: &str, masking| Dump { indent: None, masking }.text(&raw(json)).unwrap();
        let is_hidden: fn(&str) -> bool = |name| name == "token";
        let json = r#"{"a": {"token": ["x", 1, {"b": true, "c": null}]}, "d": ["token"]}"#;
        let told = r#"{"a": {"token": ["***", "***", {"b": "***", "c": null}]}, "d": ["token"]}"#;
        assert_eq!(hides(json, Masking::Under(is_hidden)), told);
        assert_eq!(hides("12345", Masking::All), "\"***\"");
        assert_eq!(hides("[[[[[[[1, 2]]]]]]]", Masking::All), "[[[[[[\"***\"]]]]]]");
    }
}
