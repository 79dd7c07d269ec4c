//! Variables: the statements that write and read them.

use excom_core::attempt::Caller;
use excom_core::db::{Variable, VariableWrite};
use rusqlite::{Row, params};

use super::failure::Failure;
use super::read::View;
use super::row;
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

/// One by its key.
const ONE: &str = "SELECT key, text, description, updated FROM excom_variable WHERE key = ?1";

impl Transaction<'_> {
    pub(super) fn write_variable(&self, caller: &Caller, write: &VariableWrite) -> Result<Option<Variable>> {
        self.fence_caller(caller)?;
        self.put_variable(write)
    }

    fn put_variable(&self, write: &VariableWrite) -> Result<Option<Variable>> {
        let (key, text, description, updated) = write.parts();
        let sql = match write {
            VariableWrite::Set(_) => {
                "INSERT INTO excom_variable (key, text, description, updated) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET text = excluded.text, updated = excluded.updated,
                     description = ifnull(excluded.description, description)
                 RETURNING key, text, description, updated"
            }
            VariableWrite::Make(_) => {
                "INSERT INTO excom_variable (key, text, description, updated) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING RETURNING key, text, description, updated"
            }
            VariableWrite::Change { .. } => {
                "UPDATE excom_variable SET text = ifnull(?2, text), description = ifnull(?3, description),
                     updated = ?4 WHERE key = ?1 RETURNING key, text, description, updated"
            }
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut written = statement.query(params![&**key, text, description, updated.as_millisecond()])?;
        written.next()?.map(variable).transpose()
    }

    pub(super) fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        self.fence_caller(caller)?;
        self.remove_variable(key)
    }

    /// One by its key, as this transaction sees it.
    pub(super) fn variable(&self, key: &str) -> Result<Option<Variable>> {
        let mut statement = self.connection.prepare_cached(ONE)?;
        let mut found = statement.query([key])?;
        found.next()?.map(variable).transpose()
    }

    pub(super) fn remove_variable(&self, key: &str) -> Result<bool> {
        Ok(self.execute("DELETE FROM excom_variable WHERE key = ?1", [key])? > 0)
    }
}

impl View<'_> {
    pub(super) fn variable(&self, key: &str) -> Result<Option<Variable>> {
        self.one(ONE, [key], variable)
    }

    pub(super) fn variables(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Variable>> {
        // Keys with the prefix lie together, beginning at the prefix itself.
        let found = self.rows(
            "SELECT key, text, description, updated FROM excom_variable
             WHERE key >= ?1 AND key > ?2 ORDER BY key LIMIT ?3",
            (prefix, after.unwrap_or_default(), limit),
            variable,
        )?;
        Ok(found.into_iter().take_while(|variable| variable.key.starts_with(prefix)).collect())
    }
}

fn variable(found: &Row<'_>) -> Result<Variable> {
    Ok(Variable {
        key: row::text(found, 0)?,
        text: Some(found.get(1)?),
        description: found.get(2)?,
        updated_at: Some(row::time(found.get(3)?)),
        is_encrypted: false,
    })
}
