//! Variables, which are Airflow's rows, and what Excom itself kept beside them (`crate::variable`). A row of a team is read and
//! deleted by nobody here; a set writes it, as Airflow's own does.

use std::sync::Arc;

use excom_core::attempt::Caller;
use excom_core::db::{Variable, VariableWrite};
use excom_core::{Error, ErrorKind};
use mysql_async::Row;

use super::super::connection::named;
use super::super::failure::Failure;
use super::super::row as own;
use super::super::variables::{DELETE as DELETE_OURS, ONE as OURS, variable as ours};
use super::columns::bytes;
use super::write::step;
use super::{Airflow, Tables};
use crate::fernet::{Fernet, Held};
use crate::variable::{Theirs, becomes, held};

type Result<T> = std::result::Result<T, Failure>;

/// What is read of Airflow's row `v`, as texts of one character set.
macro_rules! row {
    () => {
        concat!(
            bytes!("v.key"),
            " AS name, CONVERT(COALESCE(v.val, '') USING utf8mb4) AS text,
              CONVERT(v.description USING utf8mb4) AS description, COALESCE(v.is_encrypted, FALSE) AS is_encrypted, "
        )
    };
}

/// Airflow's rows of no team.
macro_rules! theirs {
    ($condition:expr) => {
        concat!(
            "SELECT ",
            row!(),
            "NULL AS updated FROM airflow.variable v WHERE v.team_name IS NULL AND ",
            $condition
        )
    };
}

/// Ours, where Airflow has none under the key.
macro_rules! ours {
    ($condition:literal) => {
        concat!(
            " UNION ALL SELECT o.name, o.text, o.description, FALSE, o.updated FROM excom_variable o WHERE ",
            $condition,
            " AND NOT EXISTS (SELECT 1 FROM airflow.variable v WHERE v.team_name IS NULL AND ",
            bytes!("v.key"),
            " = o.name)"
        )
    };
}

/// A row by its key, through its index and then to the byte.
macro_rules! of_key {
    () => {
        concat!("v.key = :name AND ", bytes!("v.key"), " = :name")
    };
}

/// Rows by a prefix of their keys, behind one of them.
macro_rules! of_prefix {
    () => {
        concat!(
            bytes!("v.key"),
            " >= :prefix AND ",
            bytes!("v.key"),
            " > :after AND SUBSTRING(",
            bytes!("v.key"),
            ", 1, LENGTH(:prefix)) = :prefix"
        )
    };
}

const ONE: &str = concat!(theirs!(of_key!()), ours!("o.name = :name"));
const ONE_ALONE: &str = theirs!(of_key!());

const MANY: &str = concat!(
    "SELECT * FROM (",
    theirs!(of_prefix!()),
    ours!("o.name >= :prefix AND o.name > :after AND SUBSTRING(o.name, 1, LENGTH(:prefix)) = :prefix"),
    ") x ORDER BY name LIMIT :limit"
);
const MANY_ALONE: &str = concat!(theirs!(of_prefix!()), " ORDER BY name LIMIT :limit");

/// The row that has the key as Airflow's column compares it, locked.
const LOCKED: &str = concat!(
    "SELECT ",
    row!(),
    "v.team_name IS NOT NULL FROM airflow.variable v WHERE v.key = :name FOR UPDATE"
);

/// Makes a row, or writes it over.
const PUT: &str = "INSERT INTO airflow.variable (`key`, val, description, is_encrypted)
    VALUES (:name, :text, :description, :is_encrypted)
    ON DUPLICATE KEY UPDATE val = VALUES(val), is_encrypted = VALUES(is_encrypted),
        description = COALESCE(VALUES(description), description)";

/// Makes a row.
const MAKE: &str = "INSERT INTO airflow.variable (`key`, val, description, is_encrypted)
    VALUES (:name, :text, :description, :is_encrypted)";

/// Whether the row that was written has the key.
const WRITTEN: &str = concat!("SELECT ", bytes!("v.key"), " FROM airflow.variable v WHERE v.key = :name");

const DELETE: &str = concat!("DELETE v FROM airflow.variable v WHERE v.team_name IS NULL AND ", of_key!());

/// The most bytes of a description: Airflow's column is a `TEXT`.
const DESCRIPTION_LIMIT: usize = 65_535;

/// What a write of a variable needs besides.
struct How<'a> {
    held: Option<&'a Held>,
    fernet: &'a Fernet,
    is_bare: bool,
}

