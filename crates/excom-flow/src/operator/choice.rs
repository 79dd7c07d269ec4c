//! Tasks that choose what runs behind them: branches and short circuits, and one that does nothing.
//!
//! They only say what they chose. The runner skips the tasks, checks that the ids are directly behind, and
//! pushes `skipmixin_key`.

use std::fmt;

use excom_core::{Error, ErrorKind, Shape, Value};

use super::{Field, Fields, Operator};
use crate::dag::{Dag, Handle};
use crate::error::within;
use crate::instance::TaskInstance;
use crate::outcome::{Result, SkipDownstream, returned};

/// The ids of the tasks that a branch follows: one, several, or none.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::BranchIds;
///
/// assert_eq!(BranchIds::from("load"), BranchIds::from(["load"]));
/// assert_eq!(BranchIds::from(None::<&str>).ids().len(), 0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct BranchIds(Vec<String>);

impl BranchIds {
    /// The ids.
    pub fn ids(&self) -> &[String] {
        &self.0
    }
}

impl From<&str> for BranchIds {
    fn from(id: &str) -> Self {
        Self(vec![id.to_owned()])
    }
}

impl From<String> for BranchIds {
    fn from(id: String) -> Self {
        Self(vec![id])
    }
}

impl<T: Into<String>> From<Vec<T>> for BranchIds {
    fn from(ids: Vec<T>) -> Self {
        Self(ids.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>, const N: usize> From<[T; N]> for BranchIds {
    fn from(ids: [T; N]) -> Self {
        Self(ids.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>> From<Option<T>> for BranchIds {
    fn from(id: Option<T>) -> Self {
        Self(id.into_iter().map(Into::into).collect())
    }
}

/// Follows these of the tasks directly behind this one, and what they lead to; all others are skipped.
/// Gives the ids, which is what a branch returns.
pub fn follow(ti: &TaskInstance, ids: impl Into<BranchIds>) -> BranchIds {
    let ids = ids.into();
    ti.skip_downstream(SkipDownstream::AllBut(ids.0.clone()));
    ids
}

/// Goes on when the condition holds, and otherwise skips everything behind this task. Gives the condition,
/// which is what a short circuit returns.
pub fn go_on_if(ti: &TaskInstance, condition: bool) -> bool {
    if !condition {
        ti.skip_downstream(SkipDownstream::All);
    }
    condition
}

/// What a function that is a branch returned: its choice, and the value to push.
pub fn branched<T>(result: Result<T>, ti: &TaskInstance, push: bool) -> Result<Option<Value>>
where
    T: serde::Serialize + Into<BranchIds>,
{
    let chosen = result?;
    let pushed = returned(Ok(&chosen), push)?;
    follow(ti, chosen);
    Ok(pushed)
}

/// What a function that is a short circuit returned: whether to go on, and the value to push.
pub fn short_circuited<T: serde::Serialize>(
    result: Result<T>,
    ti: &TaskInstance,
    push: bool,
) -> Result<Option<Value>> {
    let value = Value::of(&result?).map_err(|e| within("the return value", e))?;
    go_on_if(ti, is_true(&value)?);
    Ok((push && !value.is_null()).then_some(value))
}

/// What Python takes for true.
fn is_true(value: &Value) -> excom_core::Result<bool> {
    Ok(match value.shape() {
        Shape::String => !value.get::<String>()?.is_empty(),
        _ => holds(value)?,
    })
}

/// Does nothing: a point where ways meet or part.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl Operator for Empty {
    type Output = ();

    fn fields(&mut self) -> Fields<'_> {
        Vec::new()
    }

    async fn execute(self, _: TaskInstance) -> Result<()> {
        Ok(())
    }
}

/// Follows the task whose id a field gives, and skips the others directly behind it.
///
/// The field is a template, or another task's value: one id as text, or a list of ids. An empty list, empty
/// text and null follow none. What it returns is the list of ids.
#[derive(Debug, Clone)]
pub struct Branch {
    followed: Field,
}

impl Branch {
    /// Follows what the field says.
    pub fn new(followed: impl Into<Field>) -> Self {
        Self { followed: followed.into() }
    }
}

impl Operator for Branch {
    type Output = BranchIds;

    fn fields(&mut self) -> Fields<'_> {
        vec![("followed".into(), &mut self.followed)]
    }

    async fn execute(self, ti: TaskInstance) -> Result<BranchIds> {
        let value: Value = self.followed.get()?;
        let ids = match value.shape() {
            Shape::Null => BranchIds::default(),
            Shape::String => {
                let id: String = value.get()?;
                BranchIds::from(Some(id.trim()).filter(|id| !id.is_empty()))
            }
            _ => {
                let ids = value.get::<Vec<String>>().map_err(|e| within("the ids to follow", e))?;
                BranchIds::from(ids)
            }
        };
        Ok(follow(&ti, ids))
    }
}

/// A branch whose function chooses; see [`Dag::branch_by`].
#[derive(Clone)]
pub struct BranchBy<F> {
    choose: F,
}

impl<F> fmt::Debug for BranchBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BranchBy")
    }
}

impl<F, I> Operator for BranchBy<F>
where
    F: Fn(&TaskInstance) -> Result<I> + Clone + Send + Sync + 'static,
    I: Into<BranchIds>,
{
    type Output = BranchIds;

    fn fields(&mut self) -> Fields<'_> {
        Vec::new()
    }

