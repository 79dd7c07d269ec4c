//! Who may read and write what: the rules as they are set, and each question that they answer.
//!
//! Everything that reads asks [`Engine::sight`] first, everything that pushes [`Engine::may_write`], and a clear
//! [`Engine::may_clear`].

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Engine;
use crate::answer::{Answer, Forbidden};
use crate::attempt::{Attempt, Caller};
use crate::db::{Filter, Scope};
use crate::{Error, ErrorKind, Result, SequenceKey, TaskInstanceKey, UNMAPPED, XComKey};

/// Which XComs tasks may write and read. People and the host itself are not bound by it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// `[xcom] writes`.
    pub writes: Writes,
    /// `[xcom] reads`.
    pub reads: Reads,
    /// `[xcom] grants`: what tasks may read beyond `reads`.
    pub grants: Vec<Grant>,
    /// `[xcom] observe`: what would be refused is counted, and nothing is refused.
    pub observe: bool,
    /// `[xcom] exempt`: DAGs whose tasks the rules do not bind yet.
    pub exempt: Vec<Exemption>,
    /// Where `writes` was set, for refusals; empty when that is not known.
    pub writes_from: String,
    /// Where `reads` was set, for refusals; empty when that is not known.
    pub reads_from: String,
}

/// Which XComs a task may push and clear.
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
    /// Of its own DAG run, those of its own task, of the tasks directly before it, and of those whose XComs
    /// it takes as arguments, as the run's DAG version tells.
    Declared,
}

impl Reads {
    fn rule(self) -> &'static str {
        match self {
            Self::Any => "[xcom] reads = \"any\"",
            Self::Run => "[xcom] reads = \"run\"",
            Self::Declared => "[xcom] reads = \"declared\"",
        }
    }
}

const WRITES_OWN: &str = "[xcom] writes = \"own\"";

/// A name, or with `*` at its end all that begin with it.
///
/// ```
/// use excom_core::engine::Pattern;
///
/// assert!(Pattern::new("_link_*").fits("_link_Logs") && !Pattern::new("_link_").fits("_link_Logs"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// The pattern that a text is.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Whether a name is meant.
    pub fn fits(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => *self.0 == *name,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tasks that may read the XComs of other tasks, in every run: `DAG reads DAG/TASK`.
///
/// The reader is a DAG or, as `DAG/TASK`, one of its tasks; what may be read is one task, or with `*` those
/// that begin alike.
///
/// ```
/// use excom_core::engine::Grant;
///
/// let grant: Grant = "report reads weather/choose_*".parse()?;
/// assert_eq!(grant.to_string(), "report reads weather/choose_*");
/// assert!("report reads weather".parse::<Grant>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    reader: Arc<str>,
    reading: Pattern,
    dag_id: Arc<str>,
    tasks: Pattern,
}

impl Grant {
    fn is_for(&self, reader: &TaskInstanceKey) -> bool {
        self.reader == reader.dag_id && self.reading.fits(&reader.task_id)
    }

    /// Whether it is about all that a list shows.
    fn covers(&self, dag_id: &str, task_id: Option<&str>) -> bool {
        *self.dag_id == *dag_id && task_id.map_or(&*self.tasks.0 == "*", |task_id| self.tasks.fits(task_id))
    }
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [reader, "reads", of] = words[..] else {
            return Err(format!("has `{text}`, which is not `DAG reads DAG/TASK`"));
        };
        let (reader, reading) = reader.split_once('/').unwrap_or((reader, "*"));
        let Some((dag_id, tasks)) = of.split_once('/') else {
            return Err(format!("has `{text}`, which names no task of `{of}`: write `{of}/*` for all"));
        };
        if [reader, reading, dag_id, tasks].contains(&"") {
            return Err(format!("has `{text}`, where a name is empty"));
        }
        if [reader, dag_id].iter().any(|dag| dag.contains('*')) {
            return Err(format!("has `{text}`, where `*` stands for DAGs: name each DAG"));
        }
        Ok(Self {
            reader: reader.into(),
            reading: Pattern::new(reading),
            dag_id: dag_id.into(),
            tasks: Pattern::new(tasks),
        })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reader)?;
        if &*self.reading.0 != "*" {
            write!(f, "/{}", self.reading)?;
        }
        write!(f, " reads {}/{}", self.dag_id, self.tasks)
    }
}

