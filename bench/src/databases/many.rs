//! Millions of entries: made in the database from the few that an engine pushed, since what they are is not what is
//! measured.

use std::fmt::Write as _;

use excom_core::{Engine, XComKey};
use excom_testkit::postgres::Postgres;

use super::engine_on;
use crate::engine::{ROUNDS, Result, Rounds, fill, key, order, our_pull, reader, with_upkeep};
use crate::payload::{Kind, kilobytes};

/// Entries of a run, as [`key`] names them.
pub(super) const RUN: usize = 100;

/// A server that does not wait for its disk while it is filled.
pub(super) fn server() -> Result<Postgres> {
    Ok(Postgres::start_with(&["fsync=off", "max_wal_size=4GB"]).map_err(|error| error.to_string())?)
}

/// An engine on a new database with the entries of so many runs. The rows of the first ten are pushed; those of all
/// others are theirs, with versions of their own: those of so many runs were pushed a hundred days ago.
pub(super) fn filled(
    server: &Postgres,
    database: &str,
    kind: Kind,
    runs: usize,
    old: usize,
) -> Result<Engine> {
    const PUSHED: usize = 10;
    let say = |error: Box<dyn std::error::Error + Send + Sync>| error.to_string();
    server.sql("postgres", &format!("CREATE DATABASE {database}")).map_err(say)?;
    let engine = engine_on(server, database)?;
    let keys: Vec<XComKey> = (0..RUN * PUSHED.min(runs)).map(key).collect();
    fill(&engine, &keys, &kilobytes(kind, keys.len()))?;
    let mut sql = String::new();
    write!(
        sql,
        "INSERT INTO excom.dag_run (dag, run_after, run_id)
         SELECT dag, run_after, left(run_id, -6) || lpad(n::text, 6, '0')
         FROM (SELECT * FROM excom.dag_run ORDER BY id LIMIT 1) r, generate_series({PUSHED}, {runs} - 1) n;
         CREATE TEMP TABLE run AS SELECT id, right(run_id, 6)::int4 AS n FROM excom.dag_run ORDER BY n;
         INSERT INTO excom.task_instance
         SELECT r.id, i.task, i.map_index, i.number, i.started, i.took, i.attempt, i.try_number, i.state
         FROM run r JOIN run p ON p.n = r.n % {PUSHED} JOIN excom.task_instance i ON i.run = p.id
         WHERE r.n >= {PUSHED};
         INSERT INTO excom.entry (version, size, hash, shape, run, task, key, map_index, number, codec, writer, head, body)
         SELECT e.version + r.n - (CASE WHEN r.n < {old} THEN 8640000000::int8 << 22 ELSE 0 END), e.size, e.hash,
                e.shape, r.id, e.task, e.key, e.map_index, e.number, e.codec, e.writer, e.head, e.body
         FROM run r JOIN run p ON p.n = r.n % {PUSHED} JOIN excom.entry e ON e.run = p.id
         WHERE r.n >= {PUSHED};"
    )?;
    server.sql(database, &sql).map_err(say)?;
    server.sql(database, "VACUUM ANALYZE").map_err(say)?;
    Ok(engine)
}

/// Microseconds of the same pulls with ten million entries and with a thousand.
pub(super) fn flat(kind: Kind, quick: bool) -> Result<Rounds> {
    const FEW: usize = 1_000;
    let entries = if quick { 1_000_000 } else { 10_000_000 };
    let server = server()?;
    let few = filled(&server, "few", kind, FEW / RUN, 0)?;
    let many = filled(&server, "many", kind, entries / RUN, 0)?;
    let (few_reader, many_reader) = (reader(&few)?, reader(&many)?);
    let few_keys: Vec<XComKey> = (0..FEW).map(key).collect();
    // As many distinct entries are read from both, so that only the database differs.
    let picked: Vec<XComKey> = order(entries, FEW).into_iter().map(key).collect();
    let order = order(FEW, 10_000);
    our_pull(&few, &few_reader, &few_keys, &order)?;
    our_pull(&many, &many_reader, &picked, &order)?;
    with_upkeep(&few, || {
        with_upkeep(&many, || {
            let round = |_| {
                let few = our_pull(&few, &few_reader, &few_keys, &order)?;
                Ok((our_pull(&many, &many_reader, &picked, &order)?, Some(few)))
            };
            (0..ROUNDS).map(round).collect()
        })
    })
}
