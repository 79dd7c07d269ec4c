//! `xcom_pull`: which XComs are asked for. What becomes of the answers is `shape`'s.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use excom_core::answer::Answer;
use excom_core::engine::TaskAnswer;
use excom_core::{PullOptions, RETURN_VALUE, Result, SequenceKey, TaskInstanceKey, UNMAPPED, Value, XComKey};
use pollster::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TaskInstance;
use super::shape::{self, Element};
use crate::error::within;

/// Whose XComs are pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskIds {
    /// Those of the task that pulls.
    Own,
    /// Those of one task.
    One(String),
    /// Those of several tasks, in this order.
    Several(Vec<String>),
}

impl From<()> for TaskIds {
    fn from((): ()) -> Self {
        Self::Own
    }
}

impl From<&str> for TaskIds {
    fn from(task_id: &str) -> Self {
        Self::One(task_id.to_owned())
    }
}

impl From<String> for TaskIds {
    fn from(task_id: String) -> Self {
        Self::One(task_id)
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for TaskIds {
    fn from(task_ids: [S; N]) -> Self {
        Self::Several(task_ids.into_iter().map(Into::into).collect())
    }
}

impl<S: AsRef<str>> From<&[S]> for TaskIds {
    fn from(task_ids: &[S]) -> Self {
        Self::Several(task_ids.iter().map(|task_id| task_id.as_ref().to_owned()).collect())
    }
}

impl<S: Into<String>> From<Vec<S>> for TaskIds {
    fn from(task_ids: Vec<S>) -> Self {
        Self::Several(task_ids.into_iter().map(Into::into).collect())
    }
}

/// Which map indexes are pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapIndexes {
    /// The value of a task that is not mapped, also when the task is mapped (then there is none).
    Unmapped,
    /// One map index. A negative one is `Unmapped`.
    One(i32),
    /// Several, in this order.
    Several(Vec<i32>),
}

impl From<i32> for MapIndexes {
    fn from(map_index: i32) -> Self {
        if map_index < 0 { Self::Unmapped } else { Self::One(map_index) }
    }
}

impl From<Vec<i32>> for MapIndexes {
    fn from(map_indexes: Vec<i32>) -> Self {
        Self::Several(map_indexes)
    }
}

impl From<&[i32]> for MapIndexes {
    fn from(map_indexes: &[i32]) -> Self {
        Self::Several(map_indexes.to_owned())
    }
}

impl<const N: usize> From<[i32; N]> for MapIndexes {
    fn from(map_indexes: [i32; N]) -> Self {
        Self::Several(map_indexes.into())
    }
}

impl From<Range<i32>> for MapIndexes {
    fn from(map_indexes: Range<i32>) -> Self {
        Self::Several(map_indexes.collect())
    }
}

impl From<RangeInclusive<i32>> for MapIndexes {
    fn from(map_indexes: RangeInclusive<i32>) -> Self {
        Self::Several(map_indexes.collect())
    }
}

/// A pull that is being put together; [`get`](Pull::get) and its siblings do it.
///
/// What comes back has Airflow's shapes. Without [`map_indexes`](Pull::map_indexes): one task gives its
/// value, a mapped task the list of its values by real map index (null where nothing was pushed, also
/// with one element), several tasks one flat list. With it: one task and one index give the value,
/// everything else a list.
#[derive(Debug, Clone)]
#[must_use = "a pull asks nothing before `get`, `value` or `answers`"]
pub struct Pull {
    ti: TaskInstance,
    task_ids: TaskIds,
    dag_id: Option<Arc<str>>,
    run_id: Option<Arc<str>>,
    key: Arc<str>,
    map_indexes: Option<MapIndexes>,
    options: PullOptions,
    default: Result<Option<Value>, String>,
}

impl Pull {
    pub(super) fn new(ti: TaskInstance, task_ids: TaskIds) -> Self {
        Self {
            ti,
            task_ids,
            dag_id: None,
            run_id: None,
            key: RETURN_VALUE.into(),
            map_indexes: None,
            options: PullOptions::default(),
            default: Ok(None),
        }
    }

