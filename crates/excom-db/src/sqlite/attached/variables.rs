//! Variables, which are Airflow's rows, and what Excom itself kept beside them (`crate::variable`). A row of a team is read and
//! deleted by nobody here; a set writes it, as Airflow's own does.

use std::sync::Arc;

use excom_core::attempt::Caller;
use excom_core::db::{Variable, VariableWrite};
use rusqlite::{OptionalExtension as _, Row, params};

use super::super::failure::Failure;
use super::super::row::{text, time};
use super::theirs::has_column;
use super::{Beside, Tables, Writing};
use crate::fernet::{Fernet, Held};
use crate::variable::{Theirs, becomes, held};

type Result<T> = std::result::Result<T, Failure>;

/// What is read of Airflow's row `v`.
const ROW: &str = "v.key, ifnull(v.val, ''), v.description, ifnull(v.is_encrypted, 0)";

/// Makes a row, or writes it over.
const PUT: &str = "INSERT INTO variable (key, val, description, is_encrypted) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (key) DO UPDATE SET val = excluded.val, description = excluded.description,
        is_encrypted = excluded.is_encrypted";

/// Whether Airflow's row `v` is a team's. Not every Airflow's has one.
fn has_team(connection: &rusqlite::Connection) -> Result<&'static str> {
    Ok(if has_column(connection, "variable", "team_name")? { "(v.team_name IS NOT NULL)" } else { "0" })
}

impl Beside<'_> {
    /// Variables by conditions on Airflow's rows `v` and on ours `o`.
    fn found(&self, of_theirs: &str, of_ours: &str) -> Result<String> {
        let has_team = has_team(self.view.connection())?;
        let theirs = format!("SELECT {ROW}, NULL FROM variable v WHERE NOT {has_team} AND {of_theirs}");
        Ok(match self.is_bare {
            true => theirs,
            false => format!(
                "{theirs} UNION ALL SELECT o.key, o.text, o.description, 0, o.updated FROM excom_variable o
                 WHERE NOT EXISTS (SELECT 1 FROM variable v WHERE v.key = o.key AND NOT {has_team}) AND {of_ours}"
            ),
        })
    }

    pub(super) fn variable(&self, key: &str) -> Result<Option<Variable>> {
        let fernet = self.fernet.cloned().unwrap_or_default();
        self.one(&self.found("v.key = ?1", "o.key = ?1")?, [key], |found| variable(found, &fernet))
    }

    pub(super) fn variables(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Variable>> {
        let fernet = self.fernet.cloned().unwrap_or_default();
        let sql = self.found("v.key >= ?1 AND v.key > ?2", "o.key >= ?1 AND o.key > ?2")?;
        let parameters = (prefix, after.unwrap_or_default(), limit);
        let found =
            self.rows(&(sql + " ORDER BY 1 LIMIT ?3"), parameters, |found| variable(found, &fernet))?;
        // Keys with the prefix lie together, beginning at the prefix itself.
        Ok(found.into_iter().take_while(|variable| variable.key.starts_with(prefix)).collect())
    }
}

impl Writing<'_> {
    fn write_variable(
        &self,
        caller: &Caller,
        write: &VariableWrite,
        held: Option<&Held>,
        (fernet, is_bare): (&Fernet, bool),
    ) -> Result<Option<Variable>> {
        self.fence(caller)?;
        let (key, ..) = write.parts();
        let connection = self.t.connection;
        let sql = format!("SELECT {ROW}, {} FROM variable v WHERE v.key = ?1", has_team(connection)?);
        let found = |found: &Row<'_>| Ok(Theirs { has_team: found.get(4)?, ..theirs(found)? });
        let before = connection.prepare_cached(&sql)?.query_row([&**key], found).optional()?;
        let ours = match is_bare {
            true => None,
            false => self.t.variable(key)?,
        };
        let Some(row) = becomes(write, held, before, ours, fernet)? else { return Ok(None) };
        self.t.execute(PUT, params![&**key, row.held.text, row.description, row.held.is_encrypted])?;
        if !is_bare {
            self.t.remove_variable(key)?;
        }
        Ok(Some(row.read(key.clone(), fernet)))
    }

    fn delete_variable(&self, caller: &Caller, key: &str, is_bare: bool) -> Result<bool> {
        self.fence(caller)?;
        let has_team = has_team(self.t.connection)?;
        let sql = format!("DELETE FROM variable AS v WHERE v.key = ?1 AND NOT {has_team}");
        let theirs = self.t.connection.prepare_cached(&sql)?.execute([key])? > 0;
        let ours = !is_bare && self.t.remove_variable(key)?;
        Ok(theirs || ours)
    }
}

impl Tables {
    pub(super) async fn write_variable(
        &self,
        caller: &Caller,
        write: &VariableWrite,
    ) -> excom_core::Result<Option<Variable>> {
        let (fernet, is_bare) = (self.fernet.clone().unwrap_or_default(), self.is_bare);
        let held = held(write, &fernet)?;
        let (caller, write) = (caller.clone(), write.clone());
        let work =
            move |w: &Writing<'_>| w.write_variable(&caller, &write, held.as_ref(), (&fernet, is_bare));
        self.change(0, work).await
    }

    pub(super) async fn delete_variable(&self, caller: &Caller, key: &str) -> excom_core::Result<bool> {
        let (caller, key, is_bare) = (caller.clone(), key.to_owned(), self.is_bare);
        self.change(0, move |w| w.delete_variable(&caller, &key, is_bare)).await
    }
}

fn variable(found: &Row<'_>, fernet: &Fernet) -> Result<Variable> {
    let key: Arc<str> = text(found, 0)?;
    let updated_at = found.get::<_, Option<i64>>(4)?.map(time);
    Ok(Variable { updated_at, ..theirs(found)?.read(key, fernet) })
}

fn theirs(found: &Row<'_>) -> rusqlite::Result<Theirs> {
    Ok(Theirs {
        held: Held { text: found.get(1)?, is_encrypted: found.get(3)? },
        description: found.get(2)?,
        has_team: false,
    })
}
