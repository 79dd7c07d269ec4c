//! `excom xcom push`.

use crate::{COUNT, Shell, Told};

#[test]
fn a_value_comes_back_byte_by_byte() {
    let shell = Shell::new();
    for text in [r#"{"b": 1.0, "a": 123456789012345678901234567890}"#, "-5", "null", "\"é\"", " [1,\n2] "] {
        shell.pushed(&[text]);
        assert_eq!(shell.count("pull", &[]), Told::out(&format!("{text}\n")));
    }
}

#[test]
fn text_is_pushed_as_a_json_string() {
    let shell = Shell::new();
    shell.pushed(&["--text", "he said \"hi\"\n{é}"]);
    assert_eq!(shell.count("pull", &[]), Told::out("\"he said \\\"hi\\\"\\n{é}\"\n"));
    assert_eq!(shell.count("pull", &["--raw"]), Told::out("he said \"hi\"\n{é}\n"));
    assert_eq!(shell.count_with("push", &["--text", "-"], b"a\"b\\\x01\n"), Told::nothing());
    assert_eq!(shell.count("pull", &[]), Told::out("\"a\\\"b\\\\\\u0001\\n\"\n"));
    let told = shell.count_with("push", &["--text", "-"], b"\xff");
    told.contains(1, &["it has bytes that are not UTF-8"]);
}

#[test]
fn the_receipt_is_a_document_when_asked_for() {
    let shell = Shell::new();
    let receipt = shell.count("push", &["--json", "[1, 2]"]).json();
    assert_eq!(receipt["key"]["task_id"], "count");
    assert_eq!(receipt["key"]["key"], "return_value");
    assert_eq!((&receipt["kind"], &receipt["len"], &receipt["size"]), (&"list".into(), &2.into(), &6.into()));
    assert_eq!((&receipt["offloaded"], &receipt["already"]), (&false.into(), &false.into()));
    assert_eq!(receipt["version"].as_str().unwrap().len(), 16);
    assert_eq!(receipt["warnings"], serde_json::json!([]));
}

#[test]
fn what_is_not_json_is_refused_with_a_hint() {
    let shell = Shell::new();
    assert_eq!(
        shell.count("push", &["hello"]),
        Told::err(
            1,
            "error: the value is not JSON: line 1, column 1: it has `h` where a value was expected\n  \
             text needs double quotes: '\"like this\"'\n  or push the argument as text with --text\n"
        )
    );
    shell.count("push", &["[NaN]"]).contains(1, &["line 1, column 2", "JSON has no NaN and no infinity"]);
    shell.count("push", &["{'a': 1}"]).contains(1, &["this looks like Python"]);
    shell.count("push", &[""]).contains(1, &["is empty"]);
    shell.count_with("push", &["-"], b"").contains(1, &["is empty"]);
    shell.count_with("push", &["-"], b"[1, 2").contains(1, &["ends before the JSON value is complete"]);
    shell.count_with("push", &["-"], b"\"\xff\"").contains(1, &["not UTF-8"]);
    let told = shell.count("push", &["Infinity", "--json"]);
    assert_eq!((told.code, &told.json()["error"]["code"]), (1, &"invalid_value".into()));
    assert_eq!(shell.count("pull", &[]).code, 3, "nothing of it was pushed");
}

#[test]
fn large_input_is_streamed_and_comes_back() {
    let shell = Shell::new();
    let numbers: Vec<u32> = (0..700_000).collect();
    let large = serde_json::to_vec(&numbers).unwrap();
    assert!(large.len() > 4_500_000);
    assert_eq!(shell.count_with("push", &["-"], &large), Told::nothing());
    let told = shell.count("pull", &[]);
    assert_eq!((told.code, told.out.len()), (0, large.len() + 1));
    assert_eq!(told.out.as_bytes().strip_suffix(b"\n"), Some(&large[..]));
    let document = shell.count("get", &["--json"]).json();
    assert_eq!((&document["offloaded"], &document["len"]), (&true.into(), &700_000.into()));
    assert_eq!(document["reference"]["store"], "files");

    // A stream that turns out not to be JSON leaves the value before it, and no file behind.
    let broken = [&large[..], b"x"].concat();
    shell.count_with("push", &["-"], &broken).contains(1, &["goes on behind the end"]);
    assert_eq!(shell.count("pull", &[]).out.len(), large.len() + 1);
}

