//! The SQL operator in a real PostgreSQL, which the test starts.

use excom::prelude::*;
use excom_flow::DagDefinition;
use excom_testkit::postgres::Postgres;
use excom_testkit::skip::skipped;

use crate::sql::{failure, failure_with, interrupted, rows, statement};
use crate::support::{engine, pushed, run};

#[test]
fn statements_in_postgresql() {
    if let Err(why) = Postgres::available() {
        return skipped("postgres::statements_in_postgresql", &why);
    }
    let server = Postgres::start().unwrap();
    let url = server.url("postgres");
    types(&url);
    parameters(&url);
    transactions(&url);
    errors(&server);
    interrupted(&url, "SELECT pg_sleep(600)");
    let sleeping = "SELECT count(*) AS n FROM pg_stat_activity \
        WHERE state = 'active' AND query = 'SELECT pg_sleep(600)'";
    assert_eq!(rows(&url, sleeping), r#"[{"n":0}]"#);
    let many = "SELECT i FROM generate_series(1, 10001) AS n(i)";
    assert!(failure(&url, many).contains("more than 10000 rows"));
}

fn types(url: &str) {
    let query = "SELECT true AS b, 1::smallint AS i2, 2 AS i4, 9007199254740993 AS i8, 0.1::real AS f4, \
        0.5::float8 AS f8, 'NaN'::float8 AS nan, 12.30 AS num, 123456789012345678.5 AS big, 'é' AS t, \
        'c'::char(3) AS c, NULL AS n, '{\"a\": 12345678901234567890123}'::json AS j, '[1]'::jsonb AS jb";
    let expected = r#"[{"b":true,"i2":1,"i4":2,"i8":9007199254740993,"f4":0.1,"f8":0.5,"nan":"NaN","num":12.30,"big":"123456789012345678.5","t":"é","c":"c  ","n":null,"j":{"a": 12345678901234567890123},"jb":[1]}]"#;
    assert_eq!(rows(url, query), expected);
    let query = "SELECT date '2026-11-21' AS d, timestamp '2026-11-21 10:00:00.5' AS ts, \
        timestamptz '2026-11-21 10:00:00+02' AS tz, time '10:30' AS t, \
        '019aa2b4-5c3e-7a10-8d6f-2f6b1c0a9e11'::uuid AS u, ARRAY[1, NULL, 3] AS a, ARRAY['x'] AS s, \
        ARRAY[1.5, 2] AS nums";
    let expected = r#"[{"d":"2026-11-21","ts":"2026-11-21T10:00:00.5","tz":"2026-11-21T08:00:00Z","t":"10:30:00","u":"019aa2b4-5c3e-7a10-8d6f-2f6b1c0a9e11","a":[1,null,3],"s":["x"],"nums":[1.5,2]}]"#;
    assert_eq!(rows(url, query), expected);
    let kinds = "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN age AS int; \
        SELECT 'glad'::mood AS m, 7::age AS a, ARRAY['sad'::mood] AS ms";
    assert_eq!(rows(url, kinds), r#"[{"m":"glad","a":7,"ms":["sad"]}]"#);
    // The text of numbers is the server's own.
    for number in ["0", "-0.0005", "0.00000005", "700000000", "100000.0001", "1e-10", "123456789.123456"] {
        let told = rows(url, &format!("SELECT numeric '{number}' AS n, (numeric '{number}')::text AS t"));
        let (n, t) = told.trim_matches(['[', ']', '{', '}']).split_once(',').unwrap();
        assert_eq!(
            n.trim_start_matches("\"n\":"),
            t.trim_start_matches("\"t\":").trim_matches('"'),
            "{number}"
        );
    }
}

fn parameters(url: &str) {
    #[task]
    fn name() -> String {
        "'; DROP TABLE people; --".into()
    }
    let url = url.to_owned();
    let definition = DagDefinition::new("d", move |dag| {
        let script = "CREATE TABLE people (name text, born date, weight numeric, tags text[], facts jsonb, n int); \
            INSERT INTO people VALUES (:name, :born, :weight, :tags, :facts, :n) RETURNING *, :name || '!' AS again";
        dag.sql("t", url.as_str(), script)
            .parameter("name", name(dag))
            .parameter("born", "2026-{{ 11 }}-21")
            .parameter("weight", Field::value(&70.25))
            .parameter("tags", Field::value(&["a\"b", "c,d"]))
            .parameter("facts", Field::value(&std::collections::BTreeMap::from([("k", "v")])))
            .parameter("n", Field::value(&()));
        let any = "SELECT i FROM generate_series(1, 5) AS s(i) WHERE i = ANY(:ids::int[]) AND :yes::bool";
        dag.sql("any", url.as_str(), any)
            .parameter("ids", Field::value(&[2, 4, 9]))
            .parameter("yes", Field::value(&true));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    let told = pushed(&engine, "d", "t", "return_value").unwrap();
    let expected = r#"[{"name":"'; DROP TABLE people; --","born":"2026-11-21","weight":70.25,"tags":["a\"b","c,d"],"facts":{"k": "v"},"n":null,"again":"'; DROP TABLE people; --!"}]"#;
    assert_eq!(told, expected);
    assert_eq!(pushed(&engine, "d", "any", "return_value").unwrap(), r#"[{"i":2},{"i":4}]"#);
}

fn transactions(url: &str) {
    let (report, value) =
        statement(url, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2);", |task| task);
    assert!(report.succeeded() && value.is_none(), "{report:?}");
    let told = failure(url, "INSERT INTO t VALUES (3); SELECT nope FROM t");
    assert!(told.starts_with("statement 2: column \"nope\" does not exist"), "{told}");
    let told = failure_with(url, "INSERT INTO t VALUES (3), (4) RETURNING a", |task| task.row_limit(1));
    assert!(told.contains("more than 1 rows"), "{told}");
    let script = "DO $$ BEGIN INSERT INTO t VALUES (5); DELETE FROM t WHERE a = 5; END $$; SELECT count(*) AS n FROM t; \
        UPDATE t SET a = a";
    assert_eq!(rows(url, script), r#"[{"n":2}]"#);
    assert!(failure(url, "VACUUM t").contains("cannot run inside a transaction block"));
    let (report, _) = statement(url, "VACUUM t", |task| task.autocommit());
    assert!(report.succeeded(), "{report:?}");
}

fn errors(server: &Postgres) {
    let url = server.url("postgres");
    assert!(failure(&url, "SELECT :a").contains("`:a` that is not given"));
    let bytes = failure(&url, r"SELECT '\x00'::bytea AS b");
    assert!(bytes.contains("column \"b\" of row 1: bytes cannot be") && bytes.contains("encode("), "{bytes}");
    let unknown = failure(&url, "SELECT interval '1 day' AS i");
    assert!(unknown.contains("type interval are not known") && unknown.contains("::text"), "{unknown}");
    let number = failure_with(&url, "SELECT :n::int", |task| task.parameter("n", "x"));
    assert!(number.contains("invalid input syntax for type integer: \"x\""), "{number}");

    let away = url.replace(&server.port().to_string(), "1");
    let told = failure(&away, "SELECT 1");
    assert!(told.starts_with("the database cannot be connected to: "), "{told}");
    let wrong = failure(&url.replace("se%20cret", "wrong"), "SELECT 1");
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    let tls = failure(&url.replace("sslmode=disable", "sslmode=require"), "SELECT 1");
    assert!(tls.contains("does not support TLS"), "{tls}");
    let unreadable = failure(&url.replace("postgres?", "postgres?no=1&"), "SELECT 1");
    assert!(unreadable.contains("URL of the database cannot be read"), "{unreadable}");
    for told in [told, wrong, tls, unreadable] {
        assert!(!told.contains(server.password()) && !told.contains("se%20cret"), "{told}");
    }
}
