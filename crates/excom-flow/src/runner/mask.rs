//! What a try knows of secrets, hidden in everything that is told of it.
//!
//! Only texts that are as they were pulled or pushed are found: what a task makes of a secret, such as its hash or
//! its letters in upper case, is text like any other.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use excom_core::value::secret::REDACTED;
use excom_core::{Shape, Value};
use serde_json::Value as Json;

use crate::outcome::Failure;

/// A text with fewer characters is found everywhere, and hiding it would tell more than it hides.
const SHORTEST: usize = 3;

/// A line of a longer text with fewer characters is not looked for by itself.
const SHORTEST_LINE: usize = 8;

/// The texts of the secrets of one try.
#[derive(Debug, Default)]
pub(super) struct Mask(Mutex<Vec<String>>);

impl Mask {
    /// Hides a value's text, and the texts in it, from now on; a value that is no secret is left alone.
    pub(super) fn learn(&self, value: &Value) {
        if !value.is_secret() || matches!(value.shape(), Shape::Null | Shape::Bool) {
            return;
        }
        let mut texts = vec![value.as_str().to_owned()];
        if let Ok(json) = value.get::<Json>() {
            leaves(&json, &mut texts);
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(texts.into_iter().filter(|text| text.chars().nth(SHORTEST - 1).is_some()));
        // The longest first, so that no part of one is hidden alone.
        known.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
    }

    /// A text without the secrets in it.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(Cow::Borrowed(text), |text, secret| match text.contains(secret.as_str()) {
            true => text.replace(secret.as_str(), REDACTED).into(),
            false => text,
        })
    }

    /// Where a text can be cut, at a place or before it, so that no part of a secret is left in front.
    pub(super) fn cut(&self, text: &str, mut place: usize) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A secret that begins before the place and ends behind it; several may overlap.
        let across = |secret: &String, place: usize| {
            let first = text.ceil_char_boundary((place + 1).saturating_sub(secret.len()));
            let end = text.floor_char_boundary(place + secret.len() - 1);
            text.get(first..end)?.find(secret.as_str()).map(|found| first + found)
        };
        while let Some(begin) = known.iter().filter_map(|secret| across(secret, place)).min() {
            place = begin;
        }
        place
    }

    /// A value without the secrets in its texts.
    pub(super) fn value(&self, value: &Value) -> Value {
        let nothing_known = self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if nothing_known || value.is_secret() {
            return value.clone();
        }
        let Ok(mut json) = value.get::<Json>() else { return value.clone() };
        if !self.json(&mut json) {
            return value.clone();
        }
        // What cannot be written without a secret is not shown at all.
        Value::of(&json).unwrap_or_else(|_| value.clone().into_secret())
    }

    /// Whether there was something to hide.
    fn json(&self, json: &mut Json) -> bool {
        match json {
            Json::String(text) => match self.text(text) {
                Cow::Borrowed(_) => false,
                Cow::Owned(masked) => {
                    *text = masked;
                    true
                }
            },
            Json::Array(items) => items.iter_mut().fold(false, |hidden, item| self.json(item) | hidden),
            Json::Object(entries) => {
                let mut hidden = false;
                let masked = std::mem::take(entries).into_iter().map(|(name, mut value)| {
                    hidden |= self.json(&mut value);
                    let masked = self.text(&name).into_owned();
                    hidden |= masked != name;
                    (masked, value)
                });
                *entries = masked.collect();
                hidden
            }
            other => {
                let hidden = matches!(self.text(&other.to_string()), Cow::Owned(_));
                if hidden {
                    *other = REDACTED.into();
                }
                hidden
            }
        }
    }

    /// A failure without the secrets in what it says.
    pub(super) fn failure(&self, failure: &mut Failure) {
        let texts = std::iter::once(&mut failure.message).chain(&mut failure.hints).chain(&mut failure.read);
        for text in texts {
            if let Cow::Owned(masked) = self.text(text) {
                *text = masked;
            }
        }
    }
}

