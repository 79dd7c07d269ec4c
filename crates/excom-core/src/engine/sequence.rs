//! Sequences: what a mapped task produced, by real map index.

use super::Engine;
use super::ledger::TargetRef;
use crate::answer::Answer;
use crate::attempt::Caller;
use crate::{Result, SequenceKey, Slice};

impl Engine {
    /// The number of elements of a sequence (JSON null included, removed task instances not).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count(&self, caller: &Caller, key: &SequenceKey) -> Result<u64> {
        self.may_look(caller, &key.at(-1)).await?;
        self.0.db.count(key).await
    }

    /// The map indexes at which a sequence has elements, in order. No value is read.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn indexes(&self, caller: &Caller, key: &SequenceKey) -> Result<Vec<i32>> {
        self.may_look(caller, &key.at(-1)).await?;
        self.0.db.indexes(key).await
    }

    /// The element at a position, counted over the elements that exist; negative from the end.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn item(
        &self,
        caller: &Caller,
        key: &SequenceKey,
        position: i64,
    ) -> Result<Option<(i32, Answer)>> {
        Ok(self.slice(caller, key, Slice::item(position)).await?.pop())
    }

    /// The elements at the positions of a Python slice over those that exist, each with its real map
    /// index.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) when the step is zero.
    pub async fn slice(
        &self,
        caller: &Caller,
        key: &SequenceKey,
        slice: Slice,
    ) -> Result<Vec<(i32, Answer)>> {
        self.slice_within(caller, key, slice, &mut u64::MAX.clone()).await
    }

    /// As [`Engine::slice`], within bytes as [`Engine::pull_within`].
    ///
    /// # Errors
    /// As [`Engine::slice`].
    pub async fn slice_within(
        &self,
        caller: &Caller,
        key: &SequenceKey,
        slice: Slice,
        bytes: &mut u64,
    ) -> Result<Vec<(i32, Answer)>> {
        self.may_look(caller, &key.at(-1)).await?;
        let items = self.0.db.slice(key, slice).await?;
        self.sequence_read(caller, key, items, bytes).await
    }

    /// The elements behind a map index, at most so many: one page of a stream over the sequence. Memory
    /// is bounded by the page, however long the sequence.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn page(
        &self,
        caller: &Caller,
        key: &SequenceKey,
        after: Option<i32>,
        limit: u32,
    ) -> Result<Vec<(i32, Answer)>> {
        self.page_within(caller, key, after, limit, &mut u64::MAX.clone()).await
    }

    /// As [`Engine::page`], within bytes as [`Engine::pull_within`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn page_within(
        &self,
        caller: &Caller,
        key: &SequenceKey,
        after: Option<i32>,
        limit: u32,
        bytes: &mut u64,
    ) -> Result<Vec<(i32, Answer)>> {
        self.may_look(caller, &key.at(-1)).await?;
        let items = self.0.db.page(key, after, limit).await?;
        self.sequence_read(caller, key, items, bytes).await
    }

    async fn sequence_read(
        &self,
        caller: &Caller,
        key: &SequenceKey,
        items: Vec<crate::db::Item>,
        bytes: &mut u64,
    ) -> Result<Vec<(i32, Answer)>> {
        let answers = self.items(key, items, bytes).await?;
        if !answers.is_empty() {
            self.note_reads(caller, std::iter::once(TargetRef::Sequence(key))).await?;
        }
        Ok(answers)
    }
}
