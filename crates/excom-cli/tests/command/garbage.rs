//! `excom gc`.

use crate::{Shell, Told};

fn large() -> String {
    format!("\"{}\"", "x".repeat(100_000))
}

/// Puts a file among the values that nothing knows; its version is old.
fn stray(shell: &Shell) -> std::path::PathBuf {
    let old = excom::Version::new("2026-01-01T00:00:00Z".parse().unwrap(), 0);
    let file = shell.home().join("values/weather/r1/count/-1/return_value").join(old.to_string());
    std::fs::write(&file, "stray").unwrap();
    file
}

#[test]
fn orphans_go_and_everything_else_stays() {
    let shell = Shell::new();
    assert_eq!(
        shell.run(&["gc"]),
        Told::out("looked at 0 objects and 0 versions: 0 orphans found, 0 objects removed\n")
    );
    assert!(!shell.home().exists(), "looking makes nothing");
    shell.pushed(&[&large()]);
    shell.pushed(&["--key", "small", "1"]);
    let file = stray(&shell);

    let told = shell.run(&["gc", "--dry-run"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    let lines: Vec<&str> = told.out.lines().collect();
    assert!(lines[0].starts_with("orphan  weather/r1/count/-1/return_value/"), "{told:?}");
    assert!(
        lines[0].contains("in `files`: no entry knows version ") && lines[0].contains("2026-01-01T00:00:00Z")
    );
    assert_eq!(lines[1], "looked at 2 objects and 2 versions: 1 orphan found, nothing removed");
    assert!(file.exists());

    let young = shell.run(&["gc", "--older-than", "5000w"]);
    assert!(young.out.contains("0 orphans found, 0 objects removed"), "{young:?}");
    shell.run(&["gc", "--older-than", "soon"]).contains(2, &["soon", "is no length of time"]);
    let report = shell.run(&["gc", "--json"]).json();
    assert_eq!((&report["orphans"]["count"], &report["removed"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(report["orphans"]["first"][0]["store"], "files");
    assert!(!file.exists());
    assert_eq!(shell.count("pull", &[]), Told::out(&format!("{}\n", large())));
    assert!(shell.run(&["gc"]).out.contains("looked at 1 object and 2 versions: 0 orphans found"));
    assert_eq!(shell.run(&["doctor"]).code, 0);
}

#[test]
fn values_that_lost_their_object_are_told() {
    let shell = Shell::new();
    shell.pushed(&[&large()]);
    std::fs::remove_dir_all(shell.home().join("values/weather")).unwrap();
    let told = shell.run(&["gc"]);
    assert_eq!(told.code, 6, "{told:?}");
    assert!(told.out.starts_with("lost    weather/r1/count"), "{told:?}");
    assert!(
        told.out.ends_with("0 objects removed; 1 value lost: push again what is still needed\n"),
        "{told:?}"
    );
    assert_eq!(shell.count("pull", &[]).code, 6, "the entry stays");
    assert_eq!(shell.run(&["gc", "--json"]).json()["lost"]["first"][0]["past"], false);
}
