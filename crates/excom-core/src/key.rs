//! Names: task instances and XComs, with Airflow's length rules.
//!
//! Keys are opaque text. Those that break Airflow's URLs (`a?b`, `a#b`, `../x`, `rows/slice`,
//! `rows/item/0`) are ordinary here; whoever puts a key into a URL or a file name escapes it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The key under which a task's return value is pushed.
pub const RETURN_VALUE: &str = "return_value";

/// The map index of a task instance that is not mapped.
pub const UNMAPPED: i32 = -1;

/// The most characters that a DAG, run or task id may have (Airflow's column width).
pub const MAX_ID_CHARS: usize = 250;

/// The most characters that an XCom's key may have (Airflow's column width).
pub const MAX_KEY_CHARS: usize = 512;

/// One task instance: a task in a DAG run, and its map index (−1 when not mapped).
///
/// Displayed as `dag/run/task` with `[index]` behind it when mapped.
///
/// ```
/// use excom_core::TaskInstanceKey;
///
/// let key = TaskInstanceKey::new("weather", "manual__1", "extract", -1)?;
/// assert_eq!(key.to_string(), "weather/manual__1/extract");
/// assert!(TaskInstanceKey::new("weather", "manual__1", "", -1).is_err());
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TaskInstanceKey {
    /// The DAG's id.
    pub dag_id: Arc<str>,
    /// The DAG run's id.
    pub run_id: Arc<str>,
    /// The task's id.
    pub task_id: Arc<str>,
    /// The map index; −1 when the task instance is not mapped.
    pub map_index: i32,
}

impl TaskInstanceKey {
    /// A checked task instance key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] when an id is empty or longer than [`MAX_ID_CHARS`], or the map
    /// index is below −1.
    pub fn new(
        dag_id: impl Into<Arc<str>>,
        run_id: impl Into<Arc<str>>,
        task_id: impl Into<Arc<str>>,
        map_index: i32,
    ) -> Result<Self> {
        let key = Self { dag_id: dag_id.into(), run_id: run_id.into(), task_id: task_id.into(), map_index };
        check("dag id", &key.dag_id, MAX_ID_CHARS)?;
        check("run id", &key.run_id, MAX_ID_CHARS)?;
        check("task id", &key.task_id, MAX_ID_CHARS)?;
        if map_index < UNMAPPED {
            return Err(Error::new(ErrorKind::InvalidName, format!("the map index {map_index} is below -1"))
                .hint("a mapped task instance has an index from 0; one that is not mapped has -1"));
        }
        Ok(key)
    }

    /// The same task in the same run at another map index.
    #[must_use]
    pub fn at(&self, map_index: i32) -> Self {
        Self { map_index, ..self.clone() }
    }

    /// The XCom of this task instance under a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] when the key is empty or longer than [`MAX_KEY_CHARS`].
    pub fn xcom(&self, key: impl Into<Arc<str>>) -> Result<XComKey> {
        let key = key.into();
        check("XCom key", &key, MAX_KEY_CHARS)?;
        Ok(XComKey { ti: self.clone(), key })
    }

    /// The XCom of this task instance under `return_value`.
    pub fn return_value(&self) -> XComKey {
        XComKey { ti: self.clone(), key: RETURN_VALUE.into() }
    }

    /// Whether it belongs to a mapped task.
    pub fn is_mapped(&self) -> bool {
        self.map_index >= 0
    }
}

impl fmt::Display for TaskInstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.dag_id, self.run_id, self.task_id)?;
        if self.map_index >= 0 {
            write!(f, "[{}]", self.map_index)?;
        }
        Ok(())
    }
}

/// The full name of an XCom: a task instance and a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct XComKey {
    /// Whose XCom it is.
    #[serde(flatten)]
    pub ti: TaskInstanceKey,
    /// The key; `return_value` by default.
    pub key: Arc<str>,
}

