//! Airflow's own database, worked with in place: one that a real Airflow made, on a real PostgreSQL, a real MariaDB and on
//! SQLite.

use excom_testkit::mysql::Mysql;
use excom_testkit::postgres::Postgres;
use excom_testkit::python::Python;
use excom_testkit::skip::skipped;

use crate::{Shell, Told};

/// The run and the task instance of [`COUNT`](crate::COUNT), as Airflow's scheduler makes them.
const COUNT_EXISTS: &str = "
    INSERT INTO dag_run (dag_id, run_id, run_type, run_after) VALUES ('weather', 'r1', 'manual', now());
    INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots)
    VALUES (gen_random_uuid(), 'weather', 'r1', 'count', -1, 'success', 0, 0, 'default_pool', 1)";

/// What a user of an attached database needs, as docs/attached.md says.
const GRANTS: &str = "
    GRANT USAGE ON SCHEMA excom TO excom_user;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA excom TO excom_user;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA excom TO excom_user;
    GRANT SELECT ON alembic_version, dag_run, serialized_dag, task_instance, task_instance_history TO excom_user;
    GRANT UPDATE ON task_instance TO excom_user;
    GRANT SELECT, INSERT, UPDATE, DELETE ON xcom, task_map, variable TO excom_user;
    GRANT USAGE ON SEQUENCE variable_id_seq TO excom_user";

/// What one without a schema of Excom's needs, as the same page says.
const BARE_GRANTS: &str = "
    GRANT SELECT ON alembic_version, dag_run, task_instance, task_instance_history TO excom_user;
    GRANT UPDATE ON task_instance TO excom_user;
    GRANT SELECT, INSERT, UPDATE, DELETE ON xcom, task_map, variable TO excom_user;
    GRANT USAGE ON SEQUENCE variable_id_seq TO excom_user";

/// A server with Airflow's newest schema in the database `airflow`.
fn airflow() -> Result<Postgres, String> {
    Postgres::available()?;
    let python = Python::with_airflow()?;
    let server = Postgres::start().map_err(|error| error.to_string())?;
    server.sql("postgres", "CREATE DATABASE airflow").map_err(|error| error.to_string())?;
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    python.on_postgres(&server.url("airflow"))?.airflow(home.path(), &["db", "migrate"])?;
    Ok(server)
}

