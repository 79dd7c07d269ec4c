//! What is MySQL's own: how it is asked, its modes, its packets, its migrations that cannot be undone.

use std::sync::Arc;

use excom_core::db::{NewVariable, VariableWrite};
use excom_core::{Caller, Engine, ErrorKind, MetadataDb as _, Result, Value, XComKey, memory};
use excom_db::mysql::{Db, Options};
use jiff::Timestamp;

use crate::Server;
use crate::setups::{refused, unreadable};
use crate::support::{Database, Kind, open, pulled, server};

impl Kind for Server {
    type Db = Db;

    const SCHEMA: u32 = Db::SCHEMA;
    const FIRST: &str = "excom";
    const OURS: &str = "excom_";
    const BETWEEN: char = '\t';
    const NOT_THERE: &str = "'nothing_here'";

    fn open(url: &str, connections: Option<usize>) -> Result<Db> {
        let options = connections
            .map_or_else(Options::default, |connections| Options { connections, ..Options::default() });
        pollster::block_on(Db::open(url, &options))
    }

    fn clear(&self, database: &str) {
        let tables = "SELECT CONCAT('TRUNCATE ', table_name, ';') FROM information_schema.tables
             WHERE table_schema = DATABASE() AND table_name NOT IN ('excom_migration', 'excom_slot')";
        let tables = self.sql(database, tables).unwrap();
        self.sql(database, &tables).unwrap();
    }

    fn folded(&self) -> Vec<&'static str> {
        for (name, set) in [("folded", "utf8mb4 COLLATE utf8mb4_general_ci"), ("narrow", "latin1")] {
            self.sql(Self::FIRST, &format!("CREATE DATABASE {name} CHARACTER SET {set}")).unwrap();
        }
        vec!["folded", "narrow"]
    }

    fn deadlocks(&self) -> String {
        let status = self.sql(Self::FIRST, "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").unwrap();
        status.split(Self::BETWEEN).nth(1).unwrap().to_owned()
    }
}

#[test]
fn the_longest_names_fit() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
    let name = |last: char, chars: usize| "😀".repeat(chars - 1) + &last.to_string();
    let key =
        |last| XComKey::new(name('d', 250), name('r', 250), name('t', 250), -1, name(last, 512)).unwrap();
    let caller = Caller::user("test");
    for (number, last) in ['a', 'b'].into_iter().enumerate() {
        let value = Value::of(&number).unwrap();
        pollster::block_on(engine.push(&caller, &key(last), value.into())).unwrap();
    }
    assert_eq!(pulled(&engine, &key('a')).unwrap().as_str(), "0");
    assert_eq!(pulled(&engine, &key('b')).unwrap().as_str(), "1");
}

#[test]
fn modes_of_the_server_change_nothing() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let modes =
        "SET GLOBAL sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH';
        SET GLOBAL tx_isolation = 'SERIALIZABLE'";
    server.sql(Server::FIRST, modes).unwrap();
    let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
    server.sql(Server::FIRST, "SET GLOBAL sql_mode = DEFAULT; SET GLOBAL tx_isolation = DEFAULT").unwrap();
    let (caller, key) = (Caller::user("test"), XComKey::new("d", "r", "t", -1, "k").unwrap());
    pollster::block_on(async {
        engine.push(&caller, &key, Value::of(&"\\ \" '").unwrap().into()).await.unwrap();
        engine.prune().await.unwrap();
    });
    assert_eq!(pulled(&engine, &key).unwrap().get::<String>().unwrap(), "\\ \" '");
}

#[test]
fn what_is_larger_than_a_packet_is_told() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let db = database.open();
    let set = |text: String| {
        let variable =
            NewVariable { key: "k".into(), text, description: None, updated_at: Timestamp::UNIX_EPOCH };
        pollster::block_on(db.write_variable(&Caller::user("test"), &VariableWrite::Set(variable)))
    };
    let found = || pollster::block_on(db.variable("k")).unwrap().unwrap().text.unwrap().len();
    // The server takes 16 MiB.
    set("x".repeat(12 << 20)).unwrap();
    assert_eq!(found(), 12 << 20);
    for mebibytes in [16, 17, 40] {
        let error = set("x".repeat(mebibytes << 20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
        assert!(error.to_string().contains("nothing was written"), "{error}");
    }
    assert_eq!(found(), 12 << 20);
}

#[test]
fn what_is_not_ours_or_too_new_is_refused() {
    let Some(server) = server() else { return };
    refused(server, "others", "CREATE TABLE excom_users (id INT)", "another program");
    let migration = "CREATE TABLE excom_migration (version INT, works_since INT);
        INSERT INTO excom_migration VALUES (99, 98)";
    refused(server, "newer", migration, "needs an Excom that knows schema 98");
}

/// A migration that was interrupted is made again, because its tables stay.
#[test]
fn an_interrupted_migration_goes_on() {
    let Some(server) = server() else { return };
    server.sql(Server::FIRST, "CREATE DATABASE halfway").unwrap();
    let url = server.url("halfway");
    drop(open(&url).unwrap());
    server
        .sql(
            "halfway",
            "DELETE FROM excom_migration; DROP TABLE excom_mark; DELETE FROM excom_slot WHERE id > 99",
        )
        .unwrap();
    drop(open(&url).unwrap());
    let made = "SELECT (SELECT COUNT(*) FROM excom_slot), (SELECT COUNT(*) FROM excom_mark)";
    // The mark is the database's new name.
    assert_eq!(server.sql("halfway", made).unwrap(), "4096\t1");
}

#[test]
fn urls_are_those_of_mysql_and_sqlalchemy() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    for scheme in ["mariadb", "mysql+pymysql", "mysql+mysqldb", "mariadb+mariadbconnector"] {
        let db = open(&(database.url().replacen("mysql", scheme, 1) + "?charset=utf8mb4")).unwrap();
        assert!(db.to_string().starts_with("mysql(127.0.0.1:"), "{db}");
    }
    for (url, told) in [
        ("mysql:///d", "names no host"),
        ("mysql://h", "names no database"),
        ("excom", "no `://`"),
        ("oracle://h/d", "`oracle` is not a scheme"),
        ("mysql://h/d?sslmood=prefer", "unknown option `sslmood`"),
        ("mysql://h/d?ssl_mode=perhaps", "`perhaps` is no `ssl_mode`"),
    ] {
        unreadable(url, told);
    }
}

#[test]
fn what_is_beside_airflows_database_has_no_place_here() {
    let url = "mysql://excom:excom@localhost/excom?beside=other";
    unreadable(url, "`beside` in the URL of the database names what lies beside Airflow's own");
    let error = pollster::block_on(Db::schema(url, &Options::default())).unwrap_err();
    assert!(error.hints().iter().any(|hint| hint.contains("mode = \"attached\"")), "{error:?}");
}

#[test]
fn marks_of_results_go_with_what_they_mark() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let rows = || database.sql("SELECT count(*) FROM excom_result");
    crate::results::marks_go_with_what_they_mark(Arc::new(database.open()), rows);
}
