//! The work of one try, over whatever channel its task instance has: its arguments are pulled, its body runs,
//! and what remains is what it returned, to be pushed.

use std::any::Any;
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use excom_core::json::Shape;
use excom_core::{Error, ErrorKind, PullOptions, RETURN_VALUE, UNMAPPED, Value, XComKey};

use super::expansion::{Expansion, kwargs, sibling, too_long};
use super::schedule::Target;
use crate::arg::Gaps;
use crate::dag::{Graph, Over, Taken, Task};
use crate::instance::{MapIndexes, TaskInstance};
use crate::operator::TERM_GRACE;
use crate::outcome::{BoxError, Result, SkipDownstream};
use crate::sequence::{Unresolved, resolve};
use crate::work::{Argument, Arguments, Returned, Running};

/// How long operators have to end what they started, after the run was cancelled: more than a command
/// gets, so that the operator itself does the killing.
const CANCEL_GRACE: Duration = TERM_GRACE.saturating_add(Duration::from_secs(5));

/// The key under which a task says which tasks behind it are skipped, as in Airflow.
pub(crate) const SKIPMIXIN_KEY: &str = "skipmixin_key";

/// What a try leaves to be pushed and done when its body ended well.
#[derive(Debug)]
pub(crate) struct Executed {
    /// In this order.
    pub(crate) pushes: Vec<(XComKey, Value)>,
    /// Tasks behind it that it chose to skip.
    pub(crate) skips: Vec<u32>,
}

/// Runs a task in a task instance. `expansion` is what the task, or its group, is expanded over, if that is
/// known already. `most` is the limit of the length of sequences.
pub(crate) async fn execute(
    graph: &Graph,
    number: u32,
    ti: &TaskInstance,
    expansion: Option<Arc<Expansion>>,
    most: u32,
) -> Result<Executed> {
    let task = &graph.tasks()[number as usize];
    let arguments = arguments(graph, task, number, ti, expansion, most).await?;
    let running = catch_unwind(AssertUnwindSafe(|| task.work.start(ti.clone(), arguments)))
        .unwrap_or_else(|panic| panicked(&*panic).into());
    let returned = finish(running, ti, task.settings().execution_timeout).await?;
    leave(graph, number, ti, returned, most)
}

/// What is to be pushed: with `multiple_outputs` each entry under its own key, and the whole last. A task that
/// skips others says which, and pushes nothing else unless it is mapped.
fn leave(
    graph: &Graph,
    number: u32,
    ti: &TaskInstance,
    returned: Option<Value>,
    most: u32,
) -> Result<Executed> {
    let task = &graph.tasks()[number as usize];
    let key = ti.key();
    if task.gives_length {
        check_length(returned.as_ref(), most)?;
    }
    let (mut pushes, mut skipped) = (Vec::new(), Vec::new());
    if let Some(choice) = ti.skips() {
        let skips = graph.skipped(number, &choice)?;
        let names = |tasks: &[u32]| -> Vec<Arc<str>> {
            tasks.iter().map(|task| graph.tasks()[*task as usize].shared_id().clone()).collect()
        };
        let is_branch = matches!(choice, SkipDownstream::AllBut(_)) && !task.downstream.is_empty();
        if is_branch {
            // A scheduler reads it to see whether a task directly behind was skipped.
            let followed: Vec<u32> =
                task.downstream.iter().copied().filter(|task| !skips.contains(task)).collect();
            let told = HashMap::from([("followed", names(&followed))]);
            pushes.push((key.xcom(SKIPMIXIN_KEY)?, Value::of(&told)?));
        } else if !skips.is_empty() {
            let told = HashMap::from([("skipped", names(&skips))]);
            pushes.push((key.xcom(SKIPMIXIN_KEY)?, Value::of(&told)?));
        }
        if !skips.is_empty() && !key.is_mapped() {
            return Ok(Executed { pushes, skips });
        }
        skipped = skips;
    }
    if let Some(value) = returned {
        if task.settings().multiple_outputs {
            pushes.extend(entries(key, &value)?);
        }
        pushes.push((key.return_value(), value));
        // Any other value was checked when the program was compiled.
        if task.work.returns_anything()
            || (task.settings().multiple_outputs && task.work.types().outputs.is_empty())
        {
            for (key, value) in &pushes {
                ti.check_push(&key.key, value)?;
            }
        }
    }
    Ok(Executed { pushes, skips: skipped })
}

