//! The dated versions of the API. An older supervisor refuses fields that it does not know and insists on those that have
//! gone since, so it is told exactly what its version has.

use indexmap::IndexMap;
use jiff::civil::Date;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::{DagRun, RunContext};
use crate::python::older;

/// The dates of all versions, oldest first.
pub const VERSIONS: [&str; 9] = [
    "2025-04-11",
    "2025-04-28",
    "2025-05-20",
    "2025-08-10",
    "2025-09-23",
    "2025-10-27",
    "2025-11-05",
    "2026-04-06",
    "2026-06-30",
];

/// Since when a run has fields that it had not from the beginning.
const SINCE: [(&str, &str); 6] = [
    ("2025-08-10", "state"),
    ("2025-11-05", "triggering_user_name"),
    ("2026-04-06", "partition_key"),
    ("2026-04-06", "note"),
    ("2026-06-30", "partition_date"),
    ("2026-06-30", "team_name"),
];

/// Since when a run that has not begun has no `start_date`, a start tells when its attempt began and no longer which
/// map indexes it depends on, and arguments of a deferred task are written as XComs are.
const SERDE: &str = "2026-04-06";

/// One of [`VERSIONS`].
///
/// ```
/// use excom_airflow::execution::Version;
///
/// let between = Version::at("2026-05-01".parse()?).ok_or("before the first")?;
/// assert_eq!(between.name(), "2026-04-06");
/// assert!(between < Version::NEWEST);
/// assert_eq!(Version::at("2025-04-10".parse()?), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(&'static str);

impl Version {
    /// That of Airflow 3.3.
    pub const NEWEST: Self = Self(VERSIONS[VERSIONS.len() - 1]);

    /// The version that was the newest at a date; none before the first.
    pub fn at(date: Date) -> Option<Self> {
        let date = date.to_string();
        VERSIONS.iter().rev().find(|version| date.as_str() >= **version).map(|version| Self(version))
    }

    /// Its date.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// An answer with the fields that this version has.
    ///
    /// ```
    /// use excom_airflow::execution::{DagRun, Version};
    ///
    /// fn told(version: Version, run: &DagRun) -> serde_json::Result<String> {
    ///     serde_json::to_string(&version.of(run))
    /// }
    /// ```
    pub fn of<T: Dated>(self, answer: &T) -> InVersion<'_, T> {
        InVersion { version: self, answer }
    }
}

/// The fields of an answer, each as it is written.
pub type Fields = IndexMap<String, Box<RawValue>>;

/// What other versions tell otherwise.
pub trait Dated: Serialize {
    /// Makes the newest version's fields those of an older one.
    ///
    /// # Errors
    /// What a field's JSON is not.
    fn to_older(&self, version: Version, fields: &mut Fields) -> serde_json::Result<()>;
}

impl Dated for DagRun {
    fn to_older(&self, version: Version, fields: &mut Fields) -> serde_json::Result<()> {
        for (_, name) in SINCE.iter().filter(|(since, _)| version.0 < *since) {
            fields.shift_remove(*name);
        }
        if version.0 < SERDE && self.start_date.is_none() {
            fields.insert("start_date".to_owned(), to_raw_value(&self.run_after)?);
        }
        Ok(())
    }
}

impl Dated for RunContext {
    fn to_older(&self, version: Version, fields: &mut Fields) -> serde_json::Result<()> {
        fields.insert("dag_run".to_owned(), to_raw_value(&version.of(&self.dag_run))?);
        if version.0 < SERDE {
            fields.shift_remove("start_date");
            fields.insert("upstream_map_indexes".to_owned(), to_raw_value(&())?);
            if let Some(arguments) = &self.next_kwargs {
                fields.insert("next_kwargs".to_owned(), older(arguments)?);
            }
        }
        Ok(())
    }
}

/// An answer in a version.
#[derive(Debug)]
pub struct InVersion<'a, T> {
    version: Version,
    answer: &'a T,
}

impl<T: Dated> Serialize for InVersion<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.version == Version::NEWEST {
            return self.answer.serialize(serializer);
        }
        let older = || {
            let mut fields = serde_json::from_str(&serde_json::to_string(self.answer)?)?;
            self.answer.to_older(self.version, &mut fields)?;
            serde_json::Result::Ok(fields)
        };
        older().map_err(S::Error::custom)?.serialize(serializer)
    }
}
