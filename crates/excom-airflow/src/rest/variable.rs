//! Variables as Airflow's REST API has them.

use std::sync::Arc;

use excom_core::variable::{KEY_LIMIT, Variable};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::masked::masked;
use crate::python::dumped;

/// A variable, with `***` in the place of what looks like a secret by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// A variable that is made or changed.
#[derive(Debug, Clone, Deserialize)]
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