impl XComKey {
    /// A checked XCom key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] as for [`TaskInstanceKey::new`] and [`TaskInstanceKey::xcom`].
    pub fn new(
        dag_id: impl Into<Arc<str>>,
        run_id: impl Into<Arc<str>>,
        task_id: impl Into<Arc<str>>,
        map_index: i32,
        key: impl Into<Arc<str>>,
    ) -> Result<Self> {
        TaskInstanceKey::new(dag_id, run_id, task_id, map_index)?.xcom(key)
    }

    /// The same key of the same task at another map index.
    #[must_use]
    pub fn at(&self, map_index: i32) -> Self {
        Self { ti: self.ti.at(map_index), key: self.key.clone() }
    }

    /// The sequence over all map indexes that this key belongs to.
    pub fn sequence(&self) -> SequenceKey {
        SequenceKey {
            dag_id: self.ti.dag_id.clone(),
            run_id: self.ti.run_id.clone(),
            task_id: self.ti.task_id.clone(),
            key: self.key.clone(),
        }
    }
}

impl fmt::Display for XComKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.ti, self.key)
    }
}

/// The values of one key over all map indexes of a mapped task, in one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SequenceKey {
    /// The DAG's id.
    pub dag_id: Arc<str>,
    /// The DAG run's id.
    pub run_id: Arc<str>,
    /// The mapped task's id.
    pub task_id: Arc<str>,
    /// The key.
    pub key: Arc<str>,
}

impl SequenceKey {
    /// The XCom key at one map index.
    pub fn at(&self, map_index: i32) -> XComKey {
        XComKey {
            ti: TaskInstanceKey {
                dag_id: self.dag_id.clone(),
                run_id: self.run_id.clone(),
                task_id: self.task_id.clone(),
                map_index,
            },
            key: self.key.clone(),
        }
    }
}

impl fmt::Display for SequenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}[*] `{}`", self.dag_id, self.run_id, self.task_id, self.key)
    }
}

fn check(what: &str, text: &str, most: usize) -> Result<()> {
    if text.is_empty() {
        return Err(Error::new(ErrorKind::InvalidName, format!("the {what} is empty"))
            .hint(format!("give a {what} of 1 to {most} characters")));
    }
    // Bytes bound characters from above, so the count is needed only for long names.
    if text.len() > most {
        let chars = text.chars().count();
        if chars > most {
            let start: String = text.chars().take(40).collect();
            return Err(Error::new(
                ErrorKind::InvalidName,
                format!("the {what} `{start}…` has {chars} characters, the limit is {most}"),
            )
            .hint(format!("shorten the {what} to {most} characters, or put the long part into the value")));
        }
    }
    if text.contains('\0') {
        return Err(Error::new(ErrorKind::InvalidName, format!("the {what} has a NUL character"))
            .hint("no database stores NUL in a name; remove it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_break_urls_are_ordinary() {
        for key in ["a?b", "a#b", "..", "a/../b", "k/slice", "k/item/0", "k%2Fz", " ", "ключ", "{x}:y"] {
            let xcom = XComKey::new("d", "r", "t", -1, key).unwrap();
            assert_eq!(&*xcom.key, key);
        }
    }

    #[test]
    fn lengths_count_characters_not_bytes() {
        assert!(XComKey::new("d", "r", "t", -1, "é".repeat(512)).is_ok());
        let error = XComKey::new("d", "r", "t", -1, "é".repeat(513)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName);
        assert!(error.to_string().contains("513 characters, the limit is 512"), "{error}");
        assert!(TaskInstanceKey::new("d".repeat(250), "r", "t", -1).is_ok());
        assert!(TaskInstanceKey::new("d".repeat(251), "r", "t", -1).is_err());
        assert!(TaskInstanceKey::new("d", "r", "t", -2).is_err());
        assert!(XComKey::new("d", "r", "t", -1, "").is_err());
        assert!(XComKey::new("d", "r", "t", -1, "a\0b").is_err());
    }
}