fn check_length(returned: Option<&Value>, most: u32) -> Result<()> {
    let length = match returned.map(Value::shape) {
        Some(Shape::List(length) | Shape::Dict(length)) => length,
        Some(shape) => {
            return Err(Error::new(
                ErrorKind::InvalidValue,
                format!("a task is expanded over what it returns, and that is a {shape}"),
            )
            .hint("return a list or a dict")
            .into());
        }
        None => {
            return Err(Error::new(
                ErrorKind::InvalidValue,
                "a task is expanded over what it returns, and it returned nothing",
            )
            .hint("return an empty list to expand over nothing")
            .into());
        }
    };
    if length > u64::from(most) {
        return Err(too_long(
            &format!("a task is expanded over the {length} elements that it returned"),
            most,
        )
        .into());
    }
    Ok(())
}

/// What the task takes; all single values of other tasks come in one pull.
async fn arguments(
    graph: &Graph,
    task: &Task,
    number: u32,
    ti: &TaskInstance,
    expansion: Option<Arc<Expansion>>,
    most: u32,
) -> Result<Arguments> {
    let (own, channel) = (ti.key(), ti.channel());
    let expansion = match (expansion, &task.over, task.group) {
        (Some(expansion), ..) => Some(expansion),
        (None, Some(_), _) => Some(expand(graph, Target::Task(number), ti, most).await?),
        (None, None, Some(group)) if task.inputs.iter().any(|(_, taken)| matches!(taken, Taken::Element)) => {
            Some(expand(graph, Target::Group(group), ti, most).await?)
        }
        _ => None,
    };
    let element = async |factor: usize| -> Result<Value> {
        let expansion = expansion.as_ref().ok_or("the task is expanded over nothing")?;
        expansion.element(factor, own.map_index, &**channel).await
    };
    let mut keywords: HashMap<String, Value> = match &task.over {
        Some(Over::Kwargs(_)) => kwargs(&element(0).await?, task)?.into_iter().collect(),
        _ => HashMap::new(),
    };
    let instance = |producer: u32, map_index: i32| {
        sibling(own, graph.tasks()[producer as usize].shared_id().clone(), map_index)
    };
    let keys: Vec<XComKey> = task
        .inputs
        .iter()
        .filter(|(name, _)| !keywords.contains_key(&**name))
        .filter_map(|(_, taken)| match taken {
            Taken::XCom { task: producer, key } => {
                let together = task.group.is_some() && graph.tasks()[*producer as usize].group == task.group;
                let map_index = if together { own.map_index } else { UNMAPPED };
                Some(instance(*producer, map_index).xcom(key.clone()))
            }
            _ => None,
        })
        .collect::<excom_core::Result<_>>()?;
    let answers =
        if keys.is_empty() { Vec::new() } else { channel.pull(&keys, PullOptions::default()).await? };
    let mut answers = answers.into_iter();
    let mut arguments = Vec::with_capacity(task.inputs.len());
    for (name, taken) in &task.inputs {
        if let Some(value) = keywords.remove(&**name) {
            arguments.push((name.clone(), Argument::Value(value)));
            continue;
        }
        let argument = match taken {
            Taken::Literal(value) => Argument::Value(value.clone()),
            Taken::Param(param) => {
                Argument::Value(ti.params().value(param).cloned().ok_or("a parameter has no value")?)
            }
            Taken::XCom { .. } => Argument::Answer(answers.next().ok_or("the channel gave too few answers")?),
            Taken::Gather { task: producer, key, gaps } => {
                Argument::Value(gather(ti, graph.tasks()[*producer as usize].id(), key, *gaps).await?)
            }
            Taken::Stream { task: producer, key } => Argument::Sequence(
                channel.clone(),
                instance(*producer, UNMAPPED).xcom(key.clone())?.sequence(),
            ),
            Taken::Element => Argument::Value(element(0).await?),
            Taken::Factor(factor) => Argument::Value(element(*factor).await?),
            Taken::All(elements) => {
                let producer = |producer| instance(producer, UNMAPPED);
                let resolved = resolve(elements, &producer, ti.params(), &**channel).await.map_err(reason)?;
                Argument::Value(resolved.list(&**channel).await?)
            }
            Taken::Kwarg => Argument::Absent,
        };
        arguments.push((name.clone(), argument));
    }
    Ok(Arguments::new(arguments))
}

