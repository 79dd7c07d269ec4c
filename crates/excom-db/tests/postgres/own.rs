//! What is PostgreSQL's own: how it is asked, and statements that are not prepared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use excom_core::answer::Answer;
use excom_core::attempt::TaskState;
use excom_core::db::Scope;
use excom_core::value::ContentHash;
use excom_core::{Caller, Engine, PullOptions, Result, TaskInstanceKey, Value, XComKey, memory};
use excom_db::postgres::{Db, Options};
use futures_util::future::join_all;

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

    fn folded(&self) -> Vec<&'static str> {
        let folded = "CREATE DATABASE folded TEMPLATE template0
                      LOCALE_PROVIDER icu ICU_LOCALE 'en-US-u-ks-level1' LOCALE 'C'";
        self.sql(Self::FIRST, folded).unwrap();
        vec!["folded"]
    }

    fn deadlocks(&self) -> String {
        // A session counts its own at the latest when it ends.
        let others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'excom'";
        let begun = Instant::now();
        while self.sql(Self::FIRST, others).unwrap() != "0" {
            assert!(begun.elapsed().as_secs() < 30, "sessions end with those that opened them");
        }
        self.sql(Self::FIRST, "SELECT sum(deadlocks) FROM pg_stat_database").unwrap()
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

/// What the schema before held is there in the newest, and its functions know what is new.
#[test]
fn the_schema_before_is_brought_up_to_date() {
    let Some(server) = server() else { return };
    server.sql(Server::FIRST, "CREATE DATABASE before").unwrap();
    let sql = |sql: &str| server.sql("before", sql).unwrap();
    sql("CREATE SCHEMA excom; CREATE TABLE excom.migration (
             version int4 PRIMARY KEY, works_since int4 NOT NULL, made timestamptz NOT NULL DEFAULT now());
         INSERT INTO excom.migration VALUES (1, 1), (2, 2)");
    sql(include_str!("../../src/postgres/migrations/0001.sql"));
    sql(include_str!("../../src/postgres/migrations/0002.sql"));
    let put = |version: i64, text: &'static str| {
        let (hash, shape) = (ContentHash::of(text.as_bytes()), Value::parse(text).unwrap().shape().to_code());
        let put = format!(
            "SELECT excom.put(0, 'd', 'r', 't', -1, 'k', {version}, '{{\"user\":\"test\"}}', 1, {}, {shape},
                              '{text}', 0::int2, '', NULL, 'test', 1)",
            hash.0.cast_signed()
        );
        sql(&put)
    };
    assert_eq!((put(1 << 40, "1").as_str(), put(2 << 40, "2").as_str()), ("t", "t"));
    let db = Server::open(&server.url("before"), Some(4)).unwrap();
    assert_eq!(sql("SELECT max(version) FROM excom.migration"), Server::SCHEMA.to_string());
    let engine = Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build();
    let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "2");
    let past = pollster::block_on(engine.history(&Caller::user("test"), &key, 10)).unwrap();
    assert!(matches!(&past[..], [one] if one.info.preview == "1" && one.has_bytes), "{past:?}");
    sql("SELECT excom.expire_aged('{2000000000000}', '{rule}', NULL, 0, 10, 3)");
    assert_eq!(
        (put(1 << 40, "1").as_str(), put(2 << 40, "2").as_str()),
        ("f", "f"),
        "both were there before"
    );
    assert_eq!((put(3 << 40, "3").as_str(), pulled(&engine, &key).unwrap().as_str()), ("t", "3"));
}

/// Sessions keep the plans that they make first, also those for tables that PostgreSQL has found empty.
#[test]
fn pushes_read_no_table_whole() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let ended = || {
        let sessions = "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'excom'";
        let begun = Instant::now();
        while database.sql(sessions) != "0" {
            assert!(begun.elapsed().as_secs() < 30, "sessions end with those that opened them");
        }
    };
    let clock = Arc::new(memory::Clock::new());
    let open = || Engine::builder(Arc::new(database.open()), clock.clone()).build();
    let (user, instance) =
        (Caller::user("test"), |run: usize| TaskInstanceKey::new("d", format!("r{run}"), "t", -1).unwrap());
    let push = async |engine: &Engine, key: &XComKey| {
        engine.push(&user, key, Value::of(&1).unwrap().into()).await.unwrap();
    };
    let engine = open();
    pollster::block_on(async {
        push(&engine, &instance(0).xcom("old").unwrap()).await;
        clock.advance(Duration::from_secs(91 * 24 * 3600));
        assert_eq!(engine.prune().await.unwrap().entries, 1);
    });
    drop(engine);
    ended();
    database.sql("VACUUM ANALYZE");
    database.sql("SELECT pg_stat_reset()");
    let engine = open();
    pollster::block_on(async {
        for run in [0, 1, 0, 1] {
            let attempt = engine.start(&instance(run), 1).await.unwrap();
            let keys: Vec<XComKey> =
                (0..16).map(|key| instance(run).xcom(format!("k{key}")).unwrap()).collect();
            // By one, and then together.
            push(&engine, &keys[0]).await;
            join_all(keys.iter().map(|key| push(&engine, key))).await;
            engine.finish(&attempt, TaskState::Success, Vec::new()).await.unwrap();
            engine.clear(&user, &Scope::Key(keys[1].clone())).await.unwrap();
        }
        engine.close().await.unwrap();
    });
    drop(engine);
    ended();
    let whole = "SELECT coalesce(string_agg(relname || ' ' || seq_scan, ', '), '') FROM pg_stat_user_tables
         WHERE schemaname = 'excom' AND seq_scan > 0 AND relname IN ('entry', 'expired', 'history', 'task_instance')";
    assert_eq!(database.sql(whole), "");
}

