//! The environment as a value, so that only start-up code reads the process's own.

use std::collections::BTreeMap;

use excom_core::variable::OVERRIDES;
use excom_core::{Error, ErrorKind, Result};

/// How variables with connections begin.
const CONNECTIONS: &str = "AIRFLOW_CONN_";

/// Environment variables.
///
/// ```
/// let environment = excom::config::Environment::from_iter([("EXCOM_HOME", "/var/lib/excom")]);
/// assert_eq!(environment.get("EXCOM_HOME"), Some("/var/lib/excom"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// Connections that are not UTF-8: only who needs connections minds.
    unreadable: Vec<String>,
}

impl Environment {
    /// The process's variables. Those that are not UTF-8 are left out.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when one of Excom's own is not UTF-8, or one that overrides a variable.
    pub fn of_process() -> Result<Self> {
        let (mut variables, mut unreadable) = (BTreeMap::new(), Vec::new());
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    variables.insert(name, value);
                }
                (Ok(name), Err(_)) if name.starts_with(CONNECTIONS) => unreadable.push(name),
                (Ok(name), Err(_)) if ["EXCOM", "AIRFLOW_VAR_"].iter().any(|own| name.starts_with(own)) => {
                    return Err(not_text(&name));
                }
                _ => {}
            }
        }
        Ok(Self { variables, unreadable })
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The first of some variables that is set and not empty.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name).filter(|value| !value.is_empty()))
    }

    /// What the environment has instead of variables: `EXCOM_VAR_<KEY>` and Airflow's `AIRFLOW_VAR_<KEY>`.
    ///
    /// ```
    /// let environment = excom::config::Environment::from_iter([("AIRFLOW_VAR_STATION", "attic"), ("HOME", "/")]);
    /// assert_eq!(environment.variable_overrides().keys().collect::<Vec<_>>(), ["AIRFLOW_VAR_STATION"]);
    /// ```
    pub fn variable_overrides(&self) -> BTreeMap<String, String> {
        let named = OVERRIDES.iter().flat_map(|prefix| self.behind(prefix));
        named.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
    }

    /// What the environment has of connections: Airflow's `AIRFLOW_CONN_<ID>`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when one is not UTF-8.
    ///
    /// ```
    /// let environment = excom::config::Environment::from_iter([("AIRFLOW_CONN_ROWS", "sqlite://"), ("HOME", "/")]);
    /// assert_eq!(environment.connections()?.collect::<Vec<_>>(), [("AIRFLOW_CONN_ROWS", "sqlite://")]);
    /// # Ok::<(), excom::Error>(())
    /// ```
    pub fn connections(&self) -> Result<impl Iterator<Item = (&str, &str)>> {
        match self.unreadable.first() {
            Some(name) => Err(not_text(name)),
            None => Ok(self.behind(CONNECTIONS)),
        }
    }

    /// What the clients of clouds read (`AWS_*`, `GOOGLE_*`, `AZURE_*`), and the variables named.
    pub(super) fn secrets<'a>(
        &'a self,
        names: impl Iterator<Item = &'a str>,
    ) -> Secret<BTreeMap<String, String>> {
        let clouds = ["AWS_", "GOOGLE_", "AZURE_"].iter().flat_map(|prefix| self.behind(prefix));
        let named = clouds.chain(names.filter_map(|name| Some((name, self.get(name)?))));
        Secret(named.map(|(name, text)| (name.to_owned(), text.to_owned())).collect())
    }

    pub(super) fn behind(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let variables = self.variables.iter().filter(move |(name, _)| name.starts_with(prefix));
        variables.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn not_text(name: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the environment variable {name} is not UTF-8"))
        .hint(format!("unset {name}, or give it text"))
}

/// What is not shown when the rest is printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(pub(crate) T);

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, unreadable: Vec::new() }
    }
}
