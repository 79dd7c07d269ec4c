//! Notes of task instances: the statements that write and read them. Each is about rows that lie together by their key.

use excom_core::attempt::{Attempt, Caller};
use excom_core::db::Note;
use excom_core::{TaskInstanceKey, Value};
use jiff::Timestamp;

use super::Tables;
use super::connection::Connection;
use super::failure::Failure;
use super::names::Ti;
use super::read::{of_ti, run, task, ti, with};
use super::row;
use super::write::{self, step};

type Result<T> = std::result::Result<T, Failure>;

const PUT: &str = "INSERT INTO excom_note (run, task, map_index, name, number, value)
    VALUES (:run, :task, :map_index, :name, :number, :value)
    ON DUPLICATE KEY UPDATE number = VALUES(number), value = VALUES(value)";

/// Assignments happen in their order.
const PUT_FIRST: &str = "INSERT INTO excom_note (run, task, map_index, name, number, value)
    VALUES (:run, :task, :map_index, :name, :number, :value)
    ON DUPLICATE KEY UPDATE value = IF(number = VALUES(number), value, VALUES(value)), number = VALUES(number)";

const REMOVE: &str = "DELETE FROM excom_note
    WHERE run = :run AND task = :task AND map_index = :map_index AND name = :name";

const ONE: &str = "SELECT value FROM excom_note
    WHERE run = :run AND task = :task AND map_index = :map_index AND name = :name";

const MANY: &str = concat!(
    "SELECT name, number, value FROM excom_note WHERE ",
    ti!(),
    " AND name >= :prefix AND SUBSTRING(name, 1, LENGTH(:prefix)) = :prefix ORDER BY name LIMIT :limit"
);

impl Connection {
    /// A note by the attempt of a number, or none.
    pub(super) async fn put_note(
        &mut self,
        of: Ti,
        number: u32,
        name: &str,
        value: Option<&Value>,
    ) -> Result<()> {
        let named = with(write::ti(of), "name", name);
        match value {
            Some(value) => {
                self.change(PUT, with(with(named, "number", number), "value", value.as_str())).await
            }
            None => self.change(REMOVE, named).await,
        }
        .map(drop)
    }

    /// The same, unless there is one by that attempt; returns the one that is there then.
    pub(super) async fn put_first_note(
        &mut self,
        of: Ti,
        number: u32,
        name: &str,
        value: &Value,
    ) -> Result<Value> {
        let named = with(write::ti(of), "name", name);
        self.change(PUT_FIRST, with(with(named.clone(), "number", number), "value", value.as_str())).await?;
        match self.one(ONE, named).await? {
            Some(found) => Ok(Value::parse(row::str(&found, 0)?.to_owned())?),
            None => Ok(value.clone()),
        }
    }

    /// The task instance of an attempt that may write, and its number.
    pub(super) async fn noting(&mut self, attempt: &Attempt) -> Result<(Ti, u32)> {
        let caller = Caller::Attempt(attempt.clone());
        let Some(own) = self.own(&caller).await? else {
            return Err(excom_core::db::not_started(attempt).into());
        };
        self.take([own]).await?;
        Ok((own, self.fence(own, attempt).await?))
    }

    async fn note(&mut self, attempt: &Attempt, name: &str, value: Option<&Value>) -> Result<()> {
        let (own, number) = self.noting(attempt).await?;
        self.put_note(own, number, name, value).await
    }

    async fn note_once(&mut self, attempt: &Attempt, name: &str, value: &Value) -> Result<Value> {
        let (own, number) = self.noting(attempt).await?;
        self.put_first_note(own, number, name, value).await
    }
}

impl Tables {
    pub(super) async fn note(
        &self,
        attempt: &Attempt,
        name: &str,
        value: Option<&Value>,
        _at: Timestamp,
    ) -> Result<()> {
        step!(self, write, connection.note(attempt, name, value)).await
    }

    pub(super) async fn note_once(
        &self,
        attempt: &Attempt,
        name: &str,
        value: &Value,
        _at: Timestamp,
    ) -> Result<Value> {
        step!(self, write, connection.note_once(attempt, name, value)).await
    }

    pub(super) async fn notes(&self, ti: &TaskInstanceKey, prefix: &str, limit: u32) -> Result<Vec<Note>> {
        self.rows(MANY, with(with(of_ti(ti), "prefix", prefix), "limit", limit), |found| {
            Ok(Note {
                name: row::text(found, 0)?,
                number: row::unsigned(found, 1)?,
                value: Value::parse(row::str(found, 2)?.to_owned())?,
            })
        })
        .await
    }
}
