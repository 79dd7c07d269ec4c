//! Variables, which are Airflow's rows, and what Excom itself kept beside them (`crate::variable`). Each write is one statement
//! with its fence. A row of a team is read and deleted by nobody here; a set writes it, as Airflow's own does.

use std::sync::Arc;

use excom_core::attempt::Caller;
use excom_core::db::{Variable, VariableWrite, not_started, superseded};
use excom_core::{Error, ErrorKind};
use tokio_postgres::Row;

use super::super::connection::{Parameter, Statement, types};
use super::super::failure::{Failure, damaged};
use super::super::row::{text, time};
use super::super::write::Fenced;
use super::{Tables, schema};
use crate::fernet::{Fernet, Held};
use crate::variable::{Theirs, held, needs_key};

type Result<T> = std::result::Result<T, Failure>;

/// What is asked: to set, make, change and delete a variable, to take ours over, one by its key, and many.
struct Statements {
    set: Statement<'static>,
    make: Statement<'static>,
    change: Statement<'static>,
    take_over: Option<Statement<'static>>,
    delete: Statement<'static>,
    one: Statement<'static>,
    many: Statement<'static>,
}

/// Whether Airflow's row `v` is of no team. Not every Airflow's has one.
macro_rules! of_no_team {
    () => {
        "to_jsonb(v) ->> 'team_name' IS NULL"
    };
}

/// Airflow's rows of no team, without a look at their texts: a column that is not there is that of `teams`. `name` is the key in
/// the collation of Airflow's index, `key` is the one that compares and sorts by bytes.
macro_rules! theirs {
    ($condition:literal) => {
        concat!(
            "SELECT v.key, v.val, v.description, v.is_encrypted, NULL::bytea AS own_text,
                    NULL::bytea AS own_description, NULL::int8 AS updated
             FROM (SELECT NULL::text AS team_name) teams CROSS JOIN LATERAL (
                 SELECT key AS name, key::text COLLATE \"C\" AS key, coalesce(val, '') AS val, description,
                        coalesce(is_encrypted, false) AS is_encrypted
                 FROM variable WHERE team_name IS NULL) v
             WHERE ",
            $condition
        )
    };
}

/// Ours, where Airflow has none under the key.
macro_rules! ours {
    ($condition:literal) => {
        concat!(
            " UNION ALL
             SELECT o.key, NULL, NULL, false, o.text, o.description, o.updated FROM excom.own_variable o
             WHERE NOT EXISTS (SELECT FROM variable v WHERE v.key = o.key COLLATE \"default\" AND ",
            of_no_team!(),
            ") AND ",
            $condition
        )
    };
}

/// Whether a text may be written over Airflow's row `v`: not in the clear over what is encrypted.
macro_rules! stays_secret {
    () => {
        "($9 OR NOT coalesce(v.is_encrypted, false) OR coalesce(v.val, '') = '')"
    };
}

/// What a write answers: whether it was let through, and the row as it is from then on.
macro_rules! written {
    () => {
        " SELECT (SELECT count(*) FROM fenced), w.key, w.val, w.description, w.is_encrypted
           FROM (SELECT) AS one LEFT JOIN written w ON true"
    };
}

/// The statements, with what lets a caller through as `fenced`; and those parts that are about ours.
macro_rules! statements {
    {
        fenced: $fenced:expr, fenced_delete: $fenced_delete:expr,
        set: ($ours:literal, $joined:literal, $described:literal), make: $none_of_ours:literal, replaced: $replaced:literal,
        delete: ($ours_deleted:literal, $ours_counted:literal), take_over: $take_over:expr, one: $one:expr, many: $many:expr
    } => {
        Statements {
            set: Statement {
                sql: concat!(
                    "WITH ", $fenced, $ours, ", written AS (
                         INSERT INTO variable AS v (key, val, description, is_encrypted)
                         SELECT $6, $7, ", $described, ", $9 FROM fenced", $joined, "
                         ON CONFLICT (key) DO UPDATE SET val = excluded.val, is_encrypted = excluded.is_encrypted,
                             description = coalesce($8, v.description) WHERE ", stays_secret!(), "
                         RETURNING v.key::text, v.val, v.description, v.is_encrypted)",
                    $replaced,
                    written!()
                ),
                types: WRITE,
            },
            // Who finds its own token made the variable in a try whose answer was lost.
            make: Statement {
                sql: concat!(
                    "WITH ", $fenced, ", written AS (
                         INSERT INTO variable AS v (key, val, description, is_encrypted)
                         SELECT $6, $7, $8, $9 FROM fenced ", $none_of_ours, "
                         ON CONFLICT (key) DO UPDATE SET key = v.key
                             WHERE v.is_encrypted AND excluded.is_encrypted AND v.val = excluded.val
                             AND v.description IS NOT DISTINCT FROM excluded.description
                         RETURNING v.key::text, v.val, v.description, v.is_encrypted)",
                    written!()
                ),
                types: WRITE,
            },
            change: Statement {
                sql: concat!(
                    "WITH ", $fenced, ", written AS (
                         UPDATE variable v SET val = coalesce($7, v.val, ''), description = coalesce($8, v.description),
                             is_encrypted = coalesce(CASE WHEN $7 IS NULL THEN v.is_encrypted ELSE $9 END, false)
                         FROM fenced WHERE v.key = $6 AND ", of_no_team!(), " AND ($7 IS NULL OR ", stays_secret!(), ")
                         RETURNING v.key::text, v.val, v.description, v.is_encrypted)",
                    $replaced,
                    written!()
                ),
                types: WRITE,
            },
            take_over: $take_over,
            delete: Statement {
                sql: concat!(
                    "WITH ", $fenced_delete, ", theirs AS (
                         DELETE FROM variable v USING fenced WHERE v.key = $6 AND ", of_no_team!(), " RETURNING 1)",
                    $ours_deleted,
                    " SELECT (SELECT count(*) FROM fenced), (SELECT count(*) FROM theirs)", $ours_counted
                ),
                types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT_ARRAY],
            },
            one: Statement { sql: $one, types: types![TEXT] },
            many: Statement { sql: $many, types: types![TEXT, TEXT, INT8] },
        }
    };
}

