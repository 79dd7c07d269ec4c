//! `excom config`, and settings that cannot be.

use crate::{Shell, Told};

#[test]
fn a_setting_tells_its_value_and_origin() {
    let shell = Shell::new();
    assert_eq!(shell.run(&["config", "get", "core", "xcom_backend"]), Told::out("database\n"));
    assert_eq!(shell.run(&["config", "get-value", "core", "xcom_backend"]), Told::out("database\n"));
    assert_eq!(shell.run(&["config", "get", "xcom.retention"]), Told::out("90d\n"));
    let told = shell.run(&["config", "get", "core", "xcom_backnd"]);
    assert_eq!(
        told,
        Told::err(1, "error: there is no setting [core] xcom_backnd\n  nearest: [core] xcom_backend\n")
    );
    let told = shell.run(&["config", "get", "core", "xcom_backnd", "--json"]);
    assert_eq!((told.code, &told.json()["error"]["code"]), (1, &"configuration".into()));
    shell.run(&["config", "get", "core"]).contains(2, &["the key is missing"]);
    shell.run(&["config", "explain", "croe"]).contains(1, &["there is no setting `croe`"]);
}

#[test]
fn precedence_and_origins() {
    let shell = Shell::new().with("EXCOM__XCOM__HISTORY", "12d");
    shell.file("excom.toml", "[xcom]\nhistory = '11d'\nretention = '5d'\n\nreads = 'run'\n");
    let told = shell.run(&["config", "list", "xcom", "--set", "xcom.reads=any"]);
    let row = |key: &str| {
        let line = told.out.lines().find(|line| line.starts_with(&format!("[xcom] {key} "))).unwrap();
        line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("history"), "12d EXCOM__XCOM__HISTORY");
    assert_eq!(row("retention"), "5d excom.toml:3");
    assert_eq!(row("reads"), "any --set");
    assert_eq!(row("writes"), "any default");
    let document = shell.run(&["config", "list", "--json"]).json();
    assert_eq!(document["file"], "excom.toml");
    let settings = document["settings"].as_array().unwrap();
    assert_eq!(settings.len(), 76);
    assert_eq!(settings[0]["environment"][1], "EXCOM_HOME");

    let told = shell.run(&["config", "explain", "xcom", "history"]);
    assert!(told.out.contains("  from         EXCOM__XCOM__HISTORY\n"), "{told:?}");
    assert!(told.out.contains("  takes        a length of time, such as"), "{told:?}");

    // An Airflow setting where Excom's is not set.
    let shell = shell.with("AIRFLOW__CORE__XCOM_BACKEND", "airflow.sdk.bases.xcom.BaseXCom");
    let document = shell.run(&["config", "get", "core", "xcom_backend", "--json"]).json();
    assert_eq!(document["origin"], "AIRFLOW__CORE__XCOM_BACKEND");
}

#[test]
fn a_setting_that_cannot_be_stops_every_command_with_its_place() {
    let shell = Shell::new();
    shell.file("excom.toml", "[xcom]\n\ninline_limt = '1MiB'\n");
    let expected =
        "error: excom.toml:3: there is no setting [xcom] inline_limt\n  nearest: [xcom] inline_limit\n";
    assert_eq!(shell.count("pull", &[]), Told::err(1, expected));
    assert_eq!(shell.count("push", &["1"]), Told::err(1, expected));
    assert_eq!(shell.run(&["config", "list"]), Told::err(1, expected));
    let told = shell.run(&["doctor"]);
    assert_eq!(told.code, 1);
    assert!(told.out.contains("  excom.toml:3: there is no setting"), "{told:?}");
    let shell = Shell::new().with("AIRFLOW__CORE__XCOM_BACKEND", "mine.Backend");
    shell.count("push", &["1"]).contains(1, &["AIRFLOW__CORE__XCOM_BACKEND", "the Python class `Backend`"]);
    shell
        .run(&["config", "list", "--config", "gone.toml"])
        .contains(1, &["--config names the file `gone.toml`"]);
}

#[test]
fn the_home_is_where_it_is_told() {
    let shell = Shell::new().with("EXCOM_HOME", "from-environment");
    shell.pushed(&["1"]);
    shell.pushed(&["--home", "flagged/deep", "2"]);
    assert!(shell.path().join("from-environment/excom.db").exists());
    assert_eq!(shell.count("pull", &[]), Told::out("1\n"));
    assert_eq!(shell.count("pull", &["--home", "flagged/deep"]), Told::out("2\n"));
}
