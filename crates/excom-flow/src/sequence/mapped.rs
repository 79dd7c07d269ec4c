//! The values of a mapped task as a task takes them: read when it asks, keyed by real map index.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use excom_core::{Answer, PullOptions, Result, SequenceKey, Slice, TaskChannel, XComKey};
use pollster::block_on;
use serde::de::DeserializeOwned;

use crate::error::within;

/// How many elements are read together.
const PAGE: usize = 100;

/// The values that the instances of a mapped task pushed, as an argument: read when they are asked for, so
/// that any number of them needs little memory. Instances that pushed nothing leave a gap in the map indexes.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// #[task]
/// fn square(n: i64) -> i64 { n * n }
///
/// #[task]
/// fn sum(squares: Mapped<i64>) -> Result<i64> {
///     let mut sum = 0;
///     for element in squares.iter() {
///         let (_map_index, square) = element?;
///         sum += square;
///     }
///     Ok(sum)
/// }
///
/// #[dag]
/// fn squares(dag: &Dag) {
///     sum(dag, square(dag, expand([1, 2, 3])));
/// }
/// assert_eq!(squares().graph()?.tasks().len(), 2);
/// # Ok::<(), excom_core::Error>(())
/// ```
pub struct Mapped<T> {
    channel: Arc<dyn TaskChannel>,
    key: SequenceKey,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Mapped<T> {
    fn clone(&self) -> Self {
        Self::new(self.channel.clone(), self.key.clone())
    }
}

impl<T> fmt::Debug for Mapped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({})", self.key)
    }
}

impl<T> Mapped<T> {
    /// The values that the instances of a task pushed under a key.
    pub fn new(channel: Arc<dyn TaskChannel>, key: SequenceKey) -> Self {
        Self { channel, key, of: PhantomData }
    }
}

impl<T: DeserializeOwned> Mapped<T> {
    /// How many values there are. Blocks.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub fn len(&self) -> Result<u64> {
        block_on(self.alen())
    }

    /// Whether there are none. Blocks.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// As [`len`](Mapped::len), without blocking.
    ///
    /// # Errors
    /// As [`len`](Mapped::len).
    pub async fn alen(&self) -> Result<u64> {
        self.channel.count(&self.key).await
    }

    /// The value at a map index; none where the instance pushed nothing. Blocks.
    ///
    /// # Errors
    /// When the value is damaged, forbidden, expired or away, or has another type.
    pub fn get(&self, map_index: i32) -> Result<Option<T>> {
        block_on(self.aget(map_index))
    }

    /// As [`get`](Mapped::get), without blocking.
    ///
    /// # Errors
    /// As [`get`](Mapped::get).
    pub async fn aget(&self, map_index: i32) -> Result<Option<T>> {
        let key = self.key.at(map_index);
        let answer = self.channel.pull(&[key], PullOptions::default()).await?.pop();
        let value = answer.map(Answer::or_none).transpose()?.flatten();
        value.map(|value| self.read(map_index, &value)).transpose()
    }

    /// All values, each with its real map index, in order; a page at a time is in memory. Blocks.
    pub fn iter(&self) -> impl Iterator<Item = Result<(i32, T)>> + use<'_, T> {
        let mut indexes: Option<std::vec::IntoIter<i32>> = None;
        let mut page: VecDeque<(i32, Answer)> = VecDeque::new();
        std::iter::from_fn(move || {
            if page.is_empty() {
                match block_on(self.next_page(&mut indexes)) {
                    Ok(next) => page = next,
                    Err(error) => {
                        // Whoever goes on behind an error finds the end.
                        indexes = Some(Vec::new().into_iter());
                        return Some(Err(error));
                    }
                }
            }
            let (map_index, answer) = page.pop_front()?;
            let value = answer.value().and_then(|value| self.read(map_index, &value));
            Some(value.map(|value| (map_index, value)))
        })
    }

    /// The values at the next map indexes, which are found out first.
    async fn next_page(
        &self,
        indexes: &mut Option<std::vec::IntoIter<i32>>,
    ) -> Result<VecDeque<(i32, Answer)>> {
        let indexes = match indexes {
            Some(indexes) => indexes,
            None => indexes.insert(self.channel.indexes(&self.key).await?.into_iter()),
        };
        let page: Vec<i32> = indexes.by_ref().take(PAGE).collect();
        if page.is_empty() {
            return Ok(VecDeque::new());
        }
        let keys: Vec<XComKey> = page.iter().map(|map_index| self.key.at(*map_index)).collect();
        let answers = self.channel.pull(&keys, PullOptions::default()).await?;
        Ok(page.into_iter().zip(answers).collect())
    }

    /// The values at some places in the order of map indexes, each with its map index, without blocking.
    ///
    /// # Errors
    /// As [`get`](Mapped::get).
    pub async fn aslice(&self, slice: Slice) -> Result<Vec<(i32, T)>> {
        let items = self.channel.slice(&self.key, slice).await?;
        items
            .into_iter()
            .map(|(map_index, answer)| Ok((map_index, self.read(map_index, &answer.value()?)?)))
            .collect()
    }

    fn read(&self, map_index: i32, value: &excom_core::Value) -> Result<T> {
        value.get().map_err(|e| within(&format!("`{}` at map index {map_index}", self.key), e))
    }
}