#[test]
fn the_command_works_in_airflows_own_database() {
    let server = match airflow() {
        Ok(server) => server,
        Err(why) => return skipped("attached::the_command_works_in_airflows_own_database", &why),
    };
    let sql = |sql: &str| server.sql("airflow", sql).unwrap();
    let url = server.url("airflow");
    sql("CREATE ROLE excom_user LOGIN PASSWORD 'weak'");
    let theirs = format!("postgresql://excom_user:weak{}", &url[url.rfind('@').unwrap()..]);
    let shell = |url: &str, mode: &str| {
        Shell::new()
            .with("EXCOM__DATABASE__URL", url)
            .with("EXCOM__DATABASE__MODE", mode)
            .with("EXCOM__SEAL__KEYS", "env:SEAL")
            .with("SEAL", &"ab".repeat(32))
    };
    let (admin, user, own) = (shell(&url, "attached"), shell(&theirs, "attached"), shell(&url, "own"));
    sql("CREATE DATABASE own TEMPLATE airflow");
    sql("CREATE DATABASE bare TEMPLATE airflow");

    // Not attached yet: everything says so, and nothing is made.
    let told = admin.run(&["db", "status"]);
    assert!(
        told.code == 0 && told.out.contains("its schema of 3.3.0; Excom's beside it: no schema"),
        "{told:?}"
    );
    admin.run(&["db", "check"]).contains(1, &["  run `excom db attach`\n"]);
    admin.run(&["db", "migrate"]).contains(1, &["is Airflow's", "  run `excom db attach`\n"]);
    for told in [admin.count("push", &["1"]), admin.count("pull", &[]), admin.run(&["xcom", "list"])] {
        told.contains(1, &["Excom is not attached to it yet", "  run `excom db attach` once"]);
    }
    sql("GRANT SELECT ON alembic_version TO excom_user");
    let told = user.run(&["db", "attach"]);
    told.contains(
        1,
        &["does not let the user do that", "the script that `excom db attach --dry-run` prints"],
    );
    let script = user.run(&["db", "attach", "--dry-run"]);
    assert!(script.code == 0 && script.out.contains("CREATE SCHEMA IF NOT EXISTS excom;"), "{script:?}");
    own.run(&["db", "attach"]).contains(1, &["[database] mode = own", "EXCOM__DATABASE__MODE"]);
    assert_eq!(sql("SELECT to_regnamespace('excom') IS NULL"), "t");

    // Somebody who may runs the script; another database is attached by the command.
    sql(&script.out);
    sql(GRANTS);
    assert_eq!(user.run(&["db", "check"]), Told::nothing());
    let told = admin.run(&["db", "attach", "--json"]).json();
    assert!(
        told["airflow"] == "3.3.0" && told["schema"] == told["newest"] && told["migrated"] == false,
        "{told}"
    );

    variables_are_airflows(&|| shell(&theirs, "attached"), &|column| {
        sql(&format!("SELECT {column} FROM variable"))
    });

    // XComs are Airflow's rows.
    let told = user.count("push", &["365"]);
    told.contains(1, &["Airflow has no task instance", "nothing was written"]);
    sql(COUNT_EXISTS);
    assert_eq!(user.count("push", &["365"]), Told::nothing());
    assert_eq!(user.count("pull", &[]), Told::out("365\n"));
    assert_eq!(sql("SELECT value, dag_result FROM xcom WHERE task_id = 'count'"), "365|f");
    let large = format!("\"{}\"", "x".repeat(100_000));
    assert_eq!(user.count_with("push", &["-"], large.as_bytes()), Told::nothing());
    assert!(user.count("pull", &[]).out.trim_end() == large);
    assert!(sql("SELECT value FROM xcom").contains("reference-1"));
    sql("UPDATE xcom SET value = '\"past\"', timestamp = now()");
    let listed = admin.run(&["xcom", "list"]);
    assert!(listed.code == 0 && listed.out.contains("past"), "{listed:?}");
    assert!(admin.run(&["run", "list"]).out.contains("r1"));
    let told = admin.run(&["doctor"]);
    assert!(
        told.out.contains("attached to Airflow 3.3.0, schema 6") && told.out.contains("not made"),
        "{told:?}"
    );
    assert_eq!(told.code, 0, "{told:?}");

    let told = user.run(&["doctor", "--database"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    for part in [
        "xcoms       1 XCom, ",
        "all of the table looked at",
        "dag         weather   1 XCom, ",
        "orphans     none   ok",
        "key         weather/count/return_value   1 XCom, ",
        "0 values, 0 bytes as stored over [xcom] inline_limit = 64KiB",
        "values are JSON already",
    ] {
        assert!(told.out.contains(part), "no {part} in {}", told.out);
    }
    let report = user.run(&["doctor", "--database", "--json"]).json();
    assert_eq!(report["ok"], true, "{report}");
    let told = Shell::new().run(&["doctor", "--database"]);
    assert!(told.code == 1 && told.out.contains("no table `excom_entry`"), "{told:?}");
    let told = own.run(&["doctor", "--database"]);
    assert!(told.code == 1 && told.out.contains("no table `excom.entry`"), "{told:?}");

    let write = |json: &str, days: u32| {
        sql(&format!("UPDATE xcom SET value = '{json}', timestamp = now() - interval '{days} days'"));
    };
    what_airflow_wrote_moves_and_expires(&user, &write, &|| sql("SELECT value FROM xcom"));

    // Neither mode takes the other's schema for its own.
    for told in [own.run(&["db", "status"]), own.count("push", &["1"]), own.count("pull", &[])] {
        told.contains(1, &["is that of an Excom attached to Airflow; it was not touched"]);
    }
    let url = server.url("own");
    let (own, attached) = (shell(&url, "own"), shell(&url, "attached"));
    assert_eq!(own.count("push", &["1"]), Told::nothing());
    assert_eq!(own.count("pull", &[]), Told::out("1\n"));
    let told = own.run(&["prune", "--keep-last", "1", "--airflow"]);
    told.contains(1, &["no XComs that something else wrote", "docs/attached.md"]);
    own.run(&["tier"]).contains(1, &["no XComs that something else wrote", "docs/attached.md"]);
    for told in
        [attached.run(&["db", "attach"]), attached.count("pull", &[]), attached.run(&["db", "status"])]
    {
        told.contains(1, &["is that of a database of Excom's own; it was not touched"]);
    }
    assert_eq!(server.sql("own", "SELECT count(*) FROM xcom").unwrap(), "0");
    without_a_schema(&server);
}

/// What Airflow wrote moves out and expires when that is asked for. There is one XCom, which Airflow writes anew, so many
/// days ago, and reads.
fn what_airflow_wrote_moves_and_expires(user: &Shell, write: &dyn Fn(&str, u32), read: &dyn Fn() -> String) {
    let words: Vec<String> =
        (0..5_000_u64).map(|i| format!("\"{:016x}\"", i.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    write(&format!("[{}]", words.join(", ")), 0);
    let was = user.count("pull", &[]).out;
    let tier = |arguments: &[&str]| user.run(&[&["tier"], arguments].concat());
    let dry = tier(&["--dry-run"]);
    assert!(
        dry.out.contains(": 1 value, ") && dry.out.contains("would move") && dry.err.is_empty(),
        "{dry:?}"
    );
    assert!(!read().contains("reference-1"));
    let told = tier(&["--rate", "1GiB"]);
    assert!(told.code == 0 && told.out.ends_with(", moved\n"), "{told:?}");
    assert!(told.err.contains("tasks without Excom") && told.err.contains("reference-1"), "{told:?}");
    assert!(read().contains("reference-1"));
    assert_eq!(user.count("pull", &[]).out, was);
    let told = tier(&["--dry-run", "--json"]).json();
    assert!(told["airflow"] == true && told["found"] == 0 && told["moved_bytes"] == 0, "{told}");

    write("1", 9);
    let prune = |arguments: &[&str]| user.run(&[&["prune"], arguments].concat());
    assert_eq!(prune(&["--airflow"]).code, 2);
    prune(&["--older-than", "5d"]);
    let dry = prune(&["--older-than", "5d", "--airflow", "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("1 XCom would expire, "), "{dry:?}");
    assert_eq!(read(), "1");
    let told = prune(&["--older-than", "5d", "--airflow", "--rate", "100"]);
    assert!(told.code == 0 && told.out.contains("removed 1 expired XCom; "), "{told:?}");
    assert_eq!(read(), "");
    assert_eq!(user.count("pull", &[]).code, 4);
}

/// In a database where nobody may make anything.
fn without_a_schema(server: &Postgres) {
    let sql = |sql: &str| server.sql("bare", sql).unwrap();
    sql(COUNT_EXISTS);
    sql(BARE_GRANTS);
    let url = server.url("bare");
    let url = format!("postgresql://excom_user:weak{}", &url[url.rfind('@').unwrap()..]);
    let shell = || Shell::new().with("EXCOM__DATABASE__URL", &url).with("EXCOM__DATABASE__MODE", "attached");
    works_without_a_schema(shell());
    variables_are_airflows(&|| shell().with("EXCOM__DATABASE__EXTRAS", "none"), &|column| {
        sql(&format!("SELECT {column} FROM variable"))
    });
    assert_eq!(sql("SELECT to_regnamespace('excom') IS NULL"), "t");
}

/// With Airflow's tables alone, which have the task instance.
fn works_without_a_schema(shell: Shell) {
    shell.count("pull", &[]).contains(1, &["not attached to it yet", "[database] extras = \"none\""]);
    let shell = shell.with("EXCOM__DATABASE__EXTRAS", "none");
    assert_eq!(shell.run(&["db", "check"]), Told::nothing());
    let told = shell.run(&["db", "status"]);
    assert!(told.out.contains("nothing of Excom's beside it: no history"), "{told:?}");
    shell.run(&["db", "attach"]).contains(1, &["extras = none (from EXCOM__DATABASE__EXTRAS)"]);
    assert_eq!(shell.count("push", &["[1,2]"]), Told::nothing());
    assert_eq!(shell.count("pull", &[]), Told::out("[1,2]\n"));
    let large = format!("\"{}\"", "x".repeat(100_000));
    let told = shell.count_with("push", &["-"], large.as_bytes());
    told.contains(1, &["offloading weather/r1/count", "needs what Excom has beside Airflow's"]);
    let told = shell.run(&["doctor"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    assert!(told.out.contains("extras      none   from EXCOM__DATABASE__EXTRAS   no history"), "{told:?}");
    assert!(shell.run(&["xcom", "list"]).out.contains("return_value"));
    assert!(shell.run(&["run", "show", "--dag-id", "weather", "--run-id", "r1"]).out.contains("count"));
    assert_eq!(shell.run(&["prune"]).code, 0);
    shell.run(&["tier"]).contains(1, &["docs/attached.md"]);
}

/// Variables are Airflow's rows, by a shell with what Airflow encrypts with. Of the only one is read its text, and whether it is
/// encrypted.
fn variables_are_airflows(shell: &dyn Fn() -> Shell, read: &dyn Fn(&str) -> String) {
    let with = |key: &str| shell().with("AIRFLOW__CORE__FERNET_KEY", key);
    let read = || ["val", "CASE WHEN is_encrypted THEN '1' ELSE '0' END"].map(read);
    let shell = with(FERNET_KEY);
    let variable = |arguments: &[&str]| shell.run(&[&["variable"], arguments].concat());
    assert_eq!(variable(&["set", "station", "attic"]), Told::nothing());
    assert_eq!(variable(&["get", "station"]), Told::out("attic\n"));
    let [text, is_encrypted] = read();
    assert!(is_encrypted == "1" && !text.contains("attic"), "{text} {is_encrypted}");
    let other = with(OTHER_FERNET_KEY);
    let told = other.run(&["variable", "get", "station"]);
    told.contains(1, &["the variable `station` is encrypted", "[core] fernet_key"]);
    assert!(other.run(&["variable", "list"]).out.contains("(no key opens it)"));
    let malformed = with("hunter2").run(&["variable", "get", "station"]);
    malformed.contains(1, &["[core] fernet_key is malformed"]);
    assert!(!malformed.err.contains("hunter2"), "{malformed:?}");
    let keyless = with("");
    let told = keyless.run(&["variable", "set", "station", "roof"]);
    told.contains(1, &["the variable `station` is encrypted", "nothing was written", "[core] fernet_key"]);
    assert_eq!(variable(&["get", "station"]), Told::out("attic\n"));
    assert_eq!(keyless.run(&["variable", "delete", "station"]), Told::nothing());
    assert_eq!(keyless.run(&["variable", "set", "station", "roof"]), Told::nothing());
    assert_eq!(read(), ["roof".to_owned(), "0".to_owned()]);
    assert_eq!(variable(&["get", "station"]), Told::out("roof\n"));
    assert!(variable(&["list"]).out.contains("roof"));
    assert_eq!(variable(&["delete", "station"]), Told::nothing());
    assert_eq!(variable(&["get", "station"]).code, 3);
}

/// Keys of Airflow's.
const FERNET_KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const OTHER_FERNET_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The same on SQLite.
const COUNT_EXISTS_IN_FILE: &str = "
    INSERT INTO dag_run (dag_id, run_id, run_type, run_after)
    VALUES ('weather', 'r1', 'manual', '2026-11-21 10:00:00.000000');
    INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots)
    VALUES (lower(hex(randomblob(16))), 'weather', 'r1', 'count', -1, 'success', 0, 0, 'default_pool', 1)";

/// How many tables of ours there are.
const OURS_IN_FILE: &str = "SELECT CAST(count(*) AS TEXT) FROM sqlite_schema WHERE name LIKE 'excom%'";

#[test]
fn the_command_works_in_airflows_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("airflow.db");
    let made = Python::with_airflow()
        .and_then(|python| python.on_sqlite(&file).airflow(folder.path(), &["db", "migrate"]));
    if let Err(why) = made {
        return skipped("attached::the_command_works_in_airflows_own_file", &why);
    }
    let url = format!("sqlite:///{}", file.display());
    let shell = Shell::new().with("EXCOM__DATABASE__URL", &url).with("EXCOM__DATABASE__MODE", "attached");
    let airflows = rusqlite::Connection::open(&file).unwrap();
    let found = |sql: &str| airflows.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();

    // Not attached yet: everything says so, and nothing is made.
    let told = shell.run(&["db", "status"]);
    assert!(
        told.code == 0 && told.out.contains("its schema of 3.3.0; Excom's beside it: no schema"),
        "{told:?}"
    );
    shell.run(&["db", "check"]).contains(1, &["  run `excom db attach`\n"]);
    for told in [shell.count("push", &["1"]), shell.count("pull", &[])] {
        told.contains(1, &["Excom is not attached to it yet", "  run `excom db attach` once"]);
    }
    let told = shell.run(&["db", "attach", "--dry-run"]);
    assert!(told.code == 0 && told.out.contains("CREATE TABLE excom_entry ("), "{told:?}");
    assert_eq!(found(OURS_IN_FILE), "0");
    let alone = folder.path().join("alone.db");
    std::fs::copy(&file, &alone).unwrap();
    let airflows_alone = rusqlite::Connection::open(&alone).unwrap();
    airflows_alone.execute_batch(COUNT_EXISTS_IN_FILE).unwrap();
    let url = format!("sqlite:///{}", alone.display());
    works_without_a_schema(
        Shell::new().with("EXCOM__DATABASE__URL", &url).with("EXCOM__DATABASE__MODE", "attached"),
    );
    let ours = airflows_alone.query_row(OURS_IN_FILE, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(ours, "0");

    assert!(shell.run(&["db", "attach"]).out.contains("migrated from schema 0 to 2"));
    assert_eq!(shell.run(&["db", "check"]), Told::nothing());
    let url = format!("sqlite:///{}", file.display());
    let home = shell.home();
    let another = || {
        Shell::new()
            .with("EXCOM_HOME", home.to_str().unwrap())
            .with("EXCOM__DATABASE__URL", &url)
            .with("EXCOM__DATABASE__MODE", "attached")
    };
    variables_are_airflows(&another, &|column| found(&format!("SELECT {column} FROM variable")));
    let told = shell.count("push", &["365"]);
    told.contains(1, &["Airflow has no task instance", "nothing was written"]);
    airflows.execute_batch(COUNT_EXISTS_IN_FILE).unwrap();
    assert_eq!(shell.count("push", &["1.50"]), Told::nothing());
    assert_eq!(shell.count("pull", &[]), Told::out("1.50\n"));
    assert_eq!(found("SELECT typeof(value) FROM xcom WHERE task_id = 'count'"), "real");
    let large = format!("\"{}\"", "x".repeat(100_000));
    assert_eq!(shell.count_with("push", &["-"], large.as_bytes()), Told::nothing());
    assert!(shell.count("pull", &[]).out.trim_end() == large);
    assert!(found("SELECT value FROM xcom").contains("reference-1"));
    airflows
        .execute_batch("UPDATE xcom SET value = '\"past\"', timestamp = '2026-11-21 10:00:00.000000'")
        .unwrap();
    let listed = shell.run(&["xcom", "list"]);
    assert!(listed.code == 0 && listed.out.contains("past"), "{listed:?}");
    assert!(shell.run(&["run", "show", "--dag-id", "weather", "--run-id", "r1"]).out.contains("count"));
    let told = shell.run(&["doctor"]);
    assert!(
        told.code == 0 && told.out.contains("attached to Airflow 3.3.0, schema 2, durability normal"),
        "{told:?}"
    );
    let told = shell.run(&["doctor", "--database"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    for part in ["dag         weather   1 XCom, 6 bytes", "orphans     none   ok", "values are JSON already"]
    {
        assert!(told.out.contains(part), "no {part} in {}", told.out);
    }
    let write = |json: &str, days: u32| {
        let sql = "UPDATE xcom SET value = ?1, timestamp = strftime('%Y-%m-%d %H:%M:%f000', 'now', ?2)";
        airflows.execute(sql, (json, format!("-{days} days"))).unwrap();
    };
    let read = || found("SELECT ifnull(max(CAST(value AS TEXT)), '') FROM xcom");
    what_airflow_wrote_moves_and_expires(&shell, &write, &read);
    assert_eq!(found("PRAGMA journal_mode"), "wal");
    assert_eq!(found("SELECT CAST(count(*) AS TEXT) FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'"), "0");
}

/// What a user of an attached database on MySQL needs, as docs/attached.md says.
const MYSQL_GRANTS: &str = "
    GRANT SELECT, INSERT, UPDATE, DELETE ON excom.* TO excom_user;
    GRANT SELECT ON airflow.alembic_version TO excom_user;
    GRANT SELECT ON airflow.dag_run TO excom_user;
    GRANT SELECT ON airflow.serialized_dag TO excom_user;
    GRANT SELECT ON airflow.task_instance_history TO excom_user;
    GRANT SELECT, UPDATE ON airflow.task_instance TO excom_user;
    GRANT SELECT, INSERT, UPDATE, DELETE ON airflow.xcom TO excom_user;
    GRANT SELECT, INSERT, UPDATE, DELETE ON airflow.task_map TO excom_user;
    GRANT SELECT, INSERT, UPDATE, DELETE ON airflow.variable TO excom_user";

/// The same on MySQL.
const COUNT_EXISTS_ON_MYSQL: &str = "
    INSERT INTO dag_run (dag_id, run_id, run_type, run_after) VALUES ('weather', 'r1', 'manual', UTC_TIMESTAMP(6));
    INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots)
    VALUES (UUID(), 'weather', 'r1', 'count', -1, 'success', 0, 0, 'default_pool', 1)";

/// A server with Airflow's newest schema in the database `airflow`.
fn airflow_on_mysql() -> Result<Mysql, String> {
    Mysql::available()?;
    let python = Python::with_airflow()?;
    let server = Mysql::start().map_err(|error| error.to_string())?;
    server
        .sql("excom", "CREATE DATABASE airflow CHARACTER SET utf8mb4")
        .map_err(|error| error.to_string())?;
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    python.on_mysql(&server.url("airflow"))?.airflow(home.path(), &["db", "migrate"])?;
    Ok(server)
}

#[test]
fn the_command_works_in_airflows_own_mysql() {
    let server = match airflow_on_mysql() {
        Ok(server) => server,
        Err(why) => return skipped("attached::the_command_works_in_airflows_own_mysql", &why),
    };
    let sql = |sql: &str| server.sql("airflow", sql).unwrap();
    let url = server.url("airflow");
    let shell = |url: &str| {
        Shell::new()
            .with("EXCOM__DATABASE__URL", url)
            .with("EXCOM__DATABASE__MODE", "attached")
            .with("EXCOM__SEAL__KEYS", "env:SEAL")
            .with("SEAL", &"ab".repeat(32))
    };
    sql(COUNT_EXISTS_ON_MYSQL);
    works_without_a_schema(shell(&url));
    sql("DELETE FROM xcom; DELETE FROM task_map");
    assert!(shell(&url).run(&["db", "attach"]).out.contains("migrated from schema 0 to 2"));
    sql("CREATE USER excom_user@'%' IDENTIFIED BY 'weak'");
    sql(MYSQL_GRANTS);
    let theirs = format!("mysql://excom_user:weak{}", &url[url.rfind('@').unwrap()..]);
    let user = shell(&theirs);
    assert_eq!(user.run(&["db", "check"]), Told::nothing());
    variables_are_airflows(&|| shell(&theirs), &|column| sql(&format!("SELECT {column} FROM variable")));
    assert_eq!(user.count("push", &["1.50"]), Told::nothing());
    assert_eq!(user.count("pull", &[]), Told::out("1.50\n"));
    for (value, length) in [("[1,2]", "2"), ("7", "")] {
        assert_eq!(user.count("push", &[value]), Told::nothing());
        assert_eq!(sql("SELECT length FROM task_map"), length, "what Airflow's scheduler reads");
    }
    let write = |json: &str, days: u32| {
        sql(&format!("UPDATE xcom SET value = '{json}', timestamp = UTC_TIMESTAMP(6) - INTERVAL {days} DAY"));
    };
    what_airflow_wrote_moves_and_expires(&user, &write, &|| sql("SELECT value FROM xcom"));
    let told = user.run(&["doctor"]);
    assert!(told.code == 0 && told.out.contains("attached to Airflow 3.3.0, schema 2"), "{told:?}");

    assert_eq!(user.count("push", &["365"]), Told::nothing());
    let told = user.run(&["doctor", "--database"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    for part in [
        "xcoms       1 XCom, 3 bytes as stored   all of the table looked at",
        "dag         weather   1 XCom, ",
        "key         weather/count/return_value   1 XCom, ",
        "orphans     none   ok",
        "values are JSON already",
    ] {
        assert!(told.out.contains(part), "no {part} in {}", told.out);
    }
    sql("DELETE FROM xcom");
    let told = user.run(&["doctor", "--database"]);
    assert!(told.out.contains("orphans     1 XCom"), "{told:?}");
    let own = shell(&url).with("EXCOM__DATABASE__MODE", "own").run(&["doctor", "--database"]);
    assert!(own.code == 1 && own.out.contains("no table `excom_entry`"), "{own:?}");
}
