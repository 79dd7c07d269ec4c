//! Settings that are so much of something: bytes, and time.

use std::fmt;
use std::time::Duration;

use super::{Form, Kind, Refusal};

/// A number of bytes: `65536`, `64KiB` or `1MB`.
///
/// ```
/// use excom::config::Size;
///
/// assert_eq!("64KiB".parse(), Ok(Size(65_536)));
/// assert_eq!(Size(1 << 30).to_string(), "1GiB");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

const SIZES: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((number, unit)) = number_and_unit(text) else { return Err("is no size".to_owned()) };
        let scale = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, scale)| scale);
        let scale = scale.ok_or_else(|| format!("is no size: `{unit}` is no unit of bytes"))?;
        number.checked_mul(*scale).map(Self).ok_or_else(|| "is more than can be counted".to_owned())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = ["TiB", "GiB", "MiB", "KiB"].into_iter().zip([40, 30, 20, 10]);
        let whole = binary.into_iter().find(|(_, bits)| self.0 > 0 && self.0.is_multiple_of(1 << bits));
        match whole {
            Some((unit, bits)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Kind for Size {
    const ALLOWED: &'static str = "a number of bytes, such as 65536, 64KiB or 1MB";
    const FORM: Form = Form::Number;

    fn parse(text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(Refusal::new)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// A length of time: `90d`, `12h`, `5m` or `10s`.
///
/// ```
/// use excom::config::Age;
/// use std::time::Duration;
///
/// assert_eq!("12h".parse(), Ok(Age(Duration::from_secs(43_200))));
/// assert_eq!(Age(Duration::from_secs(86_400)).to_string(), "1d");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(pub Duration);

const AGES: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// Longer ages would reach behind the first moment that a clock can tell.
const LONGEST_DAYS: u64 = 366_000;

impl std::str::FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((number, unit)) = number_and_unit(text) else {
            return Err("is no length of time".to_owned());
        };
        if unit.is_empty() {
            return Err("is no length of time: it has no unit".to_owned());
        }
        let scale = AGES.iter().find(|(name, _)| *name == unit).map(|(_, scale)| scale);
        let scale = scale.ok_or_else(|| format!("is no length of time: `{unit}` is no unit of time"))?;
        number
            .checked_mul(*scale)
            .filter(|seconds| *seconds <= LONGEST_DAYS * 86_400)
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or_else(|| "is more than a thousand years".to_owned())
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let whole = AGES.iter().skip(1).find(|(_, scale)| seconds > 0 && seconds.is_multiple_of(*scale));
        let (unit, scale) = whole.unwrap_or(&("s", 1));
        write!(f, "{}{unit}", seconds / scale)
    }
}

impl Kind for Age {
    const ALLOWED: &'static str = "a length of time, such as 90d, 12h, 5m or 10s";

    fn parse(text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(Refusal::new)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Kind for Option<Age> {
    const ALLOWED: &'static str = "a length of time, such as 90d, 12h or 10s, or off";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text == "off" { Ok(None) } else { Age::parse(text).map(Some) }
    }

    fn text(&self) -> String {
        self.map_or("off".to_owned(), |age| age.to_string())
    }
}

impl Kind for Option<Size> {
    const ALLOWED: &'static str = "a number of bytes, such as 65536, 64KiB or 1MB, or off";
    const FORM: Form = Form::Number;

    fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "off" => Ok(None),
            text => match Size::parse(text)? {
                Size(0) => Err(Refusal::new("is too little")),
                size => Ok(Some(size)),
            },
        }
    }

    fn text(&self) -> String {
        self.map_or("off".to_owned(), |size| size.to_string())
    }
}

/// A short time in seconds: `10`, as Airflow writes it, or `10s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u32);

impl Kind for Seconds {
    const ALLOWED: &'static str = "a number of seconds, such as 10 or 10s";
    const FORM: Form = Form::Number;

    fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        text.strip_suffix('s')
            .unwrap_or(text)
            .trim_end()
            .parse()
            .map(Self)
            .map_err(|_| Refusal::new("is no number of seconds"))
    }

    fn text(&self) -> String {
        format!("{}s", self.0)
    }
}

/// The digits in front and the unit behind, with spaces between them allowed.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}