    /// From another DAG, in the run of the same id unless [`run_id`](Pull::run_id) is given.
    pub fn dag_id(mut self, dag_id: impl Into<Arc<str>>) -> Self {
        self.dag_id = Some(dag_id.into());
        self
    }

    /// From another run.
    pub fn run_id(mut self, run_id: impl Into<Arc<str>>) -> Self {
        self.run_id = Some(run_id.into());
        self
    }

    /// Under another key than `return_value`.
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.key = key.into();
        self
    }

    /// Only these map indexes: one (`2`), several (`[2, 0]`, `0..3`), or [`MapIndexes::Unmapped`].
    pub fn map_indexes(mut self, map_indexes: impl Into<MapIndexes>) -> Self {
        self.map_indexes = Some(map_indexes.into());
        self
    }

    /// When the run has no value, the newest of an earlier run by logical date.
    pub fn include_prior_dates(self) -> Self {
        self.prior_dates(true)
    }

    pub(crate) fn prior_dates(mut self, include: bool) -> Self {
        self.options.include_prior_dates = include;
        self
    }

    pub(crate) fn default_value(mut self, default: Value) -> Self {
        self.default = Ok(Some(default));
        self
    }

    /// The value to take wherever there is none, or null was pushed.
    pub fn default<T: Serialize + ?Sized>(mut self, default: &T) -> Self {
        self.default = Value::of(default).map(Some).map_err(|e| e.to_string());
        self
    }

    /// The value as a Rust type. Blocks.
    ///
    /// # Errors
    /// The answer's own error where there is no value and `T` cannot be without (`Option<T>` can);
    /// always for a value that is damaged, forbidden, expired or away.
    pub fn get<T: DeserializeOwned>(self) -> Result<T> {
        block_on(self.aget())
    }

    /// As [`get`](Pull::get), without blocking.
    ///
    /// # Errors
    /// As [`get`](Pull::get).
    pub async fn aget<T: DeserializeOwned>(self) -> Result<T> {
        let place = format!("pulling `{}`", self.key);
        let (value, missing) = self.shaped().await?;
        value.get().map_err(|mismatch| {
            // What is not there explains a null better than the null does.
            within(&place, missing.map_or(mismatch, Answer::into_error))
        })
    }

    /// The value as JSON, null where there is none. Blocks.
    ///
    /// # Errors
    /// For a value that is damaged, forbidden, expired or away.
    pub fn value(self) -> Result<Value> {
        block_on(self.avalue())
    }

    /// As [`value`](Pull::value), without blocking.
    ///
    /// # Errors
    /// As [`value`](Pull::value).
    pub async fn avalue(self) -> Result<Value> {
        Ok(self.shaped().await?.0)
    }

    /// The value in its shape, and the first answer without a value.
    pub(crate) async fn shaped(self) -> Result<(Value, Option<Answer>)> {
        let default = self.default.clone().map_err(|e| {
            excom_core::Error::new(excom_core::ErrorKind::InvalidValue, format!("the default of a pull: {e}"))
        })?;
        let single = !matches!(self.task_ids, TaskIds::Several(_));
        if let Some(map_indexes) = &self.map_indexes {
            let answers = self.pull(&self.keys(map_indexes)?).await?;
            let bare = single && !matches!(map_indexes, MapIndexes::Several(_));
            return shape::of(answers.into_iter().map(Element::Answer).collect(), bare, default.as_ref());
        }
        let mut answers = self.pull_tasks().await?;
        if single
            && let Some(TaskAnswer::Single(answer)) = answers.pop_if(|a| matches!(a, TaskAnswer::Single(_)))
        {
            return shape::of(vec![Element::Answer(answer)], true, default.as_ref());
        }
        let elements: Vec<Vec<Element>> = answers.into_iter().map(shape::elements).collect::<Result<_>>()?;
        shape::of(elements.into_iter().flatten().collect(), false, default.as_ref())
    }