/// Whether Airflow's row under a key is encrypted, and of no team.
const SECRET: Statement<'_> = Statement {
    sql: concat!(
        "SELECT coalesce(is_encrypted, false) AND coalesce(val, '') <> '', ",
        of_no_team!(),
        " FROM variable v WHERE key = $1"
    ),
    types: types![TEXT],
};

/// How often a set is tried whose row changes meanwhile.
const SETS: usize = 3;

const WRITE: &[tokio_postgres::types::Type] =
    types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT, TEXT, BOOL, TEXT_ARRAY];

/// Lets a caller through by the function of our schema, which refuses by itself.
macro_rules! fenced {
    () => {
        "fenced AS MATERIALIZED (SELECT FROM excom.fence($1, $2, $3, $4, $5))"
    };
}

/// With what we have beside Airflow's tables.
const BESIDE: Statements = statements! {
    fenced: fenced!(),
    fenced_delete: fenced!(),
    set: (
        ", ours AS (SELECT o.description FROM excom.own_variable o, fenced WHERE o.key = $6)",
        " LEFT JOIN ours ON true",
        "coalesce($8, convert_from(ours.description, 'UTF8'))"
    ),
    make: "WHERE NOT EXISTS (SELECT FROM excom.own_variable o WHERE o.key = $6)",
    replaced: ", gone AS (DELETE FROM excom.own_variable o USING written WHERE o.key = written.key)",
    delete: (
        ", ours AS (DELETE FROM excom.own_variable o USING fenced WHERE o.key = $6 RETURNING 1)",
        " + (SELECT count(*) FROM ours)"
    ),
    take_over: Some(Statement {
        sql: concat!(
            "WITH ",
            fenced!(),
            ", gone AS (
                 DELETE FROM excom.own_variable o USING fenced
                 WHERE o.key = $6 AND o.text = $11 AND o.description IS NOT DISTINCT FROM convert_to($8, 'UTF8')
                 AND NOT EXISTS (SELECT FROM variable v WHERE v.key = $6) RETURNING o.key),
             written AS (
                 INSERT INTO variable (key, val, description, is_encrypted) SELECT $6, $7, $8, $9 FROM gone
                 ON CONFLICT (key) DO NOTHING)
             SELECT count(*) FROM fenced"
        ),
        types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT, TEXT, BOOL, TEXT_ARRAY, BYTEA],
    }),
    one: concat!(theirs!("v.name = $1 AND v.key = $1"), ours!("o.key = $1")),
    many: concat!(
        theirs!("v.key >= $1 AND v.key > $2 AND starts_with(v.key, $1)"),
        ours!("o.key >= $1 AND o.key > $2 AND starts_with(o.key, $1)"),
        " ORDER BY 1 LIMIT $3"
    )
};