    async fn execute(self, ti: TaskInstance) -> Result<BranchIds> {
        // It may pull, and so block.
        let chosen = tokio::task::spawn_blocking(move || (self.choose)(&ti).map(|ids| follow(&ti, ids)));
        chosen.await.unwrap_or_else(|e| {
            Err(Error::new(ErrorKind::Other, "the function that chooses a branch panicked").because(e).into())
        })
    }
}

/// Goes on when a condition holds, and skips everything behind it otherwise.
///
/// The condition is a template that gives `true` or `false`, or another task's value. As in Python, null,
/// `false`, 0, and empty text, lists and dicts do not hold, and all else does; text must be `true` or
/// `false` (in any case) or empty, because a template that gives anything else is a mistake.
#[derive(Debug, Clone)]
pub struct ShortCircuit {
    condition: Field,
    direct: bool,
}

impl ShortCircuit {
    /// Goes on when the condition holds.
    pub fn new(condition: impl Into<Field>) -> Self {
        Self { condition: condition.into(), direct: false }
    }

    /// The same short circuit, which skips only what is directly behind it; further tasks follow their
    /// trigger rules.
    #[must_use]
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }
}

impl Handle<'_, ShortCircuit> {
    /// Skips only what is directly behind it; further tasks follow their trigger rules.
    pub fn direct(self) -> Self {
        self.configure(|this| this.direct = true)
    }
}

impl Operator for ShortCircuit {
    type Output = bool;

    fn fields(&mut self) -> Fields<'_> {
        vec![("condition".into(), &mut self.condition)]
    }

    async fn execute(self, ti: TaskInstance) -> Result<bool> {
        let holds = holds(&self.condition.get()?)?;
        if !holds && self.direct {
            ti.skip_downstream(SkipDownstream::Direct);
            return Ok(false);
        }
        Ok(go_on_if(&ti, holds))
    }
}

fn holds(value: &Value) -> excom_core::Result<bool> {
    Ok(match value.get::<serde_json::Value>()? {
        serde_json::Value::Null => false,
        serde_json::Value::Bool(condition) => condition,
        serde_json::Value::Number(number) => number.as_f64() != Some(0.0),
        serde_json::Value::Array(items) => !items.is_empty(),
        serde_json::Value::Object(items) => !items.is_empty(),
        serde_json::Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" => true,
            "false" | "" => false,
            _ => {
                let message = format!("the condition is a text that is neither true nor false: {value:?}");
                return Err(Error::new(ErrorKind::InvalidValue, message)
                    .hint("compare in the template, as in `{{ ti.xcom_pull('count') > 0 }}`"));
            }
        },
    })
}

impl Dag {
    /// Adds a task that does nothing: a point where ways meet or part.
    pub fn empty(&self, task_id: &str) -> Handle<'_, Empty> {
        self.add(task_id, Empty)
    }

    /// Adds a task that chooses which of the tasks directly behind it run: the id, or a list of ids, that a
    /// template or another task's value gives. The others are skipped.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn count() -> u64 { 12 }
    ///
    /// #[dag]
    /// fn daily(dag: &Dag) {
    ///     let count = count(dag);
    ///     let choice = dag.branch("choose", "{{ 'load' if ti.xcom_pull('count') > 0 else 'none' }}");
    ///     let choice = choice.after(count);
    ///     dag.bash("load", "echo loading").after(choice);
    ///     dag.empty("none").after(choice);
    /// }
    /// assert_eq!(daily().graph()?.tasks().len(), 4);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn branch(&self, task_id: &str, followed: impl Into<Field>) -> Handle<'_, Branch> {
        self.add(task_id, Branch::new(followed))
    }

    /// Adds a branch whose function chooses, on a thread where it may block.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[dag]
    /// fn daily(dag: &Dag) {
    ///     let choice = dag.branch_by("choose", |ti| {
    ///         let count: Option<u64> = ti.xcom_pull("count").get()?;
    ///         Ok(if count > Some(0) { ["load", "tell"].to_vec() } else { vec![] })
    ///     });
    ///     dag.bash("load", "echo loading").after(choice);
    ///     dag.bash("tell", "echo told").after(choice);
    /// }
    /// assert_eq!(daily().graph()?.tasks().len(), 3);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn branch_by<F, I>(&self, task_id: &str, choose: F) -> Handle<'_, BranchBy<F>>
    where
        F: Fn(&TaskInstance) -> Result<I> + Clone + Send + Sync + 'static,
        I: Into<BranchIds>,
    {
        self.add(task_id, BranchBy { choose })
    }

    /// Adds a task that skips everything behind it unless a condition holds; see [`ShortCircuit`].
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn rows() -> Vec<u64> { vec![] }
    ///
    /// #[dag]
    /// fn daily(dag: &Dag) {
    ///     let any = dag.short_circuit("any", rows(dag));
    ///     dag.bash("load", "echo loading").after(any);
    /// }
    /// assert_eq!(daily().graph()?.tasks().len(), 3);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn short_circuit(&self, task_id: &str, condition: impl Into<Field>) -> Handle<'_, ShortCircuit> {
        self.add(task_id, ShortCircuit::new(condition))
    }
}
