//! What is PostgreSQL's own: how it is asked, and statements that are not prepared.

use std::sync::Arc;

use excom_core::{Caller, Engine, Result, Value, XComKey, memory};
use excom_db::postgres::{Db, Options};

use crate::Server;
use crate::setups::{refused, unreadable};
use crate::support::{Database, Kind, open, pulled, server};

impl Kind for Server {
    type Db = Db;

    const SCHEMA: u32 = Db::SCHEMA;
    const FIRST: &str = "postgres";
    const OURS: &str = "excom.";
    const BETWEEN: char = '|';
    const NOT_THERE: &str = "\"nothing_here\" does not exist";

    fn open(url: &str, connections: Option<usize>) -> Result<Db> {
        let mut options = Options::default();
        options.connections = connections.unwrap_or(options.connections);
        pollster::block_on(Db::open(url, &options))
    }

    fn clear(&self, database: &str) {
        let tables = "SELECT string_agg('excom.' || relname, ', ') FROM pg_class
             WHERE relnamespace = 'excom'::regnamespace AND relkind = 'r' AND relname <> 'migration'";
        let tables = self.sql(database, tables).unwrap();
        self.sql(database, &format!("TRUNCATE {tables}")).unwrap();
    }

    fn cut(&self) {
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE application_name = 'excom'";
        self.sql(Self::FIRST, cut).unwrap();
    }

    fn folded(&self) -> Vec<&'static str> {
        let folded = "CREATE DATABASE folded TEMPLATE template0
                      LOCALE_PROVIDER icu ICU_LOCALE 'en-US-u-ks-level1' LOCALE 'C'";
        self.sql(Self::FIRST, folded).unwrap();
        vec!["folded"]
    }
}

#[test]
fn statements_need_not_be_prepared() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    drop(database.open());
    let options = Options { prepare: false, ..Options::default() };
    let db = pollster::block_on(Db::open(&database.url(), &options)).unwrap();
    let engine = Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build();
    let (caller, key) = (Caller::user("test"), XComKey::new("d", "r", "t", -1, "k").unwrap());
    pollster::block_on(async {
        engine.push(&caller, &key, Value::of(&1).unwrap().into()).await.unwrap();
        engine.prune().await.unwrap();
    });
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
}

#[test]
fn what_is_not_ours_or_too_new_is_refused() {
    let Some(server) = server() else { return };
    refused(server, "others", "CREATE SCHEMA excom; CREATE TABLE excom.users ()", "another program's");
    let migration = "CREATE SCHEMA excom;
        CREATE TABLE excom.migration (version int4, works_since int4, made timestamptz DEFAULT now());
        INSERT INTO excom.migration VALUES (99, 98)";
    refused(server, "newer", migration, "needs an Excom that knows schema 98");
}

#[test]
fn urls_are_those_of_libpq_and_sqlalchemy() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    for scheme in ["postgres", "postgresql+psycopg2", "postgresql+asyncpg"] {
        let db = open(&database.url().replacen("postgresql", scheme, 1)).unwrap();
        assert!(db.to_string().starts_with("postgresql(127.0.0.1:"), "{db}");
    }
    for (url, told) in [
        ("postgresql://", "names no host"),
        ("excom", "no `://`"),
        ("postgresql://h/d?sslmood=prefer", "unknown option `sslmood`"),
    ] {
        unreadable(url, told);
    }
}
