//! Names that break URLs, file names, tables and terminals elsewhere.

use crate::{Shell, Told};

#[test]
fn strange_keys_are_ordinary() {
    let shell = Shell::new();
    let keys = [
        "a/../b",
        "../other/k",
        "k?x=1",
        "k#y",
        "rows/slice",
        "rows/item/0",
        "k%2Fz",
        " ",
        "ключ",
        "{x}:y",
        "--key",
    ];
    let large = "x".repeat(70_000);
    for key in keys {
        let argument = format!("--key={key}");
        shell.pushed(&[&argument, "--text", "--", key]);
        // Once as a file too, whose name comes from the key.
        shell.pushed(&[&argument, "--map-index", "0", "--text", "--", &format!("{key}{large}")]);
    }
    for key in keys {
        let argument = format!("--key={key}");
        assert_eq!(shell.count("pull", &[&argument, "--raw"]), Told::out(&format!("{key}\n")));
        let told = shell.count("pull", &[&argument, "--raw", "--map-index", "0"]);
        assert_eq!(told.out, format!("{key}{large}\n"));
    }
    let list = shell.run(&["xcom", "list", "--map-index", "-1", "--json"]).json();
    assert_eq!(list["items"].as_array().unwrap().len(), keys.len());
    let strays = std::fs::read_dir(shell.home()).unwrap().count();
    assert!(strays <= 6, "nothing outside the folder for values: {strays}");
}

#[test]
fn names_have_limits() {
    let shell = Shell::new();
    let long = "k".repeat(513);
    shell.count("push", &["1", "--key", &long]).contains(1, &["has 513 characters, the limit is 512"]);
    shell.count("push", &["1", "--key", ""]).contains(1, &["the XCom key is empty"]);
    let told = shell.run(&["xcom", "pull", "--dag-id", &long, "--run-id", "r", "--task-id", "t", "--json"]);
    assert_eq!((told.code, &told.json()["error"]["code"]), (1, &"invalid_name".into()));
    shell
        .run(&["xcom", "pull", "--dag-id", "", "--run-id", "r", "--task-id", "t"])
        .contains(1, &["is empty"]);
    assert!(!shell.home().exists());
}

#[test]
fn nothing_reaches_a_terminal_that_is_no_text() {
    let shell = Shell::new();
    shell.pushed(&["--key", "a\x1b[2Jb", "1"]);
    let told = shell.run(&["xcom", "list"]);
    assert!(told.out.contains("a\\u{1b}[2Jb") && !told.out.contains('\x1b'), "{told:?}");
}

#[test]
#[cfg(unix)]
fn arguments_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let shell = Shell::new();
    let mut command = shell.command(&["xcom", "push", "--dag-id", "d", "--run-id", "r", "--task-id"]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff")).arg("1");
    Told::from(command.output().unwrap()).contains(2, &["invalid UTF-8"]);
    let mut command = shell.command(&["config", "list"]);
    command.env("EXCOM_HOME", std::ffi::OsStr::from_bytes(b"\xff"));
    Told::from(command.output().unwrap()).contains(1, &["EXCOM_HOME is not UTF-8"]);
}
