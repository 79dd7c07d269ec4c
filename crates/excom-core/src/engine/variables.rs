//! Variables: text that all DAGs share, and what the environment has instead.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::attempt::Caller;
use crate::variable::{NewVariable, OVERRIDES, Unshown, Variable, VariableWrite, check_key, unreadable};
use crate::{Error, ErrorKind, Result};

/// The most bytes of a variable's text or description.
const TEXT_LIMIT: usize = 1 << 20;

/// A variable as whoever reads it sees it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VariableValue {
    /// Its text.
    pub text: String,
    /// The environment variable that the text is from, and not the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden_by: Option<String>,
    /// What the database holds.
    pub stored: Option<Variable>,
}

impl fmt::Debug for VariableValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VariableValue")
            .field("text", &Unshown)
            .field("overridden_by", &self.overridden_by)
            .field("stored", &self.stored)
            .finish()
    }
}

/// What setting a variable did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VariableSet {
    /// What whoever set it should know, such as an environment variable that overrides it.
    pub warnings: Vec<String>,
}

impl Engine {
    /// A variable, if there is one: from the environment that the engine was given
    /// ([`Builder::variable_overrides`](super::Builder::variable_overrides)), or else from the database.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] for a key that no variable can have; [`ErrorKind::Configuration`] for one that Airflow keeps
    /// encrypted, and no key opens; when the database cannot be read.
    pub async fn variable(&self, _caller: &Caller, key: &str) -> Result<Option<VariableValue>> {
        check_key(key)?;
        let stored = self.0.db.variable(key).await?;
        Ok(match self.override_of(key) {
            Some((name, text)) => {
                Some(VariableValue { text: text.to_owned(), overridden_by: Some(name), stored })
            }
            None => match stored {
                Some(stored) => {
                    let text = stored.text.clone().ok_or_else(|| unreadable(key))?;
                    Some(VariableValue { text, overridden_by: None, stored: Some(stored) })
                }
                None => None,
            },
        })
    }

    /// What the database holds of a variable, whatever the environment has; without its text where Airflow keeps that encrypted
    /// and no key opens it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`]; when the database cannot be read.
    pub async fn stored_variable(&self, _caller: &Caller, key: &str) -> Result<Option<Variable>> {
        check_key(key)?;
        self.0.db.variable(key).await
    }

    /// Sets a variable; without a description the one before stays.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`], [`ErrorKind::TooLarge`]; [`ErrorKind::Superseded`] and
    /// [`ErrorKind::NotStarted`] for an attempt; when the database cannot be written.
    pub async fn set_variable(
        &self,
        caller: &Caller,
        key: &str,
        text: &str,
        description: Option<&str>,
    ) -> Result<VariableSet> {
        let write = VariableWrite::Set(self.variable_of(key, text, description));
        self.write_variable(caller, &write).await?;
        let overridden = |(name, _)| {
            format!("variable `{key}` is set, and {name} in the environment overrides it: reads give that")
        };
        Ok(VariableSet { warnings: self.override_of(key).map(overridden).into_iter().collect() })
    }

    /// Makes a variable of the database; none when there is one already. Of several who make one at the same time only one
    /// does.
    ///
    /// # Errors
    /// As [`Engine::set_variable`].
    pub async fn make_variable(
        &self,
        caller: &Caller,
        key: &str,
        text: &str,
        description: Option<&str>,
    ) -> Result<Option<Variable>> {
        let write = VariableWrite::Make(self.variable_of(key, text, description));
        self.write_variable(caller, &write).await
    }

    /// Changes a variable of the database: what is none stays as it is by then. What it is from then on; none when there is
    /// none.
    ///
    /// # Errors
    /// As [`Engine::set_variable`].
    pub async fn change_variable(
        &self,
        caller: &Caller,
        key: &str,
        text: Option<&str>,
        description: Option<&str>,
    ) -> Result<Option<Variable>> {
        let write = VariableWrite::Change {
            key: key.into(),
            text: text.map(str::to_owned),
            description: description.map(str::to_owned),
            updated_at: self.0.clock.now(),
        };
        self.write_variable(caller, &write).await
    }

    fn variable_of(&self, key: &str, text: &str, description: Option<&str>) -> NewVariable {
        NewVariable {
            key: key.into(),
            text: text.to_owned(),
            description: description.map(str::to_owned),
            updated_at: self.0.clock.now(),
        }
    }

    async fn write_variable(&self, caller: &Caller, write: &VariableWrite) -> Result<Option<Variable>> {
        let (key, text, description, _) = write.parts();
        check_key(key)?;
        for (what, text) in [("text", text), ("description", description)] {
            let size = text.map_or(0, str::len);
            if size > TEXT_LIMIT {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("the {what} of variable `{key}` has {size} bytes, the most are {TEXT_LIMIT}"),
                )
                .hint("push large data as an XCom, or keep a pointer to it in the variable"));
            }
        }
        self.0.db.write_variable(caller, write).await
    }

    /// Deletes a variable from the database; tells whether there was one.
    ///
    /// # Errors
    /// As [`Engine::set_variable`].
    pub async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        check_key(key)?;
        self.0.db.delete_variable(caller, key).await
    }

    /// Variables of the database whose keys begin with a prefix, in order of their keys, only those behind
    /// the key given, at most so many. What only the environment has is not listed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn variables(
        &self,
        _caller: &Caller,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Variable>> {
        self.0.db.variables(prefix, after, limit).await
    }

    /// The environment variable that overrides a variable, with its text.
    pub fn override_of(&self, key: &str) -> Option<(String, &str)> {
        let key = key.to_uppercase();
        OVERRIDES.iter().find_map(|prefix| {
            let name = format!("{prefix}{key}");
            let text = self.0.overrides.get(&name)?;
            Some((name, &**text))
        })
    }
}
