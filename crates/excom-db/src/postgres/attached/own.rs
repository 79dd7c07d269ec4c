//! What does not depend on whose entries they are: marks, turns and counts of refusals are as in a database of Excom's own.

use std::time::Duration;

use excom_core::db::RefusalCount;
use jiff::Timestamp;

use super::super::failure::Failure;
use super::Tables;

type Result<T> = std::result::Result<T, Failure>;

impl Tables {
    pub(super) async fn mark(&self, name: &str) -> Result<Option<String>> {
        self.own.mark(name).await
    }

    pub(super) async fn set_mark(&self, name: &str, value: &str) -> Result<String> {
        self.own.set_mark(name, value).await
    }

    pub(super) async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.own.marks(prefix).await
    }

    pub(super) async fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool> {
        self.own.take_turn(name, at, every).await
    }

    pub(super) async fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<()> {
        self.own.note_refusals(refusals).await
    }

    pub(super) async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>> {
        self.own.refusals(limit).await
    }
}
