//! Seconds as Python writes them: a float, in which a microsecond has its place.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A time or a span in microseconds, which is as fine as Python's are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seconds {
    pub(super) micros: i64,
}

impl Seconds {
    /// The nearest microsecond, as Python takes it; none for what no date and no span can be.
    fn new(seconds: f64) -> Option<Self> {
        // Apart, so that large times keep their microseconds.
        let micros = seconds.trunc() * 1e6 + (seconds.fract() * 1e6).round_ties_even();
        // As many as a span of Python's can have, within an i64.
        (micros.abs() < 9.2e18).then_some(Self { micros: micros as i64 })
    }

    fn seconds(self) -> f64 {
        // Through text, which rounds once; a quotient of a large integer would be rounded twice.
        let (sign, micros) = (if self.micros < 0 { "-" } else { "" }, self.micros.unsigned_abs());
        format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000).parse().unwrap_or_default()
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A float also without a fraction: Airflow refuses a timedelta whose seconds are an integer.
        serializer.serialize_f64(self.seconds())
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds")
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                Seconds::new(seconds).ok_or_else(|| E::invalid_value(de::Unexpected::Float(seconds), &self))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                match text.parse() {
                    Ok(seconds) => self.visit_f64(seconds),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_survive_from_the_first_year_to_the_last() {
        for micros in [0, 1, -1, 1_704_164_645_678_901, -62_135_596_800_000_000, 253_402_300_799_000_001] {
            let seconds = Seconds { micros }.seconds();
            let back = Seconds::new(seconds).unwrap().micros;
            // A double has room for microseconds until the year 2242; Python's floats are the same.
            let room = if micros.abs() < 1_000_000 << 33 { 0 } else { 32 };
            assert!((back - micros).abs() <= room, "{micros} {seconds} {back}");
        }
        assert_eq!(Seconds::new(1e300), None);
        assert_eq!(Seconds::new(f64::NAN), None);
    }
}