async fn expand(graph: &Graph, target: Target, ti: &TaskInstance, most: u32) -> Result<Arc<Expansion>> {
    let expansion = Expansion::resolve(graph, target, ti.key(), ti.params(), &**ti.channel(), most).await;
    Ok(Arc::new(expansion.map_err(reason)?))
}

fn reason(unresolved: Unresolved) -> Error {
    match unresolved {
        Unresolved::Missing(error) | Unresolved::Failed(error) => error,
    }
}

/// The values of a mapped task as a list.
async fn gather(ti: &TaskInstance, task_id: &str, key: &str, gaps: Gaps) -> Result<Value> {
    let pull = ti.xcom_pull(task_id).key(key);
    let value = match gaps {
        Gaps::Null => pull.avalue().await?,
        Gaps::Dropped => {
            let sequence = sibling(ti.key(), task_id.into(), UNMAPPED).xcom(key)?.sequence();
            let indexes = ti.channel().indexes(&sequence).await?;
            pull.map_indexes(MapIndexes::Several(indexes)).avalue().await?
        }
    };
    // A mapped task without instances has no sequence to pull; it is one without elements.
    Ok(if value.is_null() { Value::trusted("[]".into(), Shape::List(0)) } else { value })
}

/// Waits for the body; a panic is its error.
async fn finish(running: Running, ti: &TaskInstance, timeout: Option<Duration>) -> Returned {
    let cancelled = || Err(Error::new(ErrorKind::Other, "the run was cancelled while the task ran").into());
    let (mut future, grace) = match running {
        Running::Blocking(body) => {
            let body = move || {
                catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(&*panic).into()))
            };
            let thread = tokio::task::spawn_blocking(body);
            // A thread cannot be stopped; it is left to end by itself.
            return tokio::select! {
                ended = thread => ended.unwrap_or_else(|e| Err(e.into())),
                () = ti.cancelled() => cancelled(),
                () = expired(timeout) => Err(timed_out(timeout).into()),
            };
        }
        Running::Future(future) => (future, Duration::ZERO),
        Running::Graceful(future) => (future, CANCEL_GRACE),
    };
    let mut caught =
        poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked(&*panic).into())),
        });
    tokio::select! {
        biased;
        ended = &mut caught => return ended,
        () = ti.cancelled() => (),
        // Dropping the body ends what it started.
        () = expired(timeout) => return Err(timed_out(timeout).into()),
    }
    if grace.is_zero() {
        return cancelled();
    }
    tokio::time::timeout(grace, caught).await.unwrap_or_else(|_| cancelled())
}

async fn expired(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

fn timed_out(timeout: Option<Duration>) -> Error {
    let timeout = timeout.unwrap_or_default();
    Error::new(ErrorKind::Other, format!("the task took longer than {timeout:?}, its execution_timeout"))
        .hint("give it more time, or less to do")
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    crate::error::panicked("the task", panic)
}

fn entries(key: &excom_core::TaskInstanceKey, value: &Value) -> Result<Vec<(XComKey, Value)>, BoxError> {
    if !matches!(value.shape(), Shape::Dict(_)) {
        return Err(Error::new(
            ErrorKind::InvalidValue,
            format!("multiple_outputs needs a dict, and the task returned a {}", value.shape()),
        )
        .hint("return a struct or a map with text keys, or take multiple_outputs away")
        .into());
    }
    // Which part of it is the secret one is not known any more.
    let secret = value.is_secret();
    let named = crate::entries::of(value.as_str())?.into_iter().map(|(name, value)| {
        let key = key.xcom(name).map_err(|e| crate::error::within("multiple_outputs", e))?;
        Ok((key, Value::parse(value.get().to_owned())?.secret_if(secret)))
    });
    // What the whole is pushed under comes last and wins.
    let named: excom_core::Result<Vec<_>> = named.collect();
    Ok(named?.into_iter().filter(|(key, _)| &*key.key != RETURN_VALUE).collect())
}

#[cfg(test)]
mod tests;