impl Airflow<'_> {
    async fn write_variable(
        &mut self,
        caller: &Caller,
        write: &VariableWrite,
        how: &How<'_>,
    ) -> Result<Option<Variable>> {
        self.fence(caller).await?;
        let (key, ..) = write.parts();
        let of = || named! { "name" => &**key };
        let theirs = match self.0.one(LOCKED, of()).await? {
            Some(found) => {
                self.is_same(key, own::str(&found, 0)?)?;
                Some(Theirs { has_team: own::is(&found, 4)?, ..theirs(&found)? })
            }
            None => None,
        };
        let ours = match how.is_bare {
            true => None,
            false => self.0.one(OURS, of()).await?.as_ref().map(ours).transpose()?,
        };
        let is_new = theirs.is_none();
        let Some(row) = becomes(write, how.held, theirs, ours, how.fernet)? else { return Ok(None) };
        self.has_room(key, row.description.as_deref())?;
        let put = named! {
            "name" => &**key,
            "text" => &*row.held.text,
            "description" => row.description.as_deref(),
            "is_encrypted" => row.held.is_encrypted,
        };
        match write {
            // Somebody else may have been faster.
            VariableWrite::Make(_) if is_new => {
                if !self.0.insert(MAKE, put).await? {
                    return Ok(None);
                }
            }
            _ => drop(self.0.change(PUT, put).await?),
        }
        if is_new && let Some(written) = self.0.one(WRITTEN, of()).await? {
            self.is_same(key, own::str(&written, 0)?)?;
        }
        if !how.is_bare {
            self.0.change(DELETE_OURS, of()).await?;
        }
        Ok(Some(row.read(key.clone(), how.fernet)))
    }

    /// Refuses a description that Airflow's column cannot hold, the one that is written or that of a variable of our own.
    fn has_room(&self, key: &str, description: Option<&str>) -> Result<()> {
        let size = description.map_or(0, str::len);
        if size <= DESCRIPTION_LIMIT {
            return Ok(());
        }
        let what = format!(
            "the description of the variable `{key}` has {size} bytes, and Airflow's column in {} holds at most \
             {DESCRIPTION_LIMIT}; nothing was written",
            self.0.place()
        );
        let hint = "give it a shorter description, and keep what is long in the variable's text";
        Err(Error::new(ErrorKind::TooLarge, what).hint(hint).into())
    }

    /// Refuses a key for which Airflow's column takes another one.
    fn is_same(&self, key: &str, found: &str) -> Result<()> {
        if key == found {
            return Ok(());
        }
        let (wanted, found) = (serde_json::Value::from(key), serde_json::Value::from(found));
        let what = format!(
            "there is a variable {found} already, and the columns of {} take {wanted} for the same key; nothing was written",
            self.0.place()
        );
        Err(Error::new(ErrorKind::InvalidRequest, what)
            .hint("choose keys that differ in more than case, trailing spaces, or whatever the collation of Airflow's columns ignores")
            .into())
    }

    async fn delete_variable(&mut self, caller: &Caller, key: &str, is_bare: bool) -> Result<bool> {
        self.fence(caller).await?;
        let theirs = self.0.change(DELETE, named! { "name" => key }).await?;
        let ours = match is_bare {
            true => 0,
            false => self.0.change(DELETE_OURS, named! { "name" => key }).await?,
        };
        Ok(theirs + ours > 0)
    }
}

impl Tables {
    pub(super) async fn variable(&self, key: &str) -> Result<Option<Variable>> {
        let sql = if self.is_bare { ONE_ALONE } else { ONE };
        let fernet = self.keys();
        self.own.one(sql, named! { "name" => key }, |found| variable(found, &fernet)).await
    }

    pub(super) async fn variables(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Variable>> {
        let sql = if self.is_bare { MANY_ALONE } else { MANY };
        let fernet = self.keys();
        let parameters =
            named! { "prefix" => prefix, "after" => after.unwrap_or_default(), "limit" => limit };
        self.own.rows(sql, parameters, |found| variable(found, &fernet)).await
    }

    pub(super) async fn write_variable(
        &self,
        caller: &Caller,
        change: &VariableWrite,
    ) -> Result<Option<Variable>> {
        let fernet = self.keys();
        let held = held(change, &fernet)?;
        let how = &How { held: held.as_ref(), fernet: &fernet, is_bare: self.is_bare };
        step!(self, write, write_variable(caller, change, how)).await
    }

    pub(super) async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        let is_bare = self.is_bare;
        step!(self, write, delete_variable(caller, key, is_bare)).await
    }
}

fn variable(found: &Row, fernet: &Fernet) -> Result<Variable> {
    let key: Arc<str> = own::text(found, 0)?;
    let updated_at = own::optional(found, 4)?.map(own::moment);
    Ok(Variable { updated_at, ..theirs(found)?.read(key, fernet) })
}

fn theirs(found: &Row) -> Result<Theirs> {
    Ok(Theirs {
        held: Held { text: own::str(found, 1)?.to_owned(), is_encrypted: own::is(found, 3)? },
        description: own::optional_str(found, 2)?.map(str::to_owned),
        has_team: false,
    })
}
