//! Settings that are lists: what may be in them.

use std::path::PathBuf;

use excom_core::engine::{Exemption, Grant, KeyGlob, Pattern};

use super::{Form, Kind, Refusal, Url};

/// What several of are a list in a file, and have commas between them elsewhere.
pub(in crate::config) trait Item: Sized {
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
