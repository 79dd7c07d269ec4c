//! The SQL operator in SQLite: types, parameters, transactions, bounds.

use std::path::Path;
use std::time::{Duration, Instant};

use excom::prelude::*;
use excom_core::{TaskState, Value};
use excom_flow::runner::RunState;
use excom_flow::{Cancellation, DagDefinition, Handle, RunOptions, RunReport, Runner, Sql};

use crate::support::{engine, on_runtime, pushed, run, run_with};

/// Runs a statement as task `t`, in a database, and gives what it pushed.
pub(crate) fn statement(
    url: &str,
    statement: &str,
    change: impl Fn(Handle<'_, Sql>) -> Handle<'_, Sql> + Send + Sync + 'static,
) -> (RunReport, Option<String>) {
    let (url, statement) = (url.to_owned(), statement.to_owned());
    let definition = DagDefinition::new("d", move |dag| {
        change(dag.sql("t", url.as_str(), statement.as_str()));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    (report, pushed(&engine, "d", "t", "return_value"))
}

/// What a statement pushes.
pub(crate) fn rows(url: &str, text: &str) -> String {
    let (report, value) = statement(url, text, |task| task);
    assert!(report.succeeded(), "{text}: {report:?}");
    value.unwrap()
}

/// How a statement fails: the message and the hints.
pub(crate) fn failure(url: &str, text: &str) -> String {
    failure_with(url, text, |task| task)
}

pub(crate) fn failure_with(
    url: &str,
    text: &str,
    change: impl Fn(Handle<'_, Sql>) -> Handle<'_, Sql> + Send + Sync + 'static,
) -> String {
    let (report, value) = statement(url, text, change);
    assert_eq!((report.tasks[0].state, value), (TaskState::Failed, None), "{text}");
    let failure = report.tasks[0].failure.clone().unwrap();
    format!("{}\n{}", failure.message, failure.hints.join("\n"))
}

fn url(folder: &Path) -> String {
    format!("sqlite:{}?mode=rwc", folder.join("some.db").display())
}

#[test]
fn rows_are_dicts_and_values_keep_their_types() {
    let told = rows(
        "sqlite::memory:",
        "SELECT 1 AS i, 2.0 AS f, 'é\"' AS t, NULL AS n, 1e999 AS inf, -5 AS \"a b\"",
    );
    assert_eq!(told, r#"[{"i":1,"f":2.0,"t":"é\"","n":null,"inf":"inf","a b":-5}]"#);
    assert_eq!(rows("sqlite::memory:", "SELECT 1 AS a WHERE 0"), "[]");
    let folder = tempfile::tempdir().unwrap();
    let absolute = format!("sqlite://{}", folder.path().join("abs.db").display());
    let made = format!("{absolute}?mode=rwc");
    assert_eq!(rows(&made, "CREATE TABLE a (b); SELECT 1 AS c"), r#"[{"c":1}]"#);
    assert_eq!(rows(&absolute, "SELECT count(*) AS n FROM a"), r#"[{"n":0}]"#);
}

#[test]
fn parameters_are_bound_and_never_pasted() {
    #[task]
    fn name() -> String {
        "'; DROP TABLE people; --{{ ds }}".into()
    }
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path());
    rows(&url, "CREATE TABLE people (name TEXT, born, alive, tags); SELECT 1 AS done");
    let definition = DagDefinition::new("d", move |dag| {
        let insert = "INSERT INTO people VALUES (:name, :born, :alive, :tags) RETURNING *";
        dag.sql("t", url.as_str(), insert)
            .parameter("name", name(dag))
            .parameter("born", Field::value(&-0.5))
            .parameter("alive", Field::value(&true))
            .parameter("tags", Field::value(&["a", "b"]));
        dag.sql("null", url.as_str(), "SELECT :a IS NULL AS n, typeof(@b) AS b, :a AS again, $big AS big")
            .parameter("a", Field::value(&()))
            .parameter("b", "{{ 1 + 1 }}")
            .parameter("big", Field::value(&i64::MAX));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    let told = pushed(&engine, "d", "t", "return_value").unwrap();
    let expected =
        r#"[{"name":"'; DROP TABLE people; --{{ ds }}","born":-0.5,"alive":1,"tags":"[\"a\",\"b\"]"}]"#;
    assert_eq!(told, expected);
    let told = pushed(&engine, "d", "null", "return_value").unwrap();
    assert_eq!(told, r#"[{"n":1,"b":"text","again":null,"big":9223372036854775807}]"#);
}

#[test]
fn what_parameters_cannot_be() {
    let told = failure_with("sqlite::memory:", "SELECT :day", |task| task.parameter("dya", "x"));
    assert!(told.contains("statement 1: the statement has a parameter `:day` that is not given"), "{told}");
    assert!(told.contains("given are `dya`"), "{told}");
    assert!(failure("sqlite::memory:", "SELECT ?").contains("write `:day` instead of `?`"));
    let told =
        failure_with("sqlite::memory:", "SELECT :n", |task| task.parameter("n", Field::value(&u64::MAX)));
    assert!(told.contains("18446744073709551615 is too large"), "{told}");
}

#[test]
fn statements_run_in_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path());
    let (report, value) =
        statement(&url, "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);\n-- done\n", |task| task);
    assert!(report.succeeded() && value.is_none(), "{report:?} {value:?}");
    let told = failure(&url, "INSERT INTO t VALUES (3); SELECT nope FROM t");
    assert!(told.starts_with("statement 2: no such column: nope"), "{told}");
    assert_eq!(rows(&url, "SELECT count(*) AS n FROM t; DELETE FROM t WHERE a = 9"), r#"[{"n":2}]"#);
    let autocommit = |text| statement(&url, text, |task| task.autocommit()).0.state;
    assert_eq!(autocommit("INSERT INTO t VALUES (3); SELECT nope FROM t"), RunState::Failed);
    assert_eq!(autocommit("VACUUM"), RunState::Success);
    assert_eq!(rows(&url, "SELECT count(*) AS n FROM t"), r#"[{"n":3}]"#);
    // A trigger has semicolons inside.
    let trigger = "CREATE TRIGGER u AFTER INSERT ON t BEGIN DELETE FROM t WHERE a = 1; END; \
                   INSERT INTO t VALUES (4); SELECT a FROM t ORDER BY a";
    assert_eq!(rows(&url, trigger), r#"[{"a":2},{"a":3},{"a":4}]"#);
}

#[test]
fn the_log_tells_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let definition = DagDefinition::new("d", |dag| {
        dag.sql(
            "t",
            "sqlite::memory:",
            "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); DELETE FROM t WHERE a = 1",
        );
    });
    let report = run_with(&Runner::new(engine()).logs(folder.path()), &definition, RunOptions::new());
    let log = std::fs::read_to_string(report.tasks[0].log.as_ref().unwrap()).unwrap();
    assert!(
        log.contains("statement 2 changed 2 rows\n") && log.contains("statement 3 changed 1 row\n"),
        "{log}"
    );
}

#[test]
fn what_is_no_list_of_dicts_is_refused() {
    let told = failure("sqlite::memory:", "SELECT 1 AS a, x'00' AS b");
    assert!(
        told.contains("column \"b\" of row 1: bytes cannot be written as JSON") && told.contains("hex("),
        "{told}"
    );
    assert!(failure("sqlite::memory:", "SELECT 1 AS a, 2 AS a").contains("two columns are named \"a\""));
    let series =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10001) SELECT i FROM n";
    assert!(failure("sqlite::memory:", series).contains("more than 10000 rows"));
    let few = failure_with("sqlite::memory:", "SELECT 1 AS a UNION SELECT 2", |task| task.row_limit(1));
    assert!(few.contains("more than 1 rows") && few.contains("row_limit"), "{few}");
    let (report, value) =
        statement("sqlite::memory:", series, |task| task.row_limit(10_001).do_xcom_push(false));
    assert!(report.succeeded() && value.is_none());
    let large = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 70) SELECT hex(zeroblob(500000)) AS x FROM n";
    assert!(failure("sqlite::memory:", large).contains("over 64 MiB"));
}

#[test]
fn a_database_that_is_not_there() {
    assert!(
        failure("sqlite:/no/such/folder/x.db", "SELECT 1")
            .contains("`/no/such/folder/x.db` cannot be opened")
    );
    let told = failure("mysql://u:secret@h/d", "SELECT 1");
    assert!(told.contains("no database that is known") && !told.contains("secret"), "{told}");
}

#[test]
fn a_file_is_made_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weather.db");
    let url = |mode: &str| format!("sqlite:{}{mode}", file.display());
    for mode in ["", "?mode=rw", "?mode=ro"] {
        let told = failure(&url(mode), "CREATE TABLE t (a)");
        assert!(told.contains("weather.db` cannot be opened") && told.contains("?mode=rwc"), "{told}");
        assert!(!file.exists());
    }
    assert!(failure(&url("?mode=w"), "SELECT 1").contains("`w` is no mode of a SQLite database"));
    assert_eq!(rows(&url("?mode=rwc"), "CREATE TABLE t (a); SELECT 1 AS b"), r#"[{"b":1}]"#);
    assert_eq!(rows(&url(""), "INSERT INTO t VALUES (1) RETURNING a"), r#"[{"a":1}]"#);
    assert_eq!(rows(&url("?mode=ro"), "SELECT a FROM t"), r#"[{"a":1}]"#);
    assert!(failure(&url("?mode=ro"), "DELETE FROM t").contains("readonly"));
}

#[test]
fn what_reads_and_then_writes_waits_for_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path());
    rows(&url, "CREATE TABLE t (a); INSERT INTO t VALUES (0); SELECT 1 AS done");
    let shared = url.clone();
    let definition = DagDefinition::new("d", move |dag| {
        // The first statement takes its time, so that all have read before the first writes.
        let script = "SELECT count(*) FROM t, (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                      LIMIT 100000) SELECT i FROM n); UPDATE t SET a = a + 1";
        for number in 0..8 {
            dag.sql(&format!("t{number}"), shared.as_str(), script).do_xcom_push(false);
        }
    });
    let report = run(&engine(), &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(rows(&url, "SELECT a FROM t"), r#"[{"a":8}]"#);
}

#[test]
fn what_only_reads_waits_for_no_writer() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path());
    rows(&url, "CREATE TABLE t (a); SELECT 1 AS done");
    let writer = rusqlite::Connection::open(folder.path().join("some.db")).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(rows(&url, "SELECT 1 AS b; SELECT count(*) AS n FROM t"), r#"[{"n":0}]"#);
    writer.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_cancelled_run_interrupts_the_statement() {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    interrupted("sqlite::memory:", endless);
}

/// Shows that a statement that never ends does end when the run is cancelled.
pub(crate) fn interrupted(url: &str, endless: &str) {
    let (url, endless) = (url.to_owned(), endless.to_owned());
    let definition = DagDefinition::new("d", move |dag| {
        dag.sql("t", url.as_str(), endless.as_str());
    });
    let cancellation = Cancellation::new();
    let options = RunOptions::new().run_id("r").cancellation(cancellation.clone());
    let runner = Runner::new(engine());
    let began = Instant::now();
    let report = on_runtime(async {
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            cancellation.cancel();
        };
        tokio::join!(runner.run(&definition, options), cancel).0.unwrap()
    });
    assert_eq!(report.state, RunState::Cancelled);
    let message = report.tasks[0].failure.clone().unwrap().message;
    assert!(message.contains("the statement was interrupted"), "{message}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn the_rows_are_typed_for_the_next_task() {
    #[derive(Serialize, Deserialize)]
    struct Peak {
        station: String,
        celsius: f64,
    }
    #[task]
    fn hottest(peaks: Vec<Peak>) -> Option<String> {
        peaks.into_iter().max_by(|a, b| a.celsius.total_cmp(&b.celsius)).map(|peak| peak.station)
    }
    #[task]
    fn as_it_is(rows: Value) -> usize {
        rows.as_str().len()
    }
    let definition = DagDefinition::new("d", |dag| {
        let query = "SELECT 'attic' AS station, 34.5 AS celsius UNION SELECT 'cellar', 12.0";
        let peaks = dag.sql("peaks", "sqlite::memory:", query);
        hottest(dag, peaks.output_as());
        as_it_is(dag, peaks.output());
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(pushed(&engine, "d", "hottest", "return_value").unwrap(), "\"attic\"");
    assert_eq!(pushed(&engine, "d", "as_it_is", "return_value").unwrap(), "72");
}