/// A DAG that is not held to the rules up to and including a day (in UTC): `DAG until 2026-12-31`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exemption {
    /// The DAG's id.
    pub dag_id: Arc<str>,
    /// The last day.
    pub until: Date,
}

impl Exemption {
    /// Whether it still holds.
    pub fn holds_at(&self, at: Timestamp) -> bool {
        at.to_zoned(jiff::tz::TimeZone::UTC).date() <= self.until
    }
}

impl FromStr for Exemption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [dag_id, "until", day] = words[..] else {
            return Err(format!("has `{text}`, which is not `DAG until YYYY-MM-DD`"));
        };
        let until = day.parse().map_err(|_| format!("has `{text}`, where `{day}` is no day (YYYY-MM-DD)"))?;
        Ok(Self { dag_id: dag_id.into(), until })
    }
}

impl fmt::Display for Exemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} until {}", self.dag_id, self.until)
    }
}

impl Access {
    /// Whether a DAG is not held to the rules now.
    pub(super) fn exempts(&self, dag_id: &str, now: impl FnOnce() -> Timestamp) -> bool {
        let mut of_dag = self.exempt.iter().filter(|exemption| *exemption.dag_id == *dag_id).peekable();
        if of_dag.peek().is_none() {
            return false;
        }
        let now = now();
        of_dag.any(|exemption| exemption.holds_at(now))
    }
}

/// A rule as it is told: with where it was set.
fn told(rule: &str, from: &str) -> String {
    if from.is_empty() { rule.to_owned() } else { format!("{rule} (from {from})") }
}

/// What one caller may read, found out once for all that a call asks for.
pub(super) struct Sight<'a>(Option<Bound<'a>>);

/// An attempt that the rules bind.
struct Bound<'a> {
    engine: &'a Engine,
    attempt: &'a Attempt,
    /// With `declared`, the tasks that it declares; none when nothing is known of that.
    declared: Option<Arc<BTreeSet<Arc<str>>>>,
}

impl Sight<'_> {
    /// The refusal of a read, if it is one. `prior` tells that earlier runs are looked at too.
    pub(super) fn refusal(&self, key: &XComKey, prior: bool) -> Option<Answer> {
        let bound = self.0.as_ref()?;
        let (ti, of) = (&bound.attempt.ti, &key.ti);
        let own_run = of.dag_id == ti.dag_id && of.run_id == ti.run_id && !prior;
        if bound.sees(own_run, Some(&of.dag_id), Some(&of.task_id)) {
            return None;
        }
        let rule = bound.refuse(|| format!("{}/{}", of.dag_id, of.task_id))?;
        Some(Answer::Forbidden(Box::new(Forbidden { key: key.clone(), rule })))
    }

    /// The refusal to read a sequence, told as one of its unmapped XCom.
    pub(super) fn refusal_of(&self, key: &SequenceKey, prior: bool) -> Option<Answer> {
        self.0.as_ref().and_then(|_| self.refusal(&key.at(UNMAPPED), prior))
    }

    /// Refuses, as an error, a look at an XCom that the caller may not read.
    pub(super) fn permit(&self, key: &XComKey) -> Result<()> {
        self.refusal(key, false).map_or(Ok(()), |refusal| Err(refusal.into_error()))
    }

    /// Refuses a list of more than the caller may read.
    pub(super) fn permit_list(&self, filter: &Filter) -> Result<()> {
        let Some(bound) = &self.0 else { return Ok(()) };
        let ti = &bound.attempt.ti;
        let own_run =
            filter.dag_id.as_ref() == Some(&ti.dag_id) && filter.run_id.as_ref() == Some(&ti.run_id);
        let (dag_id, task_id) = (filter.dag_id.as_deref(), filter.task_id.as_deref());
        if bound.sees(own_run, dag_id, task_id) {
            return Ok(());
        }
        let Some(rule) = bound.refuse(|| format!("{}/{}", dag_id.unwrap_or("*"), task_id.unwrap_or("*")))
        else {
            return Ok(());
        };
        let hint = match bound.engine.0.settings.access.reads {
            Reads::Declared => "list the XComs of one task that it may read, in its own DAG run",
            Reads::Any | Reads::Run => "list the XComs of its own DAG run",
        };
        let what = format!("task {ti} may not list XComs of others: {rule}");
        Err(Error::new(ErrorKind::Forbidden, what).hint(hint))
    }
}