/// The strings in a value, and the lines of those that have several: logs are told line by line.
fn leaves(json: &Json, texts: &mut Vec<String>) {
    match json {
        Json::String(text) => {
            let lines =
                text.lines().map(str::trim).filter(|line| line.chars().nth(SHORTEST_LINE - 1).is_some());
            texts.extend(lines.map(ToOwned::to_owned));
            texts.push(text.clone());
        }
        Json::Array(items) => items.iter().for_each(|item| leaves(item, texts)),
        Json::Object(entries) => entries.values().for_each(|value| leaves(value, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knowing(json: &str) -> Mask {
        let mask = Mask::default();
        mask.learn(&Value::parse(json.to_owned()).unwrap().into_secret());
        mask
    }

    #[test]
    fn texts_of_secrets_are_hidden_the_longest_first() {
        let mask = knowing(r#"{"user":"ana","password":"hunter2","more":["hunter22", 12345, "xy", true]}"#);
        assert_eq!(mask.text("hunter22 hunter2 ana xy true 12345"), "*** *** *** xy true 12345");
        assert!(matches!(mask.text("password"), Cow::Borrowed(_)));
        assert_eq!(knowing("4711").text("pin 4711"), "pin ***");
        assert_eq!(knowing("true").text("true"), "true");
        assert_eq!(knowing(r#""a\"b\\c""#).text(r#"{"k":"a\"b\\c"} a"b\c"#), r#"{"k":***} ***"#);
        let plain = Mask::default();
        plain.learn(&Value::of("hunter2").unwrap());
        assert_eq!(plain.text("hunter2"), "hunter2");
    }

    #[test]
    fn a_text_of_several_lines_is_hidden_line_by_line() {
        let mask = knowing(r#""-----BEGIN KEY-----\nMIIEvQIBADAN\nab\n-----END KEY-----\n""#);
        assert_eq!(mask.text("key: MIIEvQIBADAN"), "key: ***");
        assert_eq!(mask.text("ab"), "ab");
    }

    #[test]
    fn a_secret_is_not_cut() {
        let mask = knowing(r#"["hunter2-é", "x hunter2", "12345"]"#);
        let text = "1234 x hunter2-é behind 12345";
        let cut = |most: usize| &text[..mask.cut(text, text.floor_char_boundary(most))];
        assert_eq!((cut(3), cut(5), cut(7), cut(100)), ("123", "1234 ", "1234 ", text));
        // One that goes on behind the other's end.
        for most in 6..17 {
            assert_eq!(cut(most), "1234 ", "{most}");
        }
        assert_eq!((cut(17), cut(18)), ("1234 x hunter2-é", "1234 x hunter2-é "));
        assert_eq!(
            (cut(24), cut(29), cut(30)),
            ("1234 x hunter2-é behind", "1234 x hunter2-é behind ", text)
        );
        assert_eq!(Mask::default().cut(text, 8), 8);
    }

    #[test]
    fn values_are_hidden_within() {
        let mask = knowing(r#"["hunter2", "4711x"]"#);
        let masked = |json: &str| mask.value(&Value::parse(json.to_owned()).unwrap());
        let json = r#"{"a": ["x hunter2"], "hunter2": 1, "n": 123456789012345678901234567890}"#;
        assert_eq!(masked(json).as_str().matches("***").count(), 2);
        assert!(!masked(json).as_str().contains("hunter2"));
        let untouched = r#"{"n": 123456789012345678901234567890}"#;
        assert_eq!(masked(untouched).as_str(), untouched);
        assert_eq!(knowing("4711").value(&Value::of(&[4711, 1]).unwrap()).as_str(), r#"["***",1]"#);
        let mut failure = Failure::because("it failed with hunter2");
        failure.hints.push("look at hunter2".into());
        mask.failure(&mut failure);
        assert_eq!((&*failure.message, &*failure.hints[0]), ("it failed with ***", "look at ***"));
    }
}