#[test]
fn limits_are_kept_and_told() {
    let shell = Shell::new();
    let text = format!("\"{}\"", "x".repeat(2000));
    let told = shell.count("push", &["--set", "xcom.hard_limit=1KiB", &text]);
    told.contains(1, &["weather/r1/count `return_value` has 2.0 KiB", "the hard limit is 1.0 KiB"]);
    told.contains(1, &["  push a pointer to the data", "  or raise [xcom] hard_limit\n"]);
    let told = shell.count("push", &["--set", "xcom.hard_limit=1KiB", "--json", &text]);
    assert_eq!(told.json()["error"]["code"], "too_large");
    let large = vec![b'1'; 300_000];
    let told = shell.count_with("push", &["--set", "xcom.hard_limit=200000", "-"], &large);
    told.contains(1, &["has more, the hard limit is 195.3 KiB"]);
    let told = shell.count("push", &["--set", "xcom.soft_limit=1KiB", &text]);
    assert_eq!((told.code, told.out.as_str()), (0, ""));
    assert!(told.err.starts_with("warning: weather/r1/count `return_value` has 2.0 KiB"), "{told:?}");
    let receipt = shell.count("push", &["--set", "xcom.soft_limit=1KiB", "--json", &text]).json();
    assert_eq!(receipt["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(shell.count("pull", &[]), Told::out(&format!("{text}\n")));
}

#[test]
fn quotas_are_kept_and_told() {
    let shell = Shell::new().with("EXCOM__XCOM__QUOTA_RUN", "1KiB");
    let used = ["xcom", "usage", "--dag-id", "weather", "--run-id", "r1"];
    shell.run(&used).contains(3, &["DAG `weather` has no run `r1`", "nothing was ever pushed in the home"]);
    assert_eq!(shell.count("push", &[&format!("\"{}\"", "x".repeat(998))]), Told::nothing());
    let unknown = shell.run(&["xcom", "usage", "--dag-id", "weather", "--run-id", "r2", "--json"]);
    assert_eq!((unknown.code, &unknown.json()["answer"]), (3, &"missing".into()), "{unknown:?}");
    shell.run(&["xcom", "usage", "--dag-id", "wether"]).contains(3, &["no run of DAG `wether` is known"]);
    for empty in [&["--dag-id", ""][..], &["--dag-id", "weather", "--run-id", ""]] {
        shell.run(&[&["xcom", "usage"], empty].concat()).contains(1, &["is empty"]);
    }
    let told = shell.count("push", &["--key", "other", "1234567890123456789012345"]);
    told.contains(
        1,
        &["of the 1.0 KiB (1024 bytes) that [xcom] quota_run lets them have", "`excom xcom clear`"],
    );
    let told = shell.run(&used);
    assert_eq!((told.code, &*told.err), (0, ""), "{told:?}");
    assert!(told.out.contains("values   1,000 bytes\nquota    1.0 KiB, 24 bytes left\n"), "{told:?}");
    let of_dag = shell.run(&["xcom", "usage", "--dag-id", "weather", "--json"]).json();
    assert_eq!((&of_dag["run_id"], &of_dag["quota"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!((&of_dag["entries"], &of_dag["bytes"]), (&1.into(), &1000.into()));
    shell.run(&["xcom", "usage"]).contains(2, &["no --dag-id is given"]);
    let inside = shell.with("EXCOM_DAG_ID", "weather").with("EXCOM_RUN_ID", "r1");
    assert_eq!(inside.run(&["xcom", "usage", "--json"]).json()["quota"], 1024);
    assert!(inside.run(&["xcom", "usage", "--dag-id", "weather"]).out.contains("off ([xcom] quota_dag)"));
}

#[test]
fn what_is_not_understood_exits_with_2() {
    let shell = Shell::new();
    shell.count("push", &[]).contains(2, &["<JSON>", "Usage: excom xcom push"]);
    shell.count("push", &["1", "--frob"]).contains(2, &["unexpected argument '--frob'"]);
    shell.run(&["xcom", "psh"]).contains(2, &["unrecognized subcommand 'psh'", "'push'"]);
    shell.run(&["xcom", "push", "1"]).contains(2, &["no --dag-id is given, and EXCOM_DAG_ID is not set"]);
    shell.count("push", &["1", "--map-index", "-2"]).contains(2, &["-2 is not in"]);
    shell.count("push", &["1", "--set", "nothing"]).contains(2, &["write section.key=value"]);
    let told = shell.run(&["xcom", "push", "1", "--json"]);
    assert_eq!((told.code, &told.json()["error"]["code"]), (2, &"usage".into()));
    let told = shell.run(&["xcom", "push", "--json", "--frob"]);
    assert_eq!((told.code, &told.json()["error"]["code"]), (2, &"usage".into()));
    assert!(!shell.home().exists(), "nothing is made for a command that is not understood");
    assert_eq!(shell.run(&["--version"]), Told::out(concat!("excom ", env!("CARGO_PKG_VERSION"), "\n")));
    assert!(shell.run(&["xcom", "pull", "--help"]).out.contains("EXCOM_ATTEMPT_ID"));
}

#[test]
fn processes_that_begin_at_once_agree_on_the_home() {
    let shell = Shell::new();
    let large = format!("\"{}\"", "x".repeat(100_000));
    let children: Vec<_> = (0..8)
        .map(|i| {
            let index = i.to_string();
            let arguments = [&["xcom", "push"], &COUNT[..], &["--map-index", &index, &large]].concat();
            shell.command(&arguments).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    // Each sealed with the one key, so each can be read.
    let all = shell.count("pull", &["--all", "--json"]).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 8);
}
