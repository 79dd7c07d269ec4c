//! The types that settings have: how each is written, read and refused.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use excom_airflow::objects::Compression;
use excom_core::engine::{Exemption, Grant, KeyGlob, Ledger, Offload, Pattern, Reads, Writes};
use excom_db::sqlite::Durability;
use excom_flow::contract::Contracts;

use super::backend::Backend;

/// Why a text is no value of a type, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) hints: Vec<String>,
}

impl Refusal {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), hints: Vec::new() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// What TOML may give instead of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing.
    Text,
    /// A bare number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of texts; in a text, commas are between them.
    List,
}

/// A type of settings.
pub(super) trait Kind: Sized {
    /// What may be written, for people.
    const ALLOWED: &'static str;

    /// How TOML may give it besides as text.
    const FORM: Form = Form::Text;

    fn parse(text: &str) -> Result<Self, Refusal>;

    /// The shortest text that parses to it.
    fn text(&self) -> String;

    /// The text without what must not be shown, such as a password.
    fn shown(text: &str) -> String {
        text.to_owned()
    }
}

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

/// The digits in front and the unit behind, with spaces between them allowed.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

impl Kind for u32 {
    const ALLOWED: &'static str = "a whole number from 1";
    const FORM: Form = Form::Number;

    fn parse(text: &str) -> Result<Self, Refusal> {
        match text.parse() {
            Ok(0) => Err(Refusal::new("is too little: nothing could run")),
            Ok(number) => Ok(number),
            Err(_) => Err(Refusal::new("is no whole number that can be counted to")),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Kind for Option<u32> {
    const ALLOWED: &'static str = "a whole number from 1, or off";
    const FORM: Form = Form::Number;

    fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "off" => Ok(None),
            "0" => Err(Refusal::new("is too little: nothing would be kept")),
            text => u32::parse(text).map(Some),
        }
    }

    fn text(&self) -> String {
        self.map_or("off".to_owned(), |number| number.to_string())
    }
}

impl Kind for PathBuf {
    const ALLOWED: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(Refusal::new("is no path: it is empty"));
        }
        if text == "~" || text.starts_with("~/") {
            return Err(Refusal::new("begins with `~`, which only a shell replaces")
                .hint("write the whole path of your home folder"));
        }
        Ok(text.into())
    }

    fn text(&self) -> String {
        self.display().to_string()
    }
}

impl Kind for bool {
    const ALLOWED: &'static str = "true or false";
    const FORM: Form = Form::Boolean;

    fn parse(text: &str) -> Result<Self, Refusal> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Refusal::new("is neither true nor false")),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// From how many bytes on a value goes to object storage, in Airflow's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Threshold {
    /// No value does.
    Never,
    /// Values of at least so many bytes do.
    From(u64),
}

impl Kind for Option<Threshold> {
    const ALLOWED: &'static str = "a number of bytes, 0 for all values, -1 for none";
    const FORM: Form = Form::Number;

    fn parse(text: &str) -> Result<Self, Refusal> {
        match text.trim().parse::<i64>() {
            _ if text.is_empty() => Ok(None),
            Ok(number) => Ok(Some(u64::try_from(number).map_or(Threshold::Never, Threshold::From))),
            Err(_) => Err(Refusal::new("is no whole number")),
        }
    }

    fn text(&self) -> String {
        match self {
            None => String::new(),
            Some(Threshold::Never) => "-1".to_owned(),
            Some(Threshold::From(bytes)) => bytes.to_string(),
        }
    }
}

/// A place that has a scheme: `s3://bucket/prefix`. Shown without its password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url(String);

impl Url {
    /// The text, with the password.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// What stands before `://`.
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str(&self.0) };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // A password may be a parameter too.
        let path = match path.split_once("password=") {
            Some((before, behind)) => {
                let rest = behind.find('&').map_or("", |end| &behind[end..]);
                format!("{before}password=***{rest}")
            }
            None => path.to_owned(),
        };
        match authority.rsplit_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((user, _)) => write!(f, "{scheme}://{user}:***@{host}{path}"),
                None => write!(f, "{scheme}://{user}@{host}{path}"),
            },
            None => write!(f, "{scheme}://{authority}{path}"),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Kind for Option<Url> {
    const ALLOWED: &'static str = "a URL such as s3://bucket/prefix, or nothing";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Ok(None);
        }
        match text.split_once("://") {
            Some((scheme, rest)) if !scheme.is_empty() && !rest.is_empty() => Ok(Some(Url(text.to_owned()))),
            _ if text.starts_with('/') => {
                Err(Refusal::new("has no scheme").hint(format!("for a folder write file://{text}")))
            }
            _ => Err(Refusal::new("has no scheme, such as `s3://`")),
        }
    }

    fn text(&self) -> String {
        self.as_ref().map_or(String::new(), Url::to_string)
    }

    fn shown(text: &str) -> String {
        Url(text.to_owned()).to_string()
    }
}

/// What several of are a list in a file, and have commas between them elsewhere.
pub(super) trait Item: Sized {
    /// What may be written, for people.
    const ALLOWED: &'static str;

    fn parse(text: &str) -> Result<Self, Refusal>;

    fn text(&self) -> String;

    /// As [`Kind::shown`].
    fn shown(text: &str) -> String {
        text.to_owned()
    }
}

impl<T: Item> Kind for Vec<T> {
    const ALLOWED: &'static str = T::ALLOWED;
    const FORM: Form = Form::List;

