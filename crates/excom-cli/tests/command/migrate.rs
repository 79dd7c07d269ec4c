//! `excom migrate-values`.

use crate::{Shell, Told};

const INLINE: [&str; 2] = ["--set", "xcom.inline_limit=1MiB"];

fn migrate(shell: &Shell, arguments: &[&str]) -> Told {
    shell.run(&[&["migrate-values"], arguments].concat())
}

fn files(shell: &Shell) -> serde_json::Value {
    shell.run(&["doctor", "--json"]).json()["checks"][7]["data"]["files"].clone()
}

#[test]
fn values_follow_the_settings() {
    let shell = Shell::new();
    let all = "all are where the selected backend puts them\n";
    assert_eq!(migrate(&shell, &[]), Told::out(&format!("looked at 0 versions: {all}")));
    let large = |c: &str| format!("\"{}\"", c.repeat(100_000));
    shell.pushed(&[&large("x")]);
    shell.pushed(&[&large("y")]);
    shell.pushed(&["--key", "small", "1"]);
    assert_eq!(files(&shell), 2);
    assert_eq!(migrate(&shell, &[]), Told::out(&format!("looked at 3 versions: {all}")));

    let dry = migrate(&shell, &[&INLINE[..], &["--dry-run"]].concat());
    assert_eq!(dry, Told::out("looked at 3 versions: 2 values, 195.3 KiB, would move; nothing changed\n"));
    let other = migrate(&shell, &[&INLINE[..], &["--dag-id", "sea"]].concat());
    assert_eq!(other, Told::out(&format!("looked at 0 versions: {all}")));
    assert_eq!(files(&shell), 2);
    let moved = migrate(&shell, &[&INLINE[..], &["--rate", "1GiB"]].concat());
    assert_eq!(moved, Told::out("looked at 3 versions: 2 values, 195.3 KiB, moved\n"));
    assert_eq!(files(&shell), 0);
    assert_eq!(shell.count("pull", &[]), Told::out(&format!("{}\n", large("y"))));

    let back = migrate(&shell, &["--json"]).json();
    assert_eq!((&back["moved"], &back["failed"]), (&2.into(), &0.into()), "{back}");
    assert_eq!(files(&shell), 2);
    assert_eq!(shell.count("pull", &[]), Told::out(&format!("{}\n", large("y"))));
}

#[test]
fn what_cannot_be_read_stays_and_is_told() {
    let shell = Shell::new();
    shell.pushed(&[&format!("\"{}\"", "x".repeat(100_000))]);
    std::fs::remove_dir_all(shell.home().join("values/weather")).unwrap();
    let told = migrate(&shell, &INLINE);
    assert_eq!(told.code, 6, "{told:?}");
    assert!(
        told.err.contains("warning: weather/r1/count") && told.err.contains("stays where it is"),
        "{told:?}"
    );
    assert!(told.out.ends_with("0 moved, 0 changed meanwhile, 1 failed\n"), "{told:?}");
    assert_eq!(shell.count("history", &[]).code, 0);
}