impl Bound<'_> {
    /// Whether it may read what a task of a DAG (any, without one) pushed.
    fn sees(&self, own_run: bool, dag_id: Option<&str>, task_id: Option<&str>) -> bool {
        let (access, ti) = (&self.engine.0.settings.access, &self.attempt.ti);
        let within = match access.reads {
            Reads::Any => true,
            Reads::Run => own_run,
            Reads::Declared => {
                own_run
                    && task_id.is_some_and(|task_id| {
                        *ti.task_id == *task_id
                            || self.declared.as_ref().is_some_and(|tasks| tasks.contains(task_id))
                    })
            }
        };
        let granted = |dag_id| access.grants.iter().any(|it| it.is_for(ti) && it.covers(dag_id, task_id));
        within || dag_id.is_some_and(granted)
    }

    /// The rule that refuses; none when that is only observed.
    fn refuse(&self, target: impl FnOnce() -> String) -> Option<String> {
        let access = &self.engine.0.settings.access;
        let rule = access.reads.rule();
        if access.observe {
            self.engine.observe(rule, &self.attempt.ti, target());
            return None;
        }
        let told = told(rule, &access.reads_from);
        Some(match access.reads {
            Reads::Declared if self.declared.is_none() => format!(
                "{told}, and what the tasks of this run declare is not known; run the DAG as a DAG program, \
                 which keeps that with the run"
            ),
            _ => told,
        })
    }
}

impl Engine {
    /// What a caller may read.
    pub(super) async fn sight<'a>(&'a self, caller: &'a Caller) -> Result<Sight<'a>> {
        let Some(attempt) = self.bound(caller, self.0.settings.access.reads != Reads::Any) else {
            return Ok(Sight(None));
        };
        let declared = match self.0.settings.access.reads {
            Reads::Declared => self.declared(&attempt.ti).await?,
            Reads::Any | Reads::Run => None,
        };
        Ok(Sight(Some(Bound { engine: self, attempt, declared })))
    }

    /// Refuses, as an error, a look at an XCom that the caller may not read.
    pub(super) async fn may_look(&self, caller: &Caller, key: &XComKey) -> Result<()> {
        self.sight(caller).await?.permit(key)
    }

    /// Whether a caller may push an XCom.
    pub(super) fn may_write(&self, caller: &Caller, key: &XComKey) -> Result<()> {
        self.may_change(caller, &key.ti, || format!("push {key}"))
    }

    /// Whether a caller may clear XComs.
    pub(super) fn may_clear(&self, caller: &Caller, scope: &Scope) -> Result<()> {
        self.may_change(caller, scope.ti(), || format!("clear XComs of {}", scope.ti()))
    }

    /// Whether a caller may change XComs of a task instance.
    fn may_change(&self, caller: &Caller, ti: &TaskInstanceKey, what: impl FnOnce() -> String) -> Result<()> {
        let access = &self.0.settings.access;
        match self.bound(caller, access.writes == Writes::Own) {
            Some(attempt) if attempt.ti != *ti && access.observe => {
                self.observe(WRITES_OWN, &attempt.ti, format!("{}/{}", ti.dag_id, ti.task_id));
                Ok(())
            }
            Some(attempt) if attempt.ti != *ti => Err(Error::new(
                ErrorKind::Forbidden,
                format!("{caller} may not {}: {}", what(), told(WRITES_OWN, &access.writes_from)),
            )
            .hint("a task pushes and clears its own XComs; let others pull them")),
            _ => Ok(()),
        }
    }

    /// The attempt that a caller is, if there is a rule and its DAG is held to it.
    fn bound<'a>(&self, caller: &'a Caller, rule: bool) -> Option<&'a Attempt> {
        match caller {
            Caller::Attempt(attempt) if rule => {
                let exempt = self.0.settings.access.exempts(&attempt.ti.dag_id, || self.0.clock.now());
                (!exempt).then_some(attempt)
            }
            _ => None,
        }
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
