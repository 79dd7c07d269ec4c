//! Variables: text under a name that all DAGs share. Texts may be secrets, so no `Debug` shows one.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The longest key of a variable, in characters, as in Airflow.
pub const KEY_LIMIT: usize = 250;

/// Prefixes of environment variables that override variables; the first that is set wins.
pub const OVERRIDES: [&str; 2] = ["EXCOM_VAR_", "AIRFLOW_VAR_"];

/// What stands for a variable's text in a `Debug`.
///
/// ```
/// use excom_core::variable::Unshown;
///
/// let text = Some("hunter2");
/// assert_eq!(format!("{:?}", text.map(|_| Unshown)), "Some(…)");
/// ```
pub struct Unshown;

impl fmt::Debug for Unshown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A variable as the metadata database holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Variable {
    /// Its key.
    pub key: Arc<str>,
    /// Its text. Where Airflow keeps it encrypted and no key opens it there is none.
    pub text: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// When it was set last; none where Airflow keeps it, which notes no time.
    pub updated_at: Option<Timestamp>,
    /// Whether Airflow keeps its text encrypted.
    #[serde(default)]
    pub is_encrypted: bool,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variable")
            .field("key", &self.key)
            .field("text", &self.text.as_ref().map(|_| Unshown))
            .field("description", &self.description)
            .field("updated_at", &self.updated_at)
            .field("is_encrypted", &self.is_encrypted)
            .finish()
    }
}

/// A variable as it is written.
#[derive(Clone, PartialEq, Eq)]
pub struct NewVariable {
    /// Its key.
    pub key: Arc<str>,
    /// Its text.
    pub text: String,
    /// What it is for.
    pub description: Option<String>,
    /// When.
    pub updated_at: Timestamp,
}

impl fmt::Debug for NewVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewVariable")
            .field("key", &self.key)
            .field("text", &Unshown)
            .field("description", &self.description)
            .field("updated_at", &self.updated_at)
            .finish()
    }
}

impl From<NewVariable> for Variable {
    fn from(NewVariable { key, text, description, updated_at }: NewVariable) -> Self {
        Self { key, text: Some(text), description, updated_at: Some(updated_at), is_encrypted: false }
    }
}

/// What is written of a variable, in one step.
#[derive(Clone, PartialEq, Eq)]
pub enum VariableWrite {
    /// Set it, whether there is one or not; without a description the one before stays.
    Set(NewVariable),
    /// Make it, unless there is one.
    Make(NewVariable),
    /// Change the one that there is; what is none stays.
    Change {
        /// Its key.
        key: Arc<str>,
        /// Its text.
        text: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// When.
        updated_at: Timestamp,
    },
}

impl fmt::Debug for VariableWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(new) => f.debug_tuple("Set").field(new).finish(),
            Self::Make(new) => f.debug_tuple("Make").field(new).finish(),
            Self::Change { key, text, description, updated_at } => f
                .debug_struct("Change")
                .field("key", key)
                .field("text", &text.as_ref().map(|_| Unshown))
                .field("description", description)
                .field("updated_at", updated_at)
                .finish(),
        }
    }
}

impl VariableWrite {
    /// The key, the text, the description and the time, for statements that have them in one order.
    pub fn parts(&self) -> (&Arc<str>, Option<&str>, Option<&str>, Timestamp) {
        match self {
            Self::Set(NewVariable { key, text, description, updated_at })
            | Self::Make(NewVariable { key, text, description, updated_at }) => {
                (key, Some(text), description.as_deref(), *updated_at)
            }
            Self::Change { key, text, description, updated_at } => {
                (key, text.as_deref(), description.as_deref(), *updated_at)
            }
        }
    }
}

/// The refusal of a variable that Airflow keeps encrypted, and no key opens.
pub(crate) fn unreadable(key: &str) -> Error {
    let what = format!(
        "the variable `{key}` is encrypted in Airflow's database, and no key of [core] fernet_key opens it"
    );
    Error::new(ErrorKind::Configuration, what)
        .hint("set it to Airflow's own [core] fernet_key, with the keys of before behind the newest, each after a comma")
}

/// Checks a variable's key: 1 to [`KEY_LIMIT`] characters, of which none is NUL.
///
/// # Errors
/// [`ErrorKind::InvalidName`] with what is wrong about it.
pub fn check_key(key: &str) -> Result<()> {
    let refuse = |why: String| Error::new(ErrorKind::InvalidName, format!("the variable's key {why}"));
    if key.is_empty() {
        return Err(refuse("is empty".to_owned()));
    }
    let length = key.chars().count();
    if length > KEY_LIMIT {
        return Err(refuse(format!("has {length} characters, the most are {KEY_LIMIT}")));
    }
    if key.contains('\0') {
        return Err(refuse("contains a NUL character".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::VariableValue;

    #[test]
    fn debug_shows_no_text() {
        let new = NewVariable {
            key: "k".into(),
            text: "hunter2".to_owned(),
            description: Some("a word".to_owned()),
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let stored = Variable::from(new.clone());
        let text = Some("hunter2".to_owned());
        let change = |text| VariableWrite::Change {
            key: "k".into(),
            text,
            description: Some("a word".to_owned()),
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let value =
            VariableValue { text: "hunter2".to_owned(), overridden_by: None, stored: Some(stored.clone()) };
        let (set, make) = (VariableWrite::Set(new.clone()), VariableWrite::Make(new.clone()));
        let shown: [&dyn fmt::Debug; 6] = [&new, &stored, &set, &make, &change(text), &value];
        for shown in shown.map(|shown| format!("{shown:?} {shown:#?}")) {
            assert!(
                !shown.contains("hunter2") && shown.contains("text: …") | shown.contains("text: Some(…)"),
                "{shown}"
            );
            assert!(shown.contains(r#"key: "k""#) && shown.contains("a word"), "{shown}");
        }
        assert!(format!("{:?}", change(None)).contains("text: None"));
    }
}
