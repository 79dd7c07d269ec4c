//! The names that `[core] xcom_backend` takes, Airflow's class paths among them.

use std::fmt;

use super::kind::Refusal;

/// An XCom backend that settings can select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Small values in the metadata database, large ones as files beside it.
    Database,
    /// Small values in the metadata database, large ones in object storage.
    ObjectStorage,
    /// Small values in the metadata database, large ones in Redis.
    Redis,
    /// Small values in the metadata database, large ones with a program of the user's own.
    Process,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.write_str("database"),
            Self::ObjectStorage => f.write_str("object_storage"),
            Self::Redis => f.write_str("redis"),
            Self::Process => f.write_str("process"),
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
        let last = name.rsplit('.').next().unwrap_or(name);
        match name {
            "" | "database" => return Ok(Self::Database),
            "object_storage" => return Ok(Self::ObjectStorage),
            "redis" => return Ok(Self::Redis),
            "process" => return Ok(Self::Process),
            _ if AIRFLOW_DATABASE.contains(&name) => return Ok(Self::Database),
            _ if !is_class_path(name) => return Err(Refusal::new("is no XCom backend")),
            _ => {}
        }
        // Its module moved between versions of the provider; Redis backends are everybody's own.
        if last == "XComObjectStorageBackend" {
            return Ok(Self::ObjectStorage);
        }
        if last.starts_with("Redis") || last.ends_with("RedisBackend") || last.ends_with("RedisXComBackend") {
            return Ok(Self::Redis);
        }
        Err(Refusal::new(format!("is the Python class `{last}`, which this program cannot run"))
            .hint("use `database`, `object_storage` or `redis`, which need no Python")
            .hint("or set EXCOM__CORE__XCOM_BACKEND here, and leave Airflow's setting to its workers"))
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
