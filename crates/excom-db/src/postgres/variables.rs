//! Variables: the statements that write and read them.

use std::sync::Arc;

use excom_core::Result;
use excom_core::attempt::Caller;
use excom_core::db::{Variable, VariableWrite};
use tokio_postgres::Row;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::{Failure, damaged};
use super::row;
use super::write::Fenced;

/// What is asked of a table of variables: to set, make, change and delete one, one by its key, and many.
pub(super) struct Statements {
    pub(super) set: Statement<'static>,
    pub(super) make: Statement<'static>,
    pub(super) change: Statement<'static>,
    pub(super) delete: Statement<'static>,
    pub(super) one: Statement<'static>,
    pub(super) many: Statement<'static>,
}

/// The statements about a table. What was made may be made again, because its answer may have been lost. Each is about one row by
/// its key, but for the last: keys with a prefix lie together in
/// the index, beginning at the prefix itself.
macro_rules! statements {
    ($table:literal) => {
        Statements {
            set: Statement {
                sql: concat!(
                    "INSERT INTO ",
                    $table,
                    " AS v (key, text, description, updated)
                     SELECT $6, $7, $8, $9 FROM excom.fence($1, $2, $3, $4, $5)
                     ON CONFLICT (key) DO UPDATE SET text = excluded.text, updated = excluded.updated,
                         description = coalesce(excluded.description, v.description)
                     RETURNING v.key, v.text, v.description, v.updated"
                ),
                types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, BYTEA, BYTEA, INT8],
            },
            make: Statement {
                sql: concat!(
                    "INSERT INTO ",
                    $table,
                    " AS v (key, text, description, updated)
                     SELECT $6, $7, $8, $9 FROM excom.fence($1, $2, $3, $4, $5)
                     ON CONFLICT (key) DO UPDATE SET updated = v.updated
                         WHERE (v.text, v.updated) = (excluded.text, excluded.updated)
                         AND v.description IS NOT DISTINCT FROM excluded.description
                     RETURNING v.key, v.text, v.description, v.updated"
                ),
                types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, BYTEA, BYTEA, INT8],
            },
            change: Statement {
                sql: concat!(
                    "UPDATE ",
                    $table,
                    " AS v SET text = coalesce($7, v.text), description = coalesce($8, v.description),
                         updated = $9
                     FROM excom.fence($1, $2, $3, $4, $5) WHERE v.key = $6
                     RETURNING v.key, v.text, v.description, v.updated"
                ),
                types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, BYTEA, BYTEA, INT8],
            },
            delete: Statement {
                sql: concat!(
                    "DELETE FROM ",
                    $table,
                    " USING excom.fence($1, $2, $3, $4, $5) WHERE key = $6 RETURNING true"
                ),
                types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT],
            },
            one: Statement {
                sql: concat!("SELECT key, text, description, updated FROM ", $table, " WHERE key = $1"),
                types: types![TEXT],
            },
            many: Statement {
                sql: concat!(
                    "SELECT key, text, description, updated FROM ",
                    $table,
                    " WHERE key >= $1 AND key > $2 AND starts_with(key, $1) ORDER BY key LIMIT $3"
                ),
                types: types![TEXT, TEXT, INT8],
            },
        }
    };
}

const OWN: Statements = statements!("excom.variable");

impl Tables {
    pub(super) async fn write_variable(
        &self,
        caller: &Caller,
        write: &VariableWrite,
    ) -> Result<Option<Variable>> {
        match self.write_variable_by(&OWN, caller, write).await {
            Ok(written) => Ok(written),
            Err(failure) => Err(self.refused(failure, caller).await),
        }
    }

    /// The same by statements about a table, with the refusal as the database told it.
    pub(super) async fn write_variable_by(
        &self,
        statements: &Statements,
        caller: &Caller,
        write: &VariableWrite,
    ) -> Result<Option<Variable>, Failure> {
        let statement = match write {
            VariableWrite::Set(_) => &statements.set,
            VariableWrite::Make(_) => &statements.make,
            VariableWrite::Change { .. } => &statements.change,
        };
        let (key, text, description, updated) = write.parts();
        let fenced = Fenced::caller(caller);
        let [dag, run, task, map_index, attempt] = fenced.parameters();
        let parameters: [Parameter<'_>; 9] = [
            dag,
            run,
            task,
            map_index,
            attempt,
            &&**key,
            &text.map(str::as_bytes),
            &description.map(str::as_bytes),
            &updated.as_millisecond(),
        ];
        self.connections.write(statement, &parameters).await?.first().map(variable).transpose()
    }

    pub(super) async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        match self.delete_variable_by(&OWN, caller, key).await {
            Ok(deleted) => Ok(deleted),
            Err(failure) => Err(self.refused(failure, caller).await),
        }
    }

    /// The same by statements about a table, with the refusal as the database told it.
    pub(super) async fn delete_variable_by(
        &self,
        statements: &Statements,
        caller: &Caller,
        key: &str,
    ) -> Result<bool, Failure> {
        let fenced = Fenced::caller(caller);
        let [dag, run, task, map_index, attempt] = fenced.parameters();
        let parameters = [dag, run, task, map_index, attempt, &key];
        let rows = self.connections.write(&statements.delete, &parameters).await?;
        Ok(!rows.is_empty())
    }

    pub(super) async fn variable(&self, key: &str) -> Result<Option<Variable>, Failure> {
        self.variable_by(&OWN, key).await
    }

    pub(super) async fn variable_by(
        &self,
        statements: &Statements,
        key: &str,
    ) -> Result<Option<Variable>, Failure> {
        self.one(&statements.one, &[&key], variable).await
    }

    pub(super) async fn variables(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Variable>, Failure> {
        self.variables_by(&OWN, prefix, after, limit).await
    }

    pub(super) async fn variables_by(
        &self,
        statements: &Statements,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Variable>, Failure> {
        let parameters: [Parameter<'_>; 3] = [&prefix, &after.unwrap_or_default(), &i64::from(limit)];
        self.rows(&statements.many, &parameters, variable).await
    }
}

fn variable(found: &Row) -> Result<Variable, Failure> {
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| damaged("a variable whose text is not UTF-8"));
    let key: Arc<str> = row::text(found, 0)?;
    Ok(Variable {
        key,
        text: Some(text(found.try_get(1)?)?),
        description: found.try_get::<_, Option<Vec<u8>>>(2)?.map(text).transpose()?,
        updated_at: Some(row::time(found.try_get(3)?)),
        is_encrypted: false,
    })
}