    /// Each XCom with its answer, flat and in order: the value, or why there is none. Blocks.
    ///
    /// # Errors
    /// When the pull as a whole fails.
    pub fn answers(self) -> Result<Vec<(XComKey, Answer)>> {
        block_on(self.aanswers())
    }

    /// As [`answers`](Pull::answers), without blocking.
    ///
    /// # Errors
    /// As [`answers`](Pull::answers).
    pub async fn aanswers(self) -> Result<Vec<(XComKey, Answer)>> {
        if let Some(map_indexes) = &self.map_indexes {
            let keys = self.keys(map_indexes)?;
            let answers = self.pull(&keys).await?;
            return Ok(keys.into_iter().zip(answers).collect());
        }
        let mut answers = Vec::new();
        for (key, answer) in self.sequences()?.into_iter().zip(self.pull_tasks().await?) {
            match answer {
                TaskAnswer::Single(answer) => answers.push((key.at(UNMAPPED), Some(answer))),
                mapped => answers.extend((0..).zip(shape::elements(mapped)?).map(|(map_index, element)| {
                    let answer = if let Element::Answer(answer) = element { Some(answer) } else { None };
                    (key.at(map_index), answer)
                })),
            }
        }
        // Why a mapped task instance pushed nothing is asked only where it matters: here.
        let gaps: Vec<XComKey> =
            answers.iter().filter(|(_, answer)| answer.is_none()).map(|(key, _)| key.clone()).collect();
        let mut explained = if gaps.is_empty() {
            Vec::new()
        } else {
            self.ti.channel().pull(&gaps, PullOptions::default()).await?
        }
        .into_iter();
        let explain = |(key, answer): (XComKey, Option<Answer>)| {
            let answer = answer.or_else(|| explained.next())?;
            Some((key, answer))
        };
        Ok(answers.into_iter().filter_map(explain).collect())
    }

    async fn pull(&self, keys: &[XComKey]) -> Result<Vec<Answer>> {
        self.ti.channel().pull(keys, self.options).await
    }

    async fn pull_tasks(&self) -> Result<Vec<TaskAnswer>> {
        self.ti.channel().pull_tasks(&self.sequences()?, self.options).await
    }

    /// The tasks asked for, in order.
    fn tasks(&self) -> Result<Vec<TaskInstanceKey>> {
        let own = self.ti.key();
        let named = |task_id: &str| {
            let dag_id = self.dag_id.clone().unwrap_or_else(|| own.dag_id.clone());
            let run_id = self.run_id.clone().unwrap_or_else(|| own.run_id.clone());
            TaskInstanceKey::new(dag_id, run_id, task_id, UNMAPPED)
        };
        match &self.task_ids {
            TaskIds::Own => Ok(vec![named(&own.task_id)?]),
            TaskIds::One(task_id) => Ok(vec![named(task_id)?]),
            TaskIds::Several(task_ids) => task_ids.iter().map(|task_id| named(task_id)).collect(),
        }
    }

    fn sequences(&self) -> Result<Vec<SequenceKey>> {
        self.tasks()?.into_iter().map(|task| Ok(task.xcom(self.key.clone())?.sequence())).collect()
    }

    /// Every task at every index, tasks outermost.
    fn keys(&self, map_indexes: &MapIndexes) -> Result<Vec<XComKey>> {
        let indexes: &[i32] = match map_indexes {
            MapIndexes::Unmapped => &[UNMAPPED],
            MapIndexes::One(index) => std::slice::from_ref(index),
            MapIndexes::Several(indexes) => indexes,
        };
        let mut keys = Vec::new();
        for task in self.tasks()? {
            let key = task.xcom(self.key.clone())?;
            keys.extend(indexes.iter().map(|index| key.at((*index).max(UNMAPPED))));
        }
        Ok(keys)
    }
}
