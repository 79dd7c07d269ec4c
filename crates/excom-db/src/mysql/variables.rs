//! Variables: the statements that write and read them.

use excom_core::attempt::Caller;
use excom_core::db::{Variable, VariableWrite};
use mysql_async::Row;

use super::Tables;
use super::connection::{Connection, named};
use super::failure::Failure;
use super::row;
use super::write::step;

type Result<T> = std::result::Result<T, Failure>;

/// One variable by its key.
const SET: &str = "INSERT INTO excom_variable (name, text, description, updated)
    VALUES (:name, :text, :description, :updated)
    ON DUPLICATE KEY UPDATE text = VALUES(text), updated = VALUES(updated),
        description = COALESCE(VALUES(description), description)";

/// One variable by its key, unless there is one.
const MAKE: &str = "INSERT INTO excom_variable (name, text, description, updated)
    VALUES (:name, :text, :description, :updated)";

/// One variable by its key, if there is one.
const CHANGE: &str = "UPDATE excom_variable SET text = COALESCE(:text, text),
    description = COALESCE(:description, description), updated = :updated WHERE name = :name";

/// One variable by its key.
pub(super) const DELETE: &str = "DELETE FROM excom_variable WHERE name = :name";

/// One variable by its key.
pub(super) const ONE: &str = "SELECT name, text, description, updated FROM excom_variable WHERE name = :name";

/// Keys with a prefix lie together in the index, beginning at the prefix itself.
const MANY: &str = "SELECT name, text, description, updated FROM excom_variable
    WHERE name >= :prefix AND name > :after AND SUBSTRING(name, 1, LENGTH(:prefix)) = :prefix
    ORDER BY name LIMIT :limit";

impl Connection {
    /// Lets a caller who is an attempt go on while it is the current one.
    async fn fenced(&mut self, caller: &Caller) -> Result<()> {
        let own = self.own(caller).await?;
        self.take(own).await?;
        self.fence_of(caller, own).await.map(drop)
    }

    async fn write_variable(&mut self, caller: &Caller, write: &VariableWrite) -> Result<Option<Variable>> {
        self.fenced(caller).await?;
        self.put_variable(write).await
    }

    /// Writes a variable for a caller who may.
    async fn put_variable(&mut self, write: &VariableWrite) -> Result<Option<Variable>> {
        let (key, text, description, updated) = write.parts();
        let row = named! {
            "name" => &**key,
            "text" => text.map(str::as_bytes),
            "description" => description.map(str::to_owned),
            "updated" => updated.as_millisecond(),
        };
        let written = match write {
            VariableWrite::Set(_) => self.change(SET, row).await.map(|_| true)?,
            VariableWrite::Make(_) => self.insert(MAKE, row).await?,
            VariableWrite::Change { .. } => self.change(CHANGE, row).await? > 0,
        };
        let found = self.one(ONE, named! { "name" => &**key }).await?;
        let found = found.as_ref().map(variable).transpose()?;
        Ok(found.filter(|found| match write {
            // An earlier try may have made it, whose answer was lost.
            VariableWrite::Make(made) => written || *found == Variable::from(made.clone()),
            _ => written,
        }))
    }

    async fn delete_variable(&mut self, caller: &Caller, name: &str) -> Result<bool> {
        self.fenced(caller).await?;
        Ok(self.change(DELETE, named! { "name" => name }).await? > 0)
    }
}

impl Tables {
    pub(super) async fn write_variable(
        &self,
        caller: &Caller,
        change: &VariableWrite,
    ) -> Result<Option<Variable>> {
        step!(self, write, connection.write_variable(caller, change)).await
    }

    pub(super) async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        step!(self, write, connection.delete_variable(caller, key)).await
    }

    pub(super) async fn variable(&self, key: &str) -> Result<Option<Variable>> {
        self.one(ONE, named! { "name" => key }, variable).await
    }

    pub(super) async fn variables(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Variable>> {
        let parameters =
            named! { "prefix" => prefix, "after" => after.unwrap_or_default(), "limit" => limit };
        self.rows(MANY, parameters, variable).await
    }
}

pub(super) fn variable(found: &Row) -> Result<Variable> {
    Ok(Variable {
        key: row::text(found, 0)?,
        text: Some(row::str(found, 1)?.to_owned()),
        description: row::optional_str(found, 2)?.map(str::to_owned),
        updated_at: Some(row::time(found, 3)?),
        is_encrypted: false,
    })
}
