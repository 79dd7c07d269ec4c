//! `excom doctor`.

use serde_json::Value as Json;

use crate::{Shell, Told};

fn check<'a>(report: &'a Json, name: &str) -> &'a Json {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn it_tells_what_is_loaded_and_proves_that_it_works() {
    let shell = Shell::new();
    shell.file("excom.toml", "core.xcom_backend = 'database'\n");
    shell.pushed(&["1"]);
    let told = shell.run(&["doctor"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    let lines: Vec<&str> = told.out.lines().collect();
    let line = |name: &str| *lines.iter().find(|line| line.starts_with(name)).unwrap();
    assert_eq!(line("backend"), "backend     database   from excom.toml:1");
    assert!(line("store").ends_with("/.excom/values   values over 64KiB   ok"), "{told:?}");
    assert!(line("metadata").contains("/.excom/excom.db   own, schema "), "{told:?}");
    assert_eq!(line("entries"), "entries     1, all written with this backend   ok");
    assert!(line("round trip").starts_with("round trip  database: push "), "{told:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("round trip") && line.ends_with("ok")).count(), 2);

    let report = shell.run(&["doctor", "--json"]).json();
    assert_eq!(report["ok"], true);
    assert_eq!(check(&report, "key")["data"]["fingerprint"].as_str().unwrap().len(), 16);
    assert_eq!(check(&report, "size")["data"]["files"], 0, "the doctor's own values are gone");
    let list = shell.run(&["xcom", "list", "--json"]).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    let told = shell.run(&["doctor", "--database"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    for part in
        ["xcoms       1 XCom, 1 ", "\ntable       ", "\nkey         weather/count/return_value   1 XCom, "]
    {
        assert!(told.out.contains(part), "no {part} in {}", told.out);
    }
}

#[test]
fn what_is_damaged_is_a_problem_and_no_crash() {
    let shell = Shell::new();
    shell.pushed(&["1"]);
    std::fs::write(shell.home().join("excom.db"), "no database at all, and long enough to look at").unwrap();
    let told = shell.run(&["doctor"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.out.contains("excom.db   problem\n"), "{told:?}");
    assert_eq!(shell.run(&["doctor", "--database"]).code, 1);
    let report = shell.run(&["doctor", "--json"]).json();
    assert_eq!(report["ok"], false);
    assert_eq!(check(&report, "metadata")["data"]["code"], "corrupt");
    assert!(!check(&report, "metadata")["hints"].as_array().unwrap().is_empty());
    shell.count("pull", &[]).contains(6, &["excom.db"]);
}

#[test]
fn a_file_that_nothing_knows_is_a_problem() {
    let shell = Shell::new();
    let large = format!("\"{}\"", "x".repeat(100_000));
    shell.pushed(&[&large]);
    let report = shell.run(&["doctor", "--json"]).json();
    assert_eq!(check(&report, "orphans")["text"], "none older than 1h");
    let folder = shell.home().join("values/weather/r1/count/-1/return_value");
    let old = excom::Version::new("2026-01-01T00:00:00Z".parse().unwrap(), 0);
    std::fs::write(folder.join(old.to_string()), "stray").unwrap();
    let told = shell.run(&["doctor"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.out.contains("orphans     1 object older than 1h   problem\n"), "{told:?}");
    assert!(told.out.contains(&format!("return_value/{old} in `files`: no entry knows")), "{told:?}");
    assert!(told.out.contains("\n  `excom gc --dry-run` lists them"), "{told:?}");
}

#[test]
fn a_home_that_is_a_file_is_told() {
    let shell = Shell::new();
    shell.file("taken", "");
    let told = shell.count("push", &["1", "--home", "taken"]);
    told.contains(1, &["error: the home taken (from --home) is not a folder\n  name a folder with --home"]);
    assert_eq!(shell.count("pull", &["--home", "taken"]).code, 1);
    assert_eq!(shell.run(&["doctor", "--home", "taken"]).code, 1);
    let told = shell.count("push", &["1", "--home", "taken/inside"]);
    told.contains(1, &["taken/inside", "--home"]);
}

#[test]
fn another_seal_key_is_refused_everywhere() {
    let shell = Shell::new();
    shell.pushed(&["1"]);
    let key = shell.home().join("seal.key");
    let before = std::fs::read_to_string(&key).unwrap();
    assert_eq!(before.len(), 65);

    std::fs::write(&key, format!("{}\n", "ab".repeat(32))).unwrap();
    let told = shell.count("pull", &[]);
    told.contains(
        1,
        &["the seal key .excom/seal.key is not the one that this home was used with", "put back"],
    );
    assert_eq!(shell.run(&["doctor"]).code, 1);
    std::fs::write(&key, "short\n").unwrap();
    shell.count("pull", &[]).contains(1, &["is malformed", "64 hex digits"]);
    std::fs::remove_file(&key).unwrap();
    shell.count("push", &["2"]).contains(1, &["seal.key is missing", "with the fingerprint"]);
    assert!(!key.exists(), "a lost key is not replaced silently");

    std::fs::write(&key, before.trim_end()).unwrap();
    assert_eq!(shell.count("pull", &[]), Told::out("1\n"));
}

#[test]
#[cfg(unix)]
fn a_key_that_others_may_read_is_a_problem() {
    use std::os::unix::fs::PermissionsExt;
    let shell = Shell::new();
    shell.pushed(&["1"]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&shell.home()), 0o700);
    assert_eq!(mode(&shell.home().join("seal.key")), 0o600);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(shell.home().join("seal.key"), open).unwrap();
    let told = shell.run(&["doctor"]);
    assert_eq!(told.code, 1);
    assert!(told.out.contains("  chmod 600 "), "{told:?}");
}
