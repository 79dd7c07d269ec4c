//! The metadata database on a server, and its schema.

use excom_testkit::mysql::Mysql;
use excom_testkit::postgres::Postgres;
use excom_testkit::skip::skipped;

use crate::{Shell, Told};

#[test]
fn several_homes_share_a_server() {
    if let Err(why) = Postgres::available() {
        return skipped("server::several_homes_share_a_server", &why);
    }
    let server = Postgres::start().unwrap();
    let url = server.url("postgres").replacen("postgresql", "postgresql+psycopg2", 1);
    let shells = shared(&url, || {
        assert_eq!(server.sql("postgres", "SELECT to_regnamespace('excom') IS NULL").unwrap(), "t");
    });
    what_fills_it_is_told(&shells[0], 5, "entry");
    drop(server);
    without_a_server(&shells);
}

#[test]
fn several_homes_share_mysql() {
    if let Err(why) = Mysql::available() {
        return skipped("server::several_homes_share_mysql", &why);
    }
    let server = Mysql::start().unwrap();
    let url = server.url("excom").replacen("mysql", "mysql+pymysql", 1);
    let shells = shared(&url, || assert_eq!(server.sql("excom", "SHOW TABLES").unwrap(), ""));
    what_fills_it_is_told(&shells[0], 3, "excom_history");
    drop(server);
    without_a_server(&shells);
}

/// Two homes with one database.
fn shared(url: &str, nothing_is_made: impl Fn()) -> [Shell; 2] {
    let shell = || {
        let key = "ab".repeat(32);
        Shell::new()
            .with("EXCOM__DATABASE__URL", url)
            .with("EXCOM__SEAL__KEYS", "env:SEAL")
            .with("SEAL", &key)
    };
    let (one, other) = (shell(), shell());

    // Looking makes nothing.
    let told = one.run(&["db", "status"]);
    assert!(told.code == 0 && told.out.contains("no schema yet"), "{told:?}");
    assert_eq!(one.count("pull", &[]).code, 3);
    let told = one.run(&["db", "check"]);
    assert!(told.code == 1 && told.err.contains("  run `excom db migrate`\n"), "{told:?}");
    nothing_is_made();

    let told = one.run(&["db", "migrate", "--json"]).json();
    assert!(told["migrated"] == true && told["schema"] == told["newest"], "{told:?}");
    assert_eq!(other.run(&["db", "check"]).code, 0);
    assert!(other.run(&["db", "migrate"]).out.contains("up to date"));

    assert_eq!(one.count("push", &["365"]), Told::nothing());
    assert_eq!(other.count("pull", &[]), Told::out("365\n"));
    let told = other.run(&["doctor"]);
    let scheme = url.split_once("://").unwrap().0;
    assert!(
        told.code == 0 && told.out.contains(&format!("metadata    {scheme}://excom:***@127.0.0.1:")),
        "{told:?}"
    );
    assert!(!format!("{told:?}").contains("se%20cret"), "{told:?}");
    [one, other]
}

/// With one XCom of so many bytes, and a table that is among the largest.
fn what_fills_it_is_told(shell: &Shell, bytes: u32, table: &str) {
    let over = shell.run(&["doctor", "--database", "--set", "xcom.inline_limit=2"]);
    assert_eq!((over.code, over.err.as_str()), (0, ""), "{over:?}");
    for part in [
        &format!("xcoms       1 XCom, {bytes} bytes as stored   all of the table looked at"),
        &format!("table       {table}   "),
        "dag         weather   1 XCom, ",
        "key         weather/count/return_value   1 XCom, ",
        &format!("offload     1 value, {bytes} bytes as stored over [xcom] inline_limit = 2"),
    ] {
        assert!(over.out.contains(part), "no {part} in {}", over.out);
    }
    let report = shell.run(&["doctor", "--database", "--json"]).json();
    let offload =
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "offload").unwrap();
    assert_eq!(offload["data"]["count"], 0, "{report}");
}

fn without_a_server([_, other]: &[Shell; 2]) {
    let told = other.count("pull", &[]);
    assert!(told.code == 7 && told.err.contains("cannot be connected to"), "{told:?}");
    assert!(!told.err.contains("se%20cret") && !told.err.contains("se cret"), "{told:?}");
}

#[test]
fn a_database_that_is_not_known_is_told() {
    let shell = Shell::new().with("EXCOM__DATABASE__URL", "oracle://db/excom?password=hidden");
    let told = shell.run(&["xcom", "list"]);
    assert!(told.code != 0 && told.err.contains("is of no database that is known"), "{told:?}");
    assert!(told.err.contains("password=***") && !told.err.contains("hidden"), "{told:?}");
}

#[test]
fn the_schema_of_a_file_is_told_too() {
    let shell = Shell::new();
    assert!(shell.run(&["db", "status"]).out.contains("no schema yet"));
    assert!(!shell.home().exists());
    assert!(shell.run(&["db", "migrate"]).out.contains("migrated from schema 0 to "));
    assert_eq!(shell.run(&["db", "check"]).code, 0);
}
