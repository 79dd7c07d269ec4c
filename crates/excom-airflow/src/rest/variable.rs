//! Variables as Airflow's REST API has them.

use std::fmt;
use std::sync::Arc;

use excom_core::variable::{KEY_LIMIT, Unshown, Variable};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::masked::masked;
use crate::python::dumped;

/// A variable, with `***` in the place of what looks like a secret by its name. Its `Debug` shows no text at all.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct VariableEntry {
    /// Its key.
    pub key: Arc<str>,
    /// Its text; none where it is encrypted and no key opens it.
    pub value: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether Airflow has encrypted it.
    pub is_encrypted: bool,
    /// The team that it belongs to in Airflow.
    pub team_name: Option<String>,
}

impl fmt::Debug for VariableEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VariableEntry")
            .field("key", &self.key)
            .field("value", &self.value.as_ref().map(|_| Unshown))
            .field("description", &self.description)
            .field("is_encrypted", &self.is_encrypted)
            .field("team_name", &self.team_name)
            .finish()
    }
}

impl From<Variable> for VariableEntry {
    fn from(variable: Variable) -> Self {
        let Variable { key, text, description, is_encrypted, .. } = variable;
        let description = description.filter(|description| !description.is_empty());
        let value = text.map(|text| masked(&key, &text));
        Self { value, key, description, is_encrypted, team_name: None }
    }
}

/// A page of variables.
#[derive(Debug, Clone, Serialize)]
pub struct VariableEntries {
    /// The variables.
    pub variables: Vec<VariableEntry>,
    /// How many there are on all pages.
    pub total_entries: usize,
}

/// A variable that is made or changed. Its `Debug` does not show what it becomes.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariableBody {
    /// Its key.
    pub key: String,
    /// What becomes its text: a text as it is, any other JSON as Python writes it.
    pub value: Box<RawValue>,
    /// What it is for, and whether that was said at all.
    #[serde(default, deserialize_with = "said")]
    pub description: Option<Option<String>>,
    /// The team that it is to belong to; there are none.
    #[serde(default)]
    pub team_name: Option<String>,
}

fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl fmt::Debug for VariableBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VariableBody")
            .field("key", &self.key)
            .field("value", &Unshown)
            .field("description", &self.description)
            .field("team_name", &self.team_name)
            .finish()
    }
}

impl VariableBody {
    /// The text that the variable gets; none for a text that is no Unicode, and for what is deeper than values may be.
    pub fn text(&self) -> Option<String> {
        match self.value.get() {
            text if text.starts_with('"') => serde_json::from_str(text).ok(),
            _ => dumped(&self.value, Some(2)),
        }
    }

    /// What is wrong with a field, and with which.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        if self.key.chars().count() > KEY_LIMIT {
            return Some(("key", format!("String should have at most {KEY_LIMIT} characters")));
        }
        self.team_name
            .as_ref()
            .map(|_| ("team_name", "there are no teams, so none has a variable".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::SetVariable;

    #[test]
    fn debug_shows_no_text() {
        let body: VariableBody = serde_json::from_str(r#"{"key": "k", "value": "hunter2"}"#).unwrap();
        let set: SetVariable = serde_json::from_str(r#"{"value": "hunter2"}"#).unwrap();
        let variable = Variable {
            key: "k".into(),
            text: Some("hunter2".to_owned()),
            description: None,
            updated_at: None,
            is_encrypted: false,
        };
        let entry = VariableEntry::from(variable);
        assert_eq!(entry.value.as_deref(), Some("hunter2"), "its name says nothing");
        for shown in [format!("{body:?}"), format!("{set:?}"), format!("{entry:?}")] {
            assert!(shown.contains('…') && !shown.contains("hunter2"), "{shown}");
        }
    }
}
