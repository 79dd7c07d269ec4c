//! What entries take in the database, with all tables and indexes as pushes leave them.

use std::io::{Seek as _, Write as _};
use std::sync::Arc;

use excom_core::engine::{Offload as Offloading, Settings};
use excom_core::seal::SealKeys;
use excom_core::{Engine, Value, XComKey};
use excom_db::postgres::{Db, Options};
use excom_store::{Files, Offload, OffloadOptions};
use excom_testkit::postgres::Postgres;

use super::{DATABASE, Figures, open};
use crate::Place;
use crate::engine::{Result, fill, key};
use crate::payload::{Kind, kilobytes};
use crate::report::Beside;
use crate::system::SystemClock;

const ENTRIES: usize = 100_000;

/// Bytes of a schema's tables and indexes for an entry.
fn taken(server: &Postgres, schema: &str) -> Result<f64> {
    let all = format!(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class
         WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'r'"
    );
    let bytes: f64 = server.sql(DATABASE, &all).map_err(|error| error.to_string())?.parse()?;
    Ok(bytes / ENTRIES as f64)
}

/// A server that does not wait for its disk, which its size does not depend on.
fn server() -> Result<Postgres> {
    Ok(Postgres::start_with(&["fsync=off"]).map_err(|error| error.to_string())?)
}

/// Bytes for an entry above its payload under zstd -3. Each has a task instance and an attempt of its own.
pub(super) fn standard(kind: Kind) -> Result<Figures> {
    let server = server()?;
    let engine = open(&server)?;
    let values = kilobytes(kind, ENTRIES);
    let keys: Vec<XComKey> = (0..ENTRIES).map(key).collect();
    fill(&engine, &keys, &values)?;
    pollster::block_on(engine.close())?;
    let mut payload = 0;
    for value in &values {
        payload += zstd::bulk::compress(value.bytes(), 3)?.len();
    }
    let payload = payload as f64 / ENTRIES as f64;
    let beside = vec![
        ("the payload under zstd -3".to_owned(), Beside::Figure(payload)),
        (
            "Airflow's table with the same values".to_owned(),
            Beside::Figure(airflow(&server, &keys, &values)?),
        ),
    ];
    Ok((vec![(taken(&server, "excom")? - payload, None)], beside))
}

/// Bytes for an entry whose value is in a store.
pub(super) fn exclusive(kind: Kind) -> Result<Figures> {
    let server = server()?;
    let place = Place::new()?;
    let folder = place.file("values");
    let everything = OffloadOptions { threshold: 0, ..OffloadOptions::default() };
    let seal = SealKeys::new("k1", [1; 32]);
    let backend = Offload::new(Arc::new(Files::open(&folder)?), seal.clone(), everything);
    let db = pollster::block_on(Db::open(&server.url(DATABASE), &Options::default()))?;
    let settings = Settings { offload: Offloading::All, ..Settings::default() };
    let engine = Engine::builder(Arc::new(db), Arc::new(SystemClock));
    let engine = engine.backend(Arc::new(backend)).keys(seal).settings(settings).build();
    let values = kilobytes(kind, ENTRIES);
    let keys: Vec<XComKey> = (0..ENTRIES).map(key).collect();
    fill(&engine, &keys, &values)?;
    pollster::block_on(engine.close())?;
    let stored = stored(&folder)? as f64 / ENTRIES as f64;
    let beside = vec![("bytes in the store".to_owned(), Beside::Figure(stored))];
    let ours = taken(&server, "excom")?;
    Ok((vec![(ours, Some(airflow(&server, &keys, &values)?))], beside))
}

/// Bytes for an entry in Airflow's own table with the same values.
fn airflow(server: &Postgres, keys: &[XComKey], values: &[Value]) -> Result<f64> {
    const TABLE: &str = "CREATE SCHEMA airflow;
        CREATE TABLE airflow.xcom (
            dag_run_id int4 NOT NULL, task_id varchar(250) NOT NULL, map_index int4 NOT NULL DEFAULT -1,
            key varchar(512) NOT NULL, dag_result bool, dag_id varchar(250) NOT NULL, run_id varchar(250) NOT NULL,
            value jsonb, timestamp timestamptz NOT NULL,
            CONSTRAINT xcom_pkey PRIMARY KEY (dag_run_id, task_id, map_index, key));
        CREATE INDEX idx_xcom_key ON airflow.xcom (key);
        CREATE INDEX idx_xcom_task_instance ON airflow.xcom (dag_id, task_id, run_id, map_index)";
    server.sql(DATABASE, TABLE).map_err(|error| error.to_string())?;
    let mut rows = tempfile::tempfile()?;
    for (i, (XComKey { ti, key, .. }, value)) in keys.iter().zip(values).enumerate() {
        let (dag, run, task, map, value) =
            (&ti.dag_id, &ti.run_id, &ti.task_id, ti.map_index, value.as_str());
        let number = i / 100 + 1;
        writeln!(
            rows,
            "{number}\t{task}\t{map}\t{key}\tf\t{dag}\t{run}\t{}\t2026-11-21 10:00:00+00",
            value.replace('\\', r"\\")
        )?;
    }
    rows.rewind()?;
    server.copy(DATABASE, "airflow.xcom", rows).map_err(|error| error.to_string())?;
    taken(server, "airflow")
}

fn stored(folder: &std::path::Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { stored(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}
