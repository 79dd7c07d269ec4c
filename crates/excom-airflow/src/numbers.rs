//! Whole numbers as Airflow's servers read them: texts and fractions of nought will do.

use std::num::IntErrorKind;

use serde::{Deserialize, Deserializer, de};

/// The whole number that a text is to Airflow; the largest there is for one that is larger. None when it is no number.
///
/// ```
/// use excom_airflow::whole_number;
///
/// assert_eq!(["-7", " +1_000 ", "07", "2.0"].map(whole_number), [Some(-7), Some(1000), Some(7), Some(2)]);
/// assert_eq!(["", "x", "1.5", "1__0", "_1", "1e3"].map(whole_number), [None; 6]);
/// ```
pub fn whole_number(text: &str) -> Option<i128> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let grouped =
        digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()));
    if !grouped || fraction.is_empty() || fraction.bytes().any(|b| b != b'0') {
        return None;
    }
    match whole.replace('_', "").parse() {
        Ok(number) => Some(number),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow => Some(i128::MAX),
            IntErrorKind::NegOverflow => Some(i128::MIN),
            _ => None,
        },
    }
}

/// The map index of a document.
pub(crate) fn map_index<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Number(serde_json::Number),
        Text(String),
    }
    let text = match Told::deserialize(from)? {
        Told::Number(number) => number.to_string(),
        Told::Text(text) => text,
    };
    let number = whole_number(&text).and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| de::Error::custom(format!("`{text}` is no map index: a whole number from -1 up")))
}
