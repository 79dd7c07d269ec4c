//! Secrets: pushed with a flag or by their key, and shown to those who say so and to tasks.

use excom::{Caller, PullOptions, TaskInstanceKey};
use serde_json::json;

use crate::{COUNT, Shell, Told};

const SECRET: &str = "\"hunter2\"";

fn with_secret() -> Shell {
    let shell = Shell::new();
    assert_eq!(shell.count_with("push", &["--secret", "-"], SECRET.as_bytes()), Told::nothing());
    shell
}

/// Whether anything that a command printed has the secret in it.
fn tells(told: &Told) -> bool {
    told.out.contains("hunter") || told.err.contains("hunter")
}

#[test]
fn a_secret_is_printed_to_who_says_so() {
    let shell = with_secret();
    let told = shell.count("pull", &[]);
    told.contains(5, &["weather/r1/count `return_value` is a secret, and is not shown", "--reveal shows it"]);
    for arguments in [&["--raw"][..], &["--all"], &["--json"], &["--json", "--all"]] {
        let told = shell.count("pull", arguments);
        assert!(told.code == 5 && !tells(&told), "{arguments:?}: {told:?}");
    }
    assert_eq!(shell.count("pull", &["--reveal"]), Told::out("\"hunter2\"\n"));
    assert_eq!(shell.count("pull", &["--reveal", "--raw"]), Told::out("hunter2\n"));
    assert_eq!(shell.count("pull", &["--reveal", "--all"]), Told::out("{\"-1\": \"hunter2\"}\n"));
    let document = shell.count("pull", &["--reveal", "--json"]).json();
    assert_eq!((&document["value"], &document["secret"]), (&json!("hunter2"), &json!(true)));

    let told = shell.count("get", &[]);
    assert!(told.code == 0 && told.out.ends_with("value    ***\n") && !tells(&told), "{told:?}");
    assert!(told.out.contains("kind     secret string, ") && told.err.contains("--reveal"), "{told:?}");
    let document = shell.count("get", &["--json"]).json();
    assert_eq!((&document["value"], &document["secret"]), (&json!("***"), &json!(true)));
    let revealed = shell.count("get", &["--json", "--reveal"]).json();
    assert_eq!((&revealed["value"], &revealed["hash"]), (&json!("hunter2"), &document["hash"]));
    assert!(shell.count("get", &["--reveal"]).out.ends_with("value    \"hunter2\"\n"));
}

#[test]
fn a_secret_is_in_no_list() {
    let shell = with_secret();
    let version = shell.count("push", &["--json", "--secret", "\"hunter3\""]).json();
    assert_eq!((&version["secret"], &version["kind"]), (&json!(true), &json!("string")));
    shell.pushed(&["--key", "open", "1"]);
    let list = ["xcom", "list", "--dag-id", "weather"];
    let told = shell.run(&list);
    assert!(told.out.contains(" ***") && !tells(&told), "{told:?}");
    let items = shell.run(&[&list[..], &["--json"]].concat()).json()["items"].clone();
    let shown = |at: usize| (items[at]["secret"].clone(), items[at]["preview"].clone());
    assert_eq!((shown(0), shown(1)), ((json!(null), json!("1")), (json!(true), json!("***"))));

    let history = shell.count("history", &["--json"]).json();
    assert_eq!(
        (&history["current"]["preview"], &history["past"][0]["preview"]),
        (&json!("***"), &json!("***"))
    );
    assert!(!history.to_string().contains("hunter"));
    let first = history["past"][0]["version"].as_str().unwrap();
    let told = shell.count("history", &["--version", first]);
    assert!(told.code == 5 && !tells(&told), "{told:?}");
    assert_eq!(shell.count("history", &["--version", first, "--reveal"]), Told::out("\"hunter2\"\n"));

    for more in [&[][..], &["--json"], &["--forwards"]] {
        let told = shell.run(&[&["trace"], &COUNT[..], more].concat());
        assert!(told.code == 0 && told.out.contains("***") && !tells(&told), "{told:?}");
    }
    // Nor does the database or a log of it hold its text.
    for entry in std::fs::read_dir(shell.home()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        assert!(!bytes.windows(6).any(|piece| piece == b"hunter"), "{}", path.display());
    }
}

#[test]
fn a_task_gets_what_it_pulls() {
    let shell = with_secret();
    let ti = TaskInstanceKey::new("weather", "r1", "load", -1).unwrap();
    let attempt = pollster::block_on(shell.engine().start(&ti, 1)).unwrap();
    let inside = shell
        .with("EXCOM_DAG_ID", "weather")
        .with("EXCOM_RUN_ID", "r1")
        .with("EXCOM_TASK_ID", "load")
        .with("EXCOM_ATTEMPT_ID", &attempt.id.to_string());
    assert_eq!(inside.count("pull", &[]), Told::out("\"hunter2\"\n"));
    assert_eq!(inside.run(&["xcom", "push", "--secret", "--key", "k", "{\"a\":1}"]), Told::nothing());
    let engine = inside.engine();
    let caller = Caller::user("test");
    let keys = [ti.xcom("k").unwrap()];
    let pulled = engine.pull(&caller, &keys, PullOptions::default());
    assert!(pollster::block_on(pulled).unwrap().remove(0).value().unwrap().is_secret());
}

#[test]
fn a_key_makes_a_secret_and_a_credential_gets_a_warning() {
    let shell = Shell::new();
    let told = shell.count("push", &["{\"password\": \"hunter2\"}"]);
    told.contains(0, &["warning: weather/r1/count `return_value` looks like a credential", "`password`"]);
    assert!(!tells(&told), "{told:?}");
    shell.file("excom.toml", "[xcom]\nsecret_keys = ['*Password*', '*_token']\n");
    shell.pushed(&["--key", "db_password", SECRET]);
    assert_eq!(shell.count("pull", &["--key", "db_password"]).code, 5);
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    for arguments in [&["--key", "api_token", "-"][..], &["--secret", "-"]] {
        let told = shell.count_with("push", arguments, large.as_bytes());
        assert!(told.code == 1 && told.err.contains("1048576"), "{told:?}");
    }
}
