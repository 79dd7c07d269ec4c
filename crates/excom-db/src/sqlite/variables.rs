//! Variables: the statements that write and read them.

use excom_core::attempt::Caller;
use excom_core::db::Variable;
use rusqlite::{Row, params};

use super::failure::Failure;
use super::read::View;
use super::row;
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

impl Transaction<'_> {
    pub(super) fn set_variable(&self, caller: &Caller, variable: &Variable) -> Result<()> {
        self.fence_caller(caller)?;
        self.put_variable(variable)
    }

    pub(super) fn put_variable(&self, variable: &Variable) -> Result<()> {
        self.execute(
            "INSERT INTO excom_variable (key, text, description, updated) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET text = excluded.text, updated = excluded.updated,
                 description = ifnull(excluded.description, description)",
            params![
                &*variable.key,
                variable.text,
                variable.description,
                variable.updated_at.as_millisecond()
            ],
        )?;
        Ok(())
    }

    pub(super) fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        self.fence_caller(caller)?;
        self.remove_variable(key)
    }

    pub(super) fn remove_variable(&self, key: &str) -> Result<bool> {
        Ok(self.execute("DELETE FROM excom_variable WHERE key = ?1", [key])? > 0)
    }
}

impl View<'_> {
    pub(super) fn variable(&self, key: &str) -> Result<Option<Variable>> {
        self.one("SELECT key, text, description, updated FROM excom_variable WHERE key = ?1", [key], variable)
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
        text: found.get(1)?,
        description: found.get(2)?,
        updated_at: row::time(found.get(3)?),
    })
}
