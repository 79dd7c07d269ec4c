//! Variables and rendered fields: the statements that write and read them.

use std::sync::Arc;

use excom_core::attempt::{Attempt, Caller};
use excom_core::db::{Rendered, Variable};
use excom_core::{Result, TaskInstanceKey, Value};
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_postgres::Row;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::{Failure, damaged};
use super::read::{name, run};
use super::row;
use super::write::Fenced;
use crate::packing::pack_fields;

/// What is asked of a table of variables: to set one, to delete one, one by its key, and many.
pub(super) struct Statements {
    pub(super) set: Statement<'static>,
    pub(super) delete: Statement<'static>,
    pub(super) one: Statement<'static>,
    pub(super) many: Statement<'static>,
}

/// The statements about a table. Each is about one row by its key, but for the last: keys with a prefix lie together in
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
                         description = coalesce(excluded.description, v.description)"
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

/// Variables beside Airflow's tables, under a name that none of these has.
pub(super) const BESIDE: Statements = statements!("excom.own_variable");

/// One row by its key, which the fence has found.
const NOTE_RENDERED: Statement<'_> = Statement {
    sql: concat!(
        "INSERT INTO excom.rendered (run, task, map_index, number, fields)
         SELECT ",
        run!("$1", "$2"),
        ", ",
        name!("$3"),
        ", $4, number, $6
         FROM excom.fence($1, $2, $3, $4, $5) AS number
         ON CONFLICT (run, task, map_index) DO UPDATE SET number = excluded.number, fields = excluded.fields"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT],
};

/// One row by its key.
const RENDERED: Statement<'_> = Statement {
    sql: concat!(
        "SELECT number, fields FROM excom.rendered
         WHERE run = ",
        run!("$1", "$2"),
        " AND task = ",
        name!("$3"),
        " AND map_index = $4"
    ),
    types: types![TEXT, TEXT, TEXT, INT4],
};

impl Tables {
    pub(super) async fn set_variable(&self, caller: &Caller, variable: &Variable) -> Result<()> {
        match self.set_variable_by(&OWN, caller, variable).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.refused(failure, caller).await),
        }
    }

    /// The same by statements about a table, with the refusal as the database told it.
    pub(super) async fn set_variable_by(
        &self,
        statements: &Statements,
        caller: &Caller,
        variable: &Variable,
    ) -> Result<(), Failure> {
        let fenced = Fenced::caller(caller);
        let [dag, run, task, map_index, attempt] = fenced.parameters();
        let parameters: [Parameter<'_>; 9] = [
            dag,
            run,
            task,
            map_index,
            attempt,
            &&*variable.key,
            &variable.text.as_bytes(),
            &variable.description.as_deref().map(str::as_bytes),
            &variable.updated_at.as_millisecond(),
        ];
        self.connections.write(&statements.set, &parameters).await.map(drop)
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

    pub(super) async fn note_rendered(
        &self,
        attempt: &Attempt,
        fields: &[(String, Value)],
        _at: Timestamp,
    ) -> Result<()> {
        let fenced = Fenced::attempt(attempt);
        let [dag, run, task, map_index, id] = fenced.parameters();
        match self
            .connections
            .write(&NOTE_RENDERED, &[dag, run, task, map_index, id, &pack_fields(fields)])
            .await
        {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.refused(failure, &Caller::Attempt(attempt.clone())).await),
        }
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

    pub(super) async fn rendered(&self, ti: &TaskInstanceKey) -> Result<Option<Rendered>, Failure> {
        let parameters: [Parameter<'_>; 4] = [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index];
        self.one(&RENDERED, &parameters, rendered).await
    }
}

/// Rendered fields from number and fields.
pub(super) fn rendered(found: &Row) -> Result<Rendered, Failure> {
    let fields: Vec<(String, Box<RawValue>)> =
        serde_json::from_str(found.try_get(1)?).map_err(|_| damaged("rendered fields that are no list"))?;
    let values = fields.into_iter().map(|(name, raw)| {
        let text: Box<str> = raw.into();
        Ok((name, Value::parse(String::from(text))?))
    });
    Ok(Rendered { number: row::unsigned(found.try_get(0)?), fields: values.collect::<Result<_, Failure>>()? })
}

fn variable(found: &Row) -> Result<Variable, Failure> {
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| damaged("a variable whose text is not UTF-8"));
    let key: Arc<str> = row::text(found, 0)?;
    Ok(Variable {
        key,
        text: text(found.try_get(1)?)?,
        description: found.try_get::<_, Option<Vec<u8>>>(2)?.map(text).transpose()?,
        updated_at: row::time(found.try_get(3)?),
    })
}
