//! Variables: text under a name that all DAGs share.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::{Error, ErrorKind, Result};

/// The longest key of a variable, in characters, as in Airflow.
pub const KEY_LIMIT: usize = 250;

/// Prefixes of environment variables that override variables; the first that is set wins.
pub const OVERRIDES: [&str; 2] = ["EXCOM_VAR_", "AIRFLOW_VAR_"];

/// A variable as the metadata database holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Its key.
    pub key: Arc<str>,
    /// Its text.
    pub text: String,
    /// What it is for.
    pub description: Option<String>,
    /// When it was set last.
    pub updated_at: Timestamp,
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
