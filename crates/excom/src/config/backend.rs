//! The names that `[core] xcom_backend` takes, Airflow's class paths among them.

use std::fmt;

use super::kind::Refusal;

/// An XCom backend that settings can select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Small values in the metadata database, large ones as files beside it.
    Database,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.write_str("database"),
        }
    }
}

/// Airflow's names for "values are kept in the metadata database", of 2.x and 3.x.
const AIRFLOW_DATABASE: [&str; 3] = [
    "airflow.sdk.execution_time.xcom.BaseXCom",
    "airflow.models.xcom.BaseXCom",
    "airflow.sdk.bases.xcom.BaseXCom",
];

impl Backend {
    /// The backend of a name. An empty one selects Airflow's default, as it does in Airflow.
    pub(super) fn select(name: &str) -> Result<Self, Refusal> {
        if name == "database" || AIRFLOW_DATABASE.contains(&name) {
            return Ok(Self::Database);
        }
        let last = name.rsplit('.').next().unwrap_or(name);
        if matches!(name, "object_storage" | "redis") || last == "XComObjectStorageBackend" {
            return Err(Refusal::new("is not in this version of Excom")
                .hint("use `database`: values over [xcom] inline_limit become files beside the database"));
        }
        if is_class_path(name) {
            return Err(Refusal::new(format!("is the Python class `{last}`, which this program cannot run"))
                .hint("use `database`, which needs no Python")
                .hint("or set EXCOM__CORE__XCOM_BACKEND=database here, and leave Airflow's setting to its workers"));
        }
        Err(Refusal::new("is no XCom backend"))
    }
}

/// Whether a name is written like `package.module.Class`.
fn is_class_path(name: &str) -> bool {
    let word = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    name.contains('.') && name.split('.').all(word)
}
