//! A sequence when the DAG runs: its length, and each element when somebody takes it.
//!
//! A list is pulled once and split; the values of a mapped task are only counted, and each is pulled by the
//! task instance that takes it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use excom_core::json::Scanner;
use excom_core::{
    Error, ErrorKind, PullOptions, SequenceKey, Shape, TaskChannel, TaskInstanceKey, Value, Version, XComKey,
};
use serde_json::value::RawValue;

use super::{Elements, Function};
use crate::error::{invalid, within};
use crate::outcome::Result;
use crate::params::Params;

/// A sequence whose length is known.
#[derive(Debug, Clone)]
pub(crate) enum Resolved {
    /// Elements that are at hand, and the XCom that they are from.
    List(Arc<[Value]>, Option<(XComKey, Version)>),
    /// The values of a mapped task at these map indexes.
    Mapped(SequenceKey, Arc<[i32]>),
    Map(Box<Self>, Function),
    /// The places of those that the predicate let through.
    Filter(Box<Self>, Arc<[usize]>),
    Zip(Box<Self>, Box<Self>, Option<(Value, Value)>),
    Concat(Box<Self>, Box<Self>),
}

/// Why a sequence has no length.
#[derive(Debug)]
pub(crate) enum Unresolved {
    /// A task that it is made of has no value.
    Missing(Error),
    /// It cannot be read, or is no sequence.
    Failed(Error),
}

impl From<Error> for Unresolved {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Finds out the length of a sequence. `task` names a task of the run by its number.
pub(crate) async fn resolve(
    elements: &Elements,
    task: &(dyn Fn(u32) -> TaskInstanceKey + Sync),
    params: &Params,
    channel: &dyn TaskChannel,
) -> Result<Resolved, Unresolved> {
    let mut leaves = Vec::new();
    elements.leaves(&mut |leaf| leaves.push(leaf));
    let mut resolved = VecDeque::with_capacity(leaves.len());
    for leaf in leaves {
        resolved.push_back(self::leaf(leaf, task, params, channel).await?);
    }
    build(elements, &mut resolved, channel).await
}

async fn leaf(
    leaf: &Elements,
    task: &(dyn Fn(u32) -> TaskInstanceKey + Sync),
    params: &Params,
    channel: &dyn TaskChannel,
) -> Result<Resolved, Unresolved> {
    match leaf {
        Elements::Literal(value) => Ok(Resolved::List(split(value)?, None)),
        Elements::Param(name) => {
            let value =
                params.value(name).ok_or_else(|| invalid(format!("the parameter `{name}` has no value")))?;
            Ok(Resolved::List(split(value).map_err(|e| within(&format!("parameter `{name}`"), e))?, None))
        }
        Elements::XCom { task: producer, key, many: true } => {
            let sequence = task(producer.index).xcom(*key)?.sequence();
            let indexes = channel.indexes(&sequence).await?;
            Ok(Resolved::Mapped(sequence, indexes.into()))
        }
        Elements::XCom { task: producer, key, many: false } => {
            let key = task(producer.index).xcom(*key)?;
            let answer = channel.pull(std::slice::from_ref(&key), PullOptions::default()).await?.pop();
            let answer = answer.ok_or_else(|| invalid("the channel gave no answer"))?;
            let version = answer.found().map(|found| found.version);
            let Some(value) = answer.clone().or_none()? else {
                return Err(Unresolved::Missing(answer.into_error()));
            };
            let place = || format!("`{}` of task `{}`", key.key, key.ti.task_id);
            let values = split(&value).map_err(|e| within(&place(), e))?;
            Ok(Resolved::List(values, version.map(|version| (key, version))))
        }
        Elements::Invalid(message) => Err(invalid(message.clone()).into()),
        // `leaves` gives no others.
        Elements::Map(..) | Elements::Filter(..) | Elements::Zip(..) | Elements::Concat(..) => {
            Err(invalid("a sequence is made of itself").into())
        }
    }
}

fn build<'a>(
    elements: &'a Elements,
    leaves: &'a mut VecDeque<Resolved>,
    channel: &'a dyn TaskChannel,
) -> Boxed<'a, Result<Resolved, Unresolved>> {
    Box::pin(async move {
        Ok(match elements {
            Elements::Map(of, change) => {
                Resolved::Map(Box::new(build(of, leaves, channel).await?), change.clone())
            }
            Elements::Filter(of, keep) => {
                let of = build(of, leaves, channel).await?;
                let mut kept = Vec::new();
                for place in 0..of.len() {
                    let element = of.get(place, channel).await.map_err(|e| failed(&*e))?;
                    if keep.call(&element)? {
                        kept.push(place);
                    }
                }
                Resolved::Filter(Box::new(of), kept.into())
            }
            Elements::Zip(left, right, fill) => {
                let left = Box::new(build(left, leaves, channel).await?);
                Resolved::Zip(left, Box::new(build(right, leaves, channel).await?), fill.clone())
            }
            Elements::Concat(left, right) => {
                let left = Box::new(build(left, leaves, channel).await?);
                Resolved::Concat(left, Box::new(build(right, leaves, channel).await?))
            }
            _ => leaves.pop_front().ok_or_else(|| invalid("a sequence lost a part"))?,
        })
    })
}

/// An error of a task's own code as the engine's.
fn failed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    match error.downcast_ref::<Error>() {
        Some(error) => {
            error.hints().iter().fold(Error::new(error.kind(), error.to_string()), |e, hint| e.hint(hint))
        }
        None => Error::new(ErrorKind::Other, error.to_string()),
    }
}