    fn parse(text: &str) -> Result<Self, Refusal> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::parse).collect()
    }

    fn text(&self) -> String {
        self.iter().map(T::text).collect::<Vec<_>>().join(", ")
    }

    fn shown(text: &str) -> String {
        text.split(',').map(|item| T::shown(item.trim())).collect::<Vec<_>>().join(", ")
    }
}

impl Item for Url {
    const ALLOWED: &'static str = "URLs such as s3://bucket/prefix";

    fn parse(text: &str) -> Result<Self, Refusal> {
        Option::<Self>::parse(text)?.ok_or_else(|| Refusal::new("is empty"))
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn shown(text: &str) -> String {
        Self(text.to_owned()).to_string()
    }
}

impl Item for String {
    const ALLOWED: &'static str = "a list of words";

    fn parse(text: &str) -> Result<Self, Refusal> {
        Ok(text.to_owned())
    }

    fn text(&self) -> String {
        self.clone()
    }
}

/// Where a secret key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeySource {
    /// Whether it is in the form of Airflow's Fernet keys.
    pub fernet: bool,
    /// The place.
    pub place: KeyPlace,
}

/// A place that holds a secret key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyPlace {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// What a program prints: the program and its arguments.
    Command(Vec<String>),
}

impl Item for KeySource {
    const ALLOWED: &'static str = "sources such as file:/etc/excom/key, env:EXCOM_KEY or fernet:env:FERNET_KEY, \
                                   the current key's first";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let (fernet, place) = match text.strip_prefix("fernet:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let place = match place.split_once(':') {
            Some((_, "")) => return Err(Refusal::new("has a source that names nothing")),
            Some(("file", path)) => KeyPlace::File(PathBuf::parse(path)?),
            Some(("env", name)) => KeyPlace::Environment(name.to_owned()),
            Some(("command", line)) => {
                KeyPlace::Command(line.split_whitespace().map(str::to_owned).collect())
            }
            _ => {
                return Err(Refusal::new("has a source that is none of file:, env: and command:")
                    .hint("a key itself is never written into settings"));
            }
        };
        Ok(Self { fernet, place })
    }

    fn text(&self) -> String {
        let place = match &self.place {
            KeyPlace::File(path) => format!("file:{}", path.display()),
            KeyPlace::Environment(name) => format!("env:{name}"),
            KeyPlace::Command(words) => format!("command:{}", words.join(" ")),
        };
        if self.fernet { format!("fernet:{place}") } else { place }
    }
}

impl Kind for Backend {
    const ALLOWED: &'static str = "database, object_storage, redis or process";

    fn parse(text: &str) -> Result<Self, Refusal> {
        Self::select(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// What `[xcom] mode` sets where nothing else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Nothing: each setting has its own default.
    Open,
    /// All values outside of the database, tasks within their own run, every read noted before its answer.
    Exclusive,
}

impl Item for Pattern {
    const ALLOWED: &'static str = "a list of keys, where `*` at the end of one stands for any end";

    fn parse(text: &str) -> Result<Self, Refusal> {
        Ok(Self::new(text))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Item for KeyGlob {
    const ALLOWED: &'static str = "a list of keys, where `*` stands for any characters";

    fn parse(text: &str) -> Result<Self, Refusal> {
        Ok(Self::new(text))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Item for Grant {
    const ALLOWED: &'static str =
        "a list such as `report reads weather/choose_table`, `report/send reads weather/*`";

    fn parse(text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(Refusal::new)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Item for Exemption {
    const ALLOWED: &'static str = "a list such as `weather until 2026-12-31`";

    fn parse(text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(Refusal::new)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// A setting that is one of a few words.
macro_rules! words {
    ($type:ty, $allowed:literal, $($word:literal => $value:path),*) => {
        impl Kind for $type {
            const ALLOWED: &'static str = $allowed;

            fn parse(text: &str) -> Result<Self, Refusal> {
                match text {
                    $($word => Ok($value),)*
                    _ => Err(Refusal::new("is not among what can be chosen")),
                }
            }

            fn text(&self) -> String {
                match self { $($value => $word.to_owned(),)* }
            }
        }
    };
}

/// The format of values in object storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectFormat {
    /// Sealed frames.
    Excom,
    /// As Airflow's own backend writes and reads them.
    Airflow,
}

impl Kind for Compression {
    const ALLOWED: &'static str = "gzip, bz2, zip, xz, lzma, lz4, zstd, or none";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Ok(Self::None);
        }
        text.parse().map_err(|_| Refusal::new("is no compression that Airflow's backend can read"))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

words!(ObjectFormat, "excom or airflow", "excom" => Self::Excom, "airflow" => Self::Airflow);
words!(Durability, "normal or full", "normal" => Self::Normal, "full" => Self::Full);
words!(Writes, "any or own", "any" => Self::Any, "own" => Self::Own);
words!(Reads, "any, run or declared", "any" => Self::Any, "run" => Self::Run, "declared" => Self::Declared);
words!(Mode, "open or exclusive", "open" => Self::Open, "exclusive" => Self::Exclusive);
words!(Offload, "threshold or all", "threshold" => Self::Threshold, "all" => Self::All);
words!(Contracts, "refuse, warn or off", "refuse" => Self::Refuse, "warn" => Self::Warn, "off" => Self::Off);
words!(Ledger, "batched, strict or off", "batched" => Self::Batched, "strict" => Self::Strict, "off" => Self::Off);
