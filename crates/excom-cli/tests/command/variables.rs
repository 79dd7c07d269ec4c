//! `excom variable`.

use serde_json::{Value as Json, json};

use crate::{Shell, Told};

fn set(shell: &Shell, arguments: &[&str]) {
    assert_eq!(shell.run(&[&["variable", "set"], arguments].concat()), Told::nothing());
}

fn get(shell: &Shell, arguments: &[&str]) -> Told {
    shell.run(&[&["variable", "get"], arguments].concat())
}

#[test]
fn a_variable_is_set_read_and_deleted() {
    let shell = Shell::new();
    let told = get(&shell, &["station"]);
    told.contains(3, &["no value: there is no variable `station`", "nothing was ever pushed in the home"]);
    assert!(!shell.home().exists(), "reading makes nothing");
    for text in ["attic", "", "None", "two\nlines", "-5", "{\"a\": 1}"] {
        set(&shell, &["station", text]);
        assert_eq!(get(&shell, &["station"]), Told::out(&format!("{text}\n")));
    }
    set(&shell, &["keys", "a variable named as a route"]);
    assert_eq!(get(&shell, &["keys"]), Told::out("a variable named as a route\n"));
    let document = get(&shell, &["station", "--json"]).json();
    assert_eq!((&document["text"], &document["overridden_by"]), (&json!("{\"a\": 1}"), &Json::Null));
    assert!(document["stored"]["updated_at"].is_string());
    assert_eq!(shell.run(&["variable", "delete", "station"]), Told::nothing());
    get(&shell, &["station"]).contains(3, &["`excom variable list` shows those"]);
    let none = get(&shell, &["station", "--json"]);
    assert_eq!((none.code, &none.json()["answer"]), (3, &json!("missing")));
    let told = shell.run(&["variable", "delete", "station"]);
    told.contains(0, &["nothing to do: there is no variable `station`"]);
    assert_eq!(shell.run(&["variable", "delete", "keys", "--json"]).json()["deleted"], true);
}

#[test]
fn a_default_stands_in_for_no_variable() {
    let shell = Shell::new();
    assert_eq!(get(&shell, &["k", "--default", "-x y"]), Told::out("-x y\n"));
    let document = get(&shell, &["k", "--default", "1", "--json"]).json();
    assert_eq!(document, json!({"key": "k", "text": "1", "default": true}));
    set(&shell, &["k", ""]);
    assert_eq!(get(&shell, &["k", "--default", "1"]), Told::out("\n"));
}

#[test]
fn a_text_comes_from_input_or_a_file_and_may_have_to_be_json() {
    let shell = Shell::new();
    shell.file("limits.json", "[1, 2]\n");
    set(&shell, &["limits", "--file", "limits.json", "--check-json"]);
    assert_eq!(get(&shell, &["limits"]), Told::out("[1, 2]\n\n"), "byte by byte");
    assert_eq!(shell.run_with(&["variable", "set", "k", "-"], b"from a pipe"), Told::nothing());
    assert_eq!(get(&shell, &["k"]), Told::out("from a pipe\n"));

    let told = shell.run(&["variable", "set", "k", "{'a': 1}", "--check-json"]);
    told.contains(1, &["this looks like Python", "or set it without --check-json"]);
    let told = shell.run(&["variable", "set", "k", "--file", "nowhere"]);
    told.contains(1, &["nowhere cannot be read; nothing was set"]);
    let told = shell.run_with(&["variable", "set", "k", "-"], b"\xff");
    told.contains(1, &["standard input cannot be read", "a variable is UTF-8 text"]);
    assert_eq!(get(&shell, &["k"]), Told::out("from a pipe\n"));
    shell.run(&["variable", "set", "k"]).contains(2, &["<TEXT"]);
    shell.run(&["variable", "set", "", "1"]).contains(1, &["the variable's key is empty"]);
    let long = "k".repeat(251);
    shell.run(&["variable", "set", &long, "1"]).contains(1, &["has 251 characters, the most are 250"]);
}

#[test]
fn a_list_is_in_order_and_goes_on() {
    let shell = Shell::new();
    shell.run(&["variable", "list"]).contains(0, &["no variables match"]);
    for key in ["weather.b", "weather.a", "other", "weather%"] {
        set(&shell, &[key, &"x".repeat(80), "--description", &format!("about {key}")]);
    }
    set(&shell, &["weather.b", "short"]);
    let told = shell.run(&["variable", "list", "--prefix", "weather."]);
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!(lines.len(), 3, "{told:?}");
    assert!(lines[0].starts_with("key        text"), "{told:?}");
    assert!(lines[1].starts_with("weather.a  xxx") && lines[1].contains("x…  "), "{told:?}");
    assert!(lines[2].starts_with("weather.b  short") && lines[2].ends_with("about weather.b"), "{told:?}");
    let page = shell.run(&["variable", "list", "--limit", "2"]);
    assert_eq!(page.out.lines().count(), 3);
    page.contains(0, &["repeat the command with --after 'weather%'"]);
    let rest = shell.run(&["variable", "list", "--limit", "2", "--after", "weather%", "--json"]).json();
    let keys: Vec<&str> =
        rest["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!((keys, &rest["next"]), (vec!["weather.a", "weather.b"], &Json::Null));
}

#[test]
fn the_environment_overrides_and_is_named() {
    let shell = Shell::new()
        .with("EXCOM_VAR_STATION", "attic")
        .with("AIRFLOW_VAR_STATION", "cellar")
        .with("AIRFLOW_VAR_LIMIT", "5");
    let told = get(&shell, &["station"]);
    assert_eq!(told.out, "attic\n");
    told.contains(0, &["from EXCOM_VAR_STATION in the environment"]);
    assert_eq!(get(&shell, &["limit"]).out, "5\n");
    let told = shell.run(&["variable", "set", "station", "roof"]);
    assert_eq!(told.out, "");
    told.contains(0, &["warning: variable `station` is set, and EXCOM_VAR_STATION", "overrides it"]);
    assert_eq!(get(&shell, &["station"]).out, "attic\n");
    let document = get(&shell, &["station", "--json"]).json();
    assert_eq!(document["overridden_by"], "EXCOM_VAR_STATION");
    assert_eq!((&document["text"], &document["stored"]["text"]), (&json!("attic"), &json!("roof")));
    assert!(shell.run(&["variable", "list"]).out.contains("EXCOM_VAR_STATION"));
    let set = shell.run(&["variable", "set", "station", "1", "--json"]).json();
    assert_eq!(set["warnings"].as_array().unwrap().len(), 1);
}