impl Resolved {
    /// How many elements it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::List(values, _) => values.len(),
            Self::Mapped(_, indexes) => indexes.len(),
            Self::Map(of, _) => of.len(),
            Self::Filter(_, kept) => kept.len(),
            Self::Zip(left, right, None) => left.len().min(right.len()),
            Self::Zip(left, right, Some(_)) => left.len().max(right.len()),
            Self::Concat(left, right) => left.len() + right.len(),
        }
    }

    /// The element at a place.
    pub(crate) fn get<'a>(&'a self, place: usize, channel: &'a dyn TaskChannel) -> Boxed<'a, Result<Value>> {
        Box::pin(async move {
            match self {
                Self::List(values, _) => Ok(values.get(place).cloned().ok_or_else(|| beyond(place))?),
                Self::Mapped(key, indexes) => {
                    let key = key.at(*indexes.get(place).ok_or_else(|| beyond(place))?);
                    let answer = channel.pull(&[key], PullOptions::default()).await?.pop();
                    Ok(answer.ok_or_else(|| beyond(place))?.value()?)
                }
                Self::Map(of, change) => {
                    let element = of.get(place, channel).await?;
                    Ok(change.call(&element)?.secret_if(element.is_secret()))
                }
                Self::Filter(of, kept) => {
                    of.get(*kept.get(place).ok_or_else(|| beyond(place))?, channel).await
                }
                Self::Zip(left, right, fill) => {
                    let fill = fill.as_ref();
                    let left = match fill.filter(|_| place >= left.len()) {
                        Some((fill, _)) => fill.clone(),
                        None => left.get(place, channel).await?,
                    };
                    let right = match fill.filter(|_| place >= right.len()) {
                        Some((_, fill)) => fill.clone(),
                        None => right.get(place, channel).await?,
                    };
                    Ok(pair(left.as_str(), right.as_str()).secret_if(left.is_secret() || right.is_secret()))
                }
                Self::Concat(left, _) if place < left.len() => left.get(place, channel).await,
                Self::Concat(left, right) => right.get(place - left.len(), channel).await,
            }
        })
    }

    /// All elements as a list.
    pub(crate) async fn list(&self, channel: &dyn TaskChannel) -> Result<Value> {
        let (mut text, mut secret) = (vec![b'['], false);
        for place in 0..self.len() {
            if place > 0 {
                text.push(b',');
            }
            let element = self.get(place, channel).await?;
            text.extend_from_slice(element.bytes());
            secret |= element.is_secret();
        }
        text.push(b']');
        Ok(Value::trusted(text.into(), Shape::List(self.len() as u64)).secret_if(secret))
    }

    /// The secrets among the elements that are at hand.
    pub(crate) fn secrets(&self, visit: &mut dyn FnMut(&Value)) {
        match self {
            Self::List(values, _) => values.iter().filter(|value| value.is_secret()).for_each(visit),
            Self::Mapped(..) => {}
            Self::Map(of, _) | Self::Filter(of, _) => of.secrets(visit),
            Self::Zip(left, right, _) | Self::Concat(left, right) => {
                left.secrets(visit);
                right.secrets(visit);
            }
        }
    }

    /// The XComs whose parts lie in the element at a place, for the ledger: what is pulled notes itself.
    pub(crate) fn sources<'a>(&'a self, visit: &mut dyn FnMut(&'a XComKey, Version)) {
        match self {
            Self::List(_, Some((key, version))) => visit(key, *version),
            Self::List(..) | Self::Mapped(..) => {}
            Self::Map(of, _) | Self::Filter(of, _) => of.sources(visit),
            Self::Zip(left, right, _) | Self::Concat(left, right) => {
                left.sources(visit);
                right.sources(visit);
            }
        }
    }
}

fn beyond(place: usize) -> Error {
    invalid(format!("the sequence has no element {place} any more"))
}

fn pair(left: &str, right: &str) -> Value {
    let text = format!("[{left},{right}]");
    Value::trusted(text.into(), Shape::List(2))
}

/// The elements of a list, or of a dict as pairs, each a part of the whole's bytes.
fn split(value: &Value) -> excom_core::Result<Arc<[Value]>> {
    let unreadable = |e: serde_json::Error| Error::new(ErrorKind::InvalidValue, e.to_string());
    let secret = value.is_secret();
    match value.shape() {
        Shape::List(_) => {
            let parts: Vec<&RawValue> = serde_json::from_slice(value.bytes()).map_err(unreadable)?;
            parts.into_iter().map(|part| Ok(element(value.bytes(), part.get())?.secret_if(secret))).collect()
        }
        Shape::Dict(_) => {
            let entries = crate::entries::of(value.as_str()).map_err(unreadable)?;
            let pairs = entries
                .into_iter()
                .map(|(name, part)| Ok(pair(Value::of(&name)?.as_str(), part.get()).secret_if(secret)));
            pairs.collect()
        }
        shape => Err(invalid(format!("a {shape} cannot be expanded"))
            .hint("only lists and dicts have elements; return a `Vec` or a map")),
    }
}

fn element(whole: &Bytes, part: &str) -> excom_core::Result<Value> {
    let shape = Scanner::scan(part.as_bytes())?;
    Ok(Value::trusted(whole.slice_ref(part.as_bytes()), shape))
}
