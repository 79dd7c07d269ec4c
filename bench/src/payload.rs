//! Payloads: the main example's data as JSON, and random text that hardly compresses.

use std::path::PathBuf;

use excom_core::Value;

/// What values are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Days of weather, as the main example's tasks pass them.
    Real,
    /// base64 of random bytes.
    Random,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Real, Self::Random];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Random => "random",
        }
    }
}

/// So many values of about a kilobyte (at most 1,024 bytes, at least 1,000).
pub(crate) fn kilobytes(kind: Kind, count: usize) -> Vec<Value> {
    let texts: Vec<String> = match kind {
        Kind::Random => (0..count).map(|_| random_text(1022)).collect(),
        Kind::Real => {
            let days = days();
            (0..count).map(|i| list_of_days(&days, i * 7)).collect()
        }
    };
    texts
        .into_iter()
        .map(|text| {
            assert!((1000..=1024).contains(&text.len()), "{}", text.len());
            Value::parse(text).expect("payloads are JSON")
        })
        .collect()
}

fn days() -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/data/weather.csv");
    let text = std::fs::read_to_string(path).expect("the example's data is in the repository");
    text.lines()
        .skip(1)
        .map(|line| {
            let field: Vec<&str> = line.split(',').collect();
            format!(
                r#"{{"station":"{}","date":"{}","precipitation":{},"temp_max":{},"temp_min":{},"wind":{}}}"#,
                field[0], field[1], field[2], field[3], field[4], field[5]
            )
        })
        .collect()
}

/// A list of days, filled up with one more text to the size.
fn list_of_days(days: &[String], from: usize) -> String {
    let mut text = String::from("[");
    let mut i = from;
    while text.len() + days[i % days.len()].len() + 1 < 1000 {
        text.push_str(&days[i % days.len()]);
        text.push(',');
        i += 1;
    }
    // The rest of a day, as far as it fits.
    let rest = 1024 - text.len() - 3;
    let next: String = days[i % days.len()].replace('"', "'").chars().take(rest).collect();
    text.push('"');
    text.push_str(&next);
    text.push_str("\"]");
    text
}

/// A JSON text of so many random digits of base64.
pub(crate) fn random_text(length: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    let text: String = bytes.iter().map(|b| DIGITS[*b as usize % 64] as char).collect();
    format!("\"{text}\"")
}