/// Lets a caller through without it, where Airflow's schema is one of those given, as pushes do (`bare`).
macro_rules! alone {
    ($known:literal) => {
        concat!(
            "own AS MATERIALIZED (
                 SELECT FROM task_instance
                 WHERE dag_id = $1 AND run_id = $2 AND task_id = $3 AND map_index = $4 AND id = $5 FOR KEY SHARE),
             fenced AS MATERIALIZED (
                 SELECT FROM (SELECT) AS one WHERE ($5 IS NULL OR EXISTS (SELECT FROM own))
                 AND EXISTS (SELECT FROM alembic_version WHERE version_num = ANY (",
            $known,
            ")))"
        )
    };
}

/// Without anything beside them.
const ALONE: Statements = statements! {
    fenced: alone!("$10"),
    fenced_delete: alone!("$7"),
    set: ("", "", "$8"),
    make: "",
    replaced: "",
    delete: ("", ""),
    take_over: None,
    one: theirs!("v.name = $1 AND v.key = $1"),
    many: concat!(theirs!("v.key >= $1 AND v.key > $2 AND starts_with(v.key, $1)"), " ORDER BY 1 LIMIT $3")
};

impl Tables {
    fn statements(&self) -> &'static Statements {
        if self.is_bare { &ALONE } else { &BESIDE }
    }

    pub(super) async fn variable(&self, key: &str) -> Result<Option<Variable>> {
        let fernet = self.keys();
        self.own.one(&self.statements().one, &[&key], |found| variable(found, &fernet)).await
    }

    pub(super) async fn variables(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Variable>> {
        let fernet = self.keys();
        let parameters: [Parameter<'_>; 3] = [&prefix, &after.unwrap_or_default(), &i64::from(limit)];
        self.own.rows(&self.statements().many, &parameters, |found| variable(found, &fernet)).await
    }

    pub(super) async fn write_variable(
        &self,
        caller: &Caller,
        write: &VariableWrite,
    ) -> Result<Option<Variable>> {
        let fernet = self.keys();
        let held = held(write, &fernet)?;
        let (key, _, description, _) = write.parts();
        if let Some(part) = nul_in(held.as_ref(), description) {
            let what = format!(
                "the {part} of the variable `{key}` has a NUL character, which Airflow's column in {} cannot hold; nothing \
                 was written",
                self.place()
            );
            let error = Error::new(ErrorKind::InvalidValue, what).hint("take it out");
            return Err(match part {
                TEXT => {
                    error.hint("or set [core] fernet_key to Airflow's own: an encrypted text may have any")
                }
                _ => error,
            }
            .into());
        }
        let statement = match write {
            VariableWrite::Set(_) => &self.statements().set,
            VariableWrite::Make(_) => &self.statements().make,
            VariableWrite::Change { .. } => {
                self.take_over(caller, write, &fernet).await?;
                &self.statements().change
            }
        };
        let in_the_clear = held.as_ref().is_some_and(|held| !held.is_encrypted);
        for _ in 0..SETS {
            let found = match self.ask(statement, caller, key, held.as_ref(), description, &[]).await {
                // A set without a description takes over that of ours.
                Err(error) if error.kind() == ErrorKind::InvalidValue => {
                    let ours = self.variable(key).await?.filter(|found| found.updated_at.is_some());
                    let part = ours.and_then(|ours| nul_in(None, ours.description.as_deref()));
                    return Err(part.map_or(error, |part| self.stays_ours(key, part)).into());
                }
                answer => answer?,
            };
            if found.try_get::<_, Option<&str>>(1)?.is_some() {
                return Ok(Some(theirs(&found, 2)?.read(text(&found, 1)?, &fernet)));
            }
            if !in_the_clear || matches!(write, VariableWrite::Make(_)) {
                return Ok(None);
            }
            let look = |found: &Row| Ok((found.try_get(0)?, found.try_get(1)?));
            let (is_secret, of_no_team): (bool, bool) =
                self.own.one(&SECRET, &[&&**key], look).await?.unwrap_or_default();
            match write {
                // It was encrypted a moment ago.
                VariableWrite::Set(_) if !is_secret => {}
                VariableWrite::Change { .. } if !(is_secret && of_no_team) => return Ok(None),
                _ => return Err(needs_key(key).into()),
            }
        }
        let what = format!("the variable `{key}` is written by others all the time; it was not set");
        Err(Error::new(ErrorKind::Unavailable, what).hint("try again").into())
    }

    pub(super) async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        let fenced = Fenced::caller(caller);
        let [dag, run, task, map_index, attempt] = fenced.parameters();
        let known = schema::revisions();
        let parameters: [Parameter<'_>; 7] = [dag, run, task, map_index, attempt, &key, &known];
        let found = self.let_through(caller, &self.statements().delete, &parameters).await?;
        Ok(found.get::<_, i64>(1) > 0)
    }

    /// What Excom itself kept becomes Airflow's row, which changes nothing for who reads it; what is to be changed is only there.
    async fn take_over(
        &self,
        caller: &Caller,
        write: &VariableWrite,
        fernet: &Fernet,
    ) -> excom_core::Result<()> {
        let Some(statement) = &self.statements().take_over else { return Ok(()) };
        let (key, _, _, at) = write.parts();
        let told = |failure| schema::told(failure, self.place());
        // A time is of ours alone.
        let found = self.variable(key).await.map_err(told)?.filter(|found| found.updated_at.is_some());
        let Some(Variable { text: Some(text), description, .. }) = found else { return Ok(()) };
        let held = fernet.hold(&text, at)?;
        if let Some(part) = nul_in(Some(&held), description.as_deref()) {
            return Err(self.stays_ours(key, part));
        }
        let ours: Parameter<'_> = &text.as_bytes();
        self.ask(statement, caller, key, Some(&held), description.as_deref(), &[ours]).await.map(drop)
    }

    /// What is told of a variable of our own that Airflow's row cannot be.
    fn stays_ours(&self, key: &str, part: &str) -> Error {
        let what = format!(
            "the variable `{key}` is one that Excom kept itself in excom.own_variable, and cannot become Airflow's row: its \
             {part} has a NUL character, which Airflow's column in {} cannot hold; nothing was written",
            self.place()
        );
        Error::new(ErrorKind::InvalidValue, what)
            .hint("set it anew, with a text and a description that have none, or delete it")
    }

    async fn ask(
        &self,
        statement: &Statement<'_>,
        caller: &Caller,
        key: &str,
        held: Option<&Held>,
        description: Option<&str>,
        more: &[Parameter<'_>],
    ) -> excom_core::Result<Row> {
        let fenced = Fenced::caller(caller);
        let (val, is_encrypted) = (held.map(|held| &*held.text), held.is_some_and(|held| held.is_encrypted));
        let [dag, run, task, map_index, attempt] = fenced.parameters();
        let known = schema::revisions();
        let mut parameters: Vec<Parameter<'_>> =
            vec![dag, run, task, map_index, attempt, &key, &val, &description, &is_encrypted, &known];
        parameters.extend_from_slice(more);
        self.let_through(caller, statement, &parameters).await
    }

    /// The answer of a statement, whose first column tells whether the caller was let through.
    async fn let_through(
        &self,
        caller: &Caller,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> excom_core::Result<Row> {
        let mut rows = match self.own.connections.write(statement, parameters).await {
            Ok(rows) => rows,
            Err(failure) => return Err(self.refused(failure, caller).await),
        };
        let told = |failure| schema::told(failure, self.place());
        let found = rows.pop().ok_or_else(|| told(damaged("no answer")))?;
        if found.get::<_, i64>(0) > 0 {
            return Ok(found);
        }
        schema::airflow(&self.own.connections).await?;
        match caller {
            Caller::Attempt(attempt) => {
                let tries = self.attempts(&attempt.ti).await.map_err(told)?;
                Err(match tries.last().filter(|_| tries.iter().any(|known| known.id == attempt.id)) {
                    Some(current) => superseded(attempt, current),
                    None => not_started(attempt),
                })
            }
            _ => Err(told(damaged("no answer"))),
        }
    }
}

/// The parts of a variable that are texts of people.
const TEXT: &str = "text";
const DESCRIPTION: &str = "description";

/// The part that PostgreSQL cannot hold. A token has no NUL.
fn nul_in(held: Option<&Held>, description: Option<&str>) -> Option<&'static str> {
    let has_nul = |text: &str| text.contains('\0');
    match held.is_some_and(|held| has_nul(&held.text)) {
        true => Some(TEXT),
        false => description.is_some_and(has_nul).then_some(DESCRIPTION),
    }
}

fn variable(found: &Row, fernet: &Fernet) -> Result<Variable> {
    let key: Arc<str> = text(found, 0)?;
    let Some(updated) = found.try_get::<_, Option<i64>>(6)? else {
        return Ok(theirs(found, 1)?.read(key, fernet));
    };
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| damaged("a variable whose text is not UTF-8"));
    Ok(Variable {
        key,
        text: found.try_get::<_, Option<Vec<u8>>>(4)?.map(text).transpose()?,
        description: found.try_get::<_, Option<Vec<u8>>>(5)?.map(text).transpose()?,
        updated_at: Some(time(updated)),
        is_encrypted: false,
    })
}

fn theirs(found: &Row, at: usize) -> Result<Theirs> {
    Ok(Theirs {
        held: Held { text: found.try_get(at)?, is_encrypted: found.try_get(at + 2)? },
        description: found.try_get(at + 1)?,
        has_team: false,
    })
}
