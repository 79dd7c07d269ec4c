//! The types that settings have: how each is written, read and refused.

mod amount;
mod list;

use std::fmt;
use std::path::{Path, PathBuf};

use excom_airflow::objects::Compression;
use excom_core::engine::{Ledger, Offload, Reads, Writes};
use excom_db::sqlite::Durability;
use excom_flow::contract::Contracts;

pub use amount::{Age, Seconds, Size};
pub use list::{KeyPlace, KeySource};

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
            "0" => Err(Refusal::new("is too little")),
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

impl Kind for Option<PathBuf> {
    const ALLOWED: &'static str = "a path, or nothing";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() { Ok(None) } else { PathBuf::parse(text).map(Some) }
    }

    fn text(&self) -> String {
        self.as_ref().map_or_else(String::new, PathBuf::text)
    }
}

impl Kind for Option<String> {
    const ALLOWED: &'static str = "a text, or nothing";

    fn parse(text: &str) -> Result<Self, Refusal> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn text(&self) -> String {
        self.clone().unwrap_or_default()
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

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Hidden(String);

impl Hidden {
    /// The text.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

impl Kind for Option<Hidden> {
    const ALLOWED: &'static str = "a text, which is shown nowhere";

    fn parse(text: &str) -> Result<Self, Refusal> {
        Ok((!text.is_empty()).then(|| Hidden(text.to_owned())))
    }

    fn text(&self) -> String {
        self.as_ref().map_or_else(String::new, |text| text.0.clone())
    }

    fn shown(text: &str) -> String {
        if text.is_empty() { String::new() } else { "***".to_owned() }
    }
}

/// An address and a port of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listen(pub String);

impl Kind for Listen {
    const ALLOWED: &'static str = "an address and a port, such as 127.0.0.1:8794 or [::1]:8794";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(Refusal::new("is no address with a port").hint("write it as 127.0.0.1:8794"));
        }
        Ok(Self(text.to_owned()))
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// Where lines about requests are written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// On standard error.
    Stderr,
    /// At the end of a file.
    File(PathBuf),
}

impl Kind for AccessLog {
    const ALLOWED: &'static str = "off, stderr, or the path of a file";

    fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "off" => Ok(Self::Off),
            "stderr" => Ok(Self::Stderr),
            path => PathBuf::parse(path).map(Self::File),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::Stderr => "stderr".to_owned(),
            Self::File(path) => path.text(),
        }
    }
}

/// Where the spans of a server's requests go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Traces {
    /// Where OpenTelemetry's own variables say; nowhere when they do not.
    Environment,
    /// Nowhere, whatever they say.
    Off,
    /// To a collector.
    To(Url),
}

impl Kind for Traces {
    const ALLOWED: &'static str =
        "the URL of an OpenTelemetry collector such as http://127.0.0.1:4318, off, or nothing";

    fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "" => Ok(Self::Environment),
            "off" => Ok(Self::Off),
            text if ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) => {
                Ok(Self::To(Url(text.to_owned())))
            }
            _ => Err(Refusal::new("is none of http:// and https://")),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Environment => String::new(),
            Self::Off => "off".to_owned(),
            Self::To(url) => url.to_string(),
        }
    }

    fn shown(text: &str) -> String {
        Url(text.to_owned()).to_string()
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

    /// The scheme without the name of a driver behind it.
    pub(crate) fn dialect(&self) -> &str {
        let scheme = self.scheme();
        scheme.split_once('+').map_or(scheme, |(dialect, _)| dialect)
    }

    /// Whether it is of PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.dialect(), "postgresql" | "postgres")
    }

    /// Whether it is of MySQL or MariaDB.
    pub(crate) fn is_mysql(&self) -> bool {
        matches!(self.dialect(), "mysql" | "mariadb")
    }

    /// The file that it names from the root, as SQLAlchemy spells that of SQLite: `sqlite:////folder/file`.
    pub(crate) fn sqlite_file(&self) -> Option<&Path> {
        let (_, place) = self.0.split_once(":///").filter(|_| self.dialect() == "sqlite")?;
        let file = Path::new(place.split('?').next()?);
        file.is_absolute().then_some(file)
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
    const ALLOWED: &'static str = "a URL such as https://host/path or s3://bucket/prefix, or nothing";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Ok(None);
        }
        match text.split_once("://") {
            Some((scheme, rest)) if !scheme.is_empty() && !rest.is_empty() => Ok(Some(Url(text.to_owned()))),
            _ if text.starts_with('/') => {
                Err(Refusal::new("has no scheme").hint(format!("for a folder write file://{text}")))
            }
            _ => Err(Refusal::new("has no scheme, such as `https://` or `s3://`")),
        }
    }

    fn text(&self) -> String {
        self.as_ref().map_or(String::new(), Url::to_string)
    }

    fn shown(text: &str) -> String {
        Url(text.to_owned()).to_string()
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

/// Whose a metadata database on a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseMode {
    /// Excom's own.
    Own,
    /// Airflow's, worked with in place.
    Attached,
}

/// What Excom has in an attached database besides Airflow's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extras {
    /// A schema `excom`.
    Schema,
    /// Nothing.
    None,
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
words!(DatabaseMode, "own or attached", "own" => Self::Own, "attached" => Self::Attached);
words!(Extras, "schema or none", "schema" => Self::Schema, "none" => Self::None);
words!(Offload, "threshold or all", "threshold" => Self::Threshold, "all" => Self::All);
words!(Contracts, "refuse, warn or off", "refuse" => Self::Refuse, "warn" => Self::Warn, "off" => Self::Off);
words!(Ledger, "batched, strict or off", "batched" => Self::Batched, "strict" => Self::Strict, "off" => Self::Off);
