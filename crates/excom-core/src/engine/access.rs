//! Who may read and write what.

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Forbidden};
use crate::attempt::Caller;
use crate::db::{Filter, Scope};
use crate::{Error, ErrorKind, Result, XComKey};

/// Which XComs tasks may write and read. People and the host itself are not bound by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// `[xcom] writes`.
    pub writes: Writes,
    /// `[xcom] reads`.
    pub reads: Reads,
}

/// Which XComs a task may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writes {
    /// Those of any task instance (what Airflow allows).
    #[default]
    Any,
    /// Only those of its own task instance.
    Own,
}

/// Which XComs a task may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// All (what Airflow allows).
    #[default]
    Any,
    /// Those of its own DAG run.
    Run,
}

impl Access {
    /// Whether a caller may write an XCom.
    pub(super) fn may_write(self, caller: &Caller, key: &XComKey) -> Result<()> {
        match (caller, self.writes) {
            (Caller::Attempt(attempt), Writes::Own) if attempt.ti != key.ti => Err(Error::new(
                ErrorKind::Forbidden,
                format!("{caller} may not push {key}: [xcom] writes = \"own\""),
            )
            .hint("a task pushes its own XComs; let others pull them")),
            _ => Ok(()),
        }
    }

    /// Whether a caller may see the entries that a filter lets through.
    pub(super) fn may_list(self, caller: &Caller, filter: &Filter) -> Result<()> {
        match (caller, self.reads) {
            (Caller::Attempt(attempt), Reads::Run)
                if filter.dag_id.as_ref() != Some(&attempt.ti.dag_id)
                    || filter.run_id.as_ref() != Some(&attempt.ti.run_id) =>
            {
                Err(Error::new(
                    ErrorKind::Forbidden,
                    format!("{caller} may not list XComs of other runs: [xcom] reads = \"run\""),
                )
                .hint("list the XComs of its own DAG run"))
            }
            _ => Ok(()),
        }
    }

    /// The refusal of a read, if it is one. `prior` tells that earlier runs are looked at too.
    pub(super) fn refuse_read(self, caller: &Caller, key: &XComKey, prior: bool) -> Option<Answer> {
        let Caller::Attempt(attempt) = caller else { return None };
        let own_run = attempt.ti.dag_id == key.ti.dag_id && attempt.ti.run_id == key.ti.run_id;
        match self.reads {
            Reads::Run if !own_run || prior => Some(Answer::Forbidden(Box::new(Forbidden {
                key: key.clone(),
                rule: "[xcom] reads = \"run\"".to_owned(),
            }))),
            _ => None,
        }
    }
}

/// An attempt clears its own task instance only.
pub(super) fn may_remove(caller: &Caller, scope: &Scope) -> Result<()> {
    match caller {
        Caller::Attempt(attempt) if attempt.ti != *scope.ti() => Err(Error::new(
            ErrorKind::Forbidden,
            format!("{caller} may not clear XComs of {}: a task clears only its own", scope.ti()),
        )),
        _ => Ok(()),
    }
}

/// Deleting is for people.
pub(super) fn may_delete(caller: &Caller, scope: &Scope) -> Result<()> {
    match caller {
        Caller::Attempt(_) => Err(Error::new(
            ErrorKind::Forbidden,
            format!("{caller} may not delete XComs of {}: deleting removes history too", scope.ti()),
        )
        .hint("clear them instead; a clear keeps the history")),
        _ => Ok(()),
    }
}