/// What expires together in a run is one row, and each of it is known, found, removed and forgotten by itself.
#[test]
fn what_expires_together_shares_a_row() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let clock = Arc::new(memory::Clock::new());
    let engine = Engine::builder(Arc::new(database.open()), clock.clone()).build();
    let caller = Caller::user("test");
    let at = |run: &str, task: &str| XComKey::new("d", run, task, -1, "k").unwrap();
    let keys = [at("r1", "a"), at("r1", "b"), at("r1", "c"), at("r2", "a")];
    let day = Duration::from_secs(24 * 3600);
    let told = |key: &XComKey| -> Answer {
        let keys = std::slice::from_ref(key);
        pollster::block_on(engine.pull(&caller, keys, PullOptions::default())).unwrap().remove(0)
    };
    let previews = |key: &XComKey| -> Vec<String> {
        let past = pollster::block_on(engine.history(&caller, key, 10)).unwrap();
        past.into_iter().map(|past| past.info.preview).collect()
    };
    pollster::block_on(async {
        for (i, key) in keys.iter().enumerate() {
            engine.push(&caller, key, Value::of(&i).unwrap().into()).await.unwrap();
        }
        clock.advance(91 * day);
        assert_eq!(engine.prune().await.unwrap().entries, 4);
        let rows = "SELECT (SELECT count(*) FROM excom.expired), (SELECT count(*) FROM excom.history)";
        assert_eq!(database.sql(rows), "2|0");
        for (i, key) in keys.iter().enumerate() {
            let answer = told(key);
            assert!(
                matches!(&answer, Answer::Expired(e) if e.by == "[xcom] retention = \"90d\""),
                "{answer:?}"
            );
            assert_eq!(previews(key), [i.to_string()]);
        }
        engine.delete(&caller, &Scope::Key(keys[1].clone())).await.unwrap();
        assert_eq!(database.sql(rows), "1|2");
        assert!(previews(&keys[1]).is_empty() && !matches!(told(&keys[1]), Answer::Expired(_)));
        assert!(matches!(told(&keys[0]), Answer::Expired(_)));
        engine.push(&caller, &keys[0], Value::of(&7).unwrap().into()).await.unwrap();
        assert_eq!(previews(&keys[0]), ["0"]);
        clock.advance(31 * day);
        assert_eq!(engine.prune().await.unwrap().past_entries, 3);
        assert!(previews(&keys[0]).is_empty() && previews(&keys[3]).is_empty());
    });
    assert_eq!(pulled(&engine, &keys[0]).unwrap().as_str(), "7");
}

/// Several prune at the same time, beside pushes in the same runs: each version ends once, and no push is lost.
#[test]
fn several_prune_beside_pushes() {
    const RUNS: usize = 20;
    const TASKS: usize = 20;
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let clock = Arc::new(memory::Clock::new());
    let open = || Engine::builder(Arc::new(database.open()), clock.clone()).build();
    let caller = Caller::user("test");
    let at =
        |i: usize| XComKey::new("d", format!("r{}", i / TASKS), format!("t{}", i % TASKS), -1, "k").unwrap();
    let push = |engine: &Engine, i: usize, value: usize| {
        let value = Value::of(&value).unwrap();
        pollster::block_on(engine.push(&caller, &at(i), value.into())).unwrap();
    };
    let engine = open();
    (0..RUNS * TASKS).for_each(|i| push(&engine, i, i));
    clock.advance(Duration::from_secs(91 * 24 * 3600));
    let expired: u64 = std::thread::scope(|scope| {
        let pruners: Vec<_> =
            (0..3).map(|_| scope.spawn(|| pollster::block_on(open().prune()).unwrap().entries)).collect();
        for part in 0..2 {
            let (engine, push) = (&engine, &push);
            scope.spawn(move || (part..RUNS * TASKS).step_by(20).for_each(|i| push(engine, i, 1000)));
        }
        pruners.into_iter().map(|pruner| pruner.join().unwrap()).sum()
    });
    let counts =
        "SELECT count(*), count(DISTINCT (run, task)), count(*) FILTER (WHERE reason = 2) FROM excom.past";
    assert_eq!(database.sql(counts), format!("{0}|{0}|{expired}", RUNS * TASKS));
    assert_eq!(database.sql("SELECT count(*) FROM excom.entry"), (RUNS * TASKS / 10).to_string());
    assert_eq!(pulled(&engine, &at(1)).unwrap().as_str(), "1000");
}

#[test]
fn marks_of_results_go_with_what_they_mark() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let rows = || database.sql("SELECT count(*) FROM excom.result");
    crate::results::marks_go_with_what_they_mark(Arc::new(database.open()), rows);
}
