//! Folders that cannot be written, and stored bytes that were touched.

use std::path::{Path, PathBuf};

use crate::{Shell, Told};

/// The file of the one stored value.
fn object(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                return entry.path();
            }
        }
    }
    panic!("nothing is stored");
}

#[test]
fn altered_and_lost_bytes_are_never_a_value() {
    let shell = Shell::new();
    let large = format!("\"{}\"", "x".repeat(100_000));
    shell.pushed(&[&large]);
    let path = object(&shell.home().join("values"));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let told = shell.count("pull", &["--json"]);
    assert_eq!((told.code, &told.json()["answer"]), (6, &"corrupt".into()));
    let told = shell.count("pull", &["--default", "1"]);
    assert_eq!((told.code, told.out.as_str()), (6, ""), "{told:?}");
    assert_eq!(shell.count("pull", &["--all"]).code, 6);
    std::fs::remove_file(&path).unwrap();
    let told = shell.count("pull", &[]);
    told.contains(6, &["lost: weather/r1/count `return_value`"]);
}

#[test]
fn expired_values_are_told_from_missing_ones() {
    let shell = Shell::new();
    shell.pushed(&["1"]);
    let settings = excom::config::Settings::at(shell.home()).with("xcom.retention", "0s").unwrap();
    let engine = excom::embedded::open(&settings).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    pollster::block_on(engine.prune()).unwrap();
    let told = shell.count("pull", &["--default", "1"]);
    told.contains(4, &["expired: `return_value` of task `count` was removed at"]);
}

/// Runs the command as a user whom permissions bind. Root is bound by none, so it becomes somebody else.
#[cfg(unix)]
mod unprivileged {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;

    use super::*;

    const NOBODY: u32 = 65_534;

    struct Unprivileged {
        shell: Shell,
        root: bool,
    }

    impl Unprivileged {
        fn new() -> Self {
            let shell = Shell::new();
            let probe = shell.path().join("probe");
            std::fs::write(&probe, "").unwrap();
            let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&probe).unwrap()) == 0;
            std::fs::remove_file(probe).unwrap();
            if root {
                // The command too must be where that user can reach it. Another process copies it: while
                // this one had it open for writing, a test beside it could fork and keep it busy.
                let copied = std::process::Command::new("cp")
                    .args([Path::new(env!("CARGO_BIN_EXE_excom")), &shell.path().join("excom")])
                    .status();
                assert!(copied.unwrap().success());
                chown(shell.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            Self { shell, root }
        }

        fn run(&self, arguments: &[&str]) -> Told {
            if !self.root {
                return self.shell.run(arguments);
            }
            let mut command = std::process::Command::new(self.shell.path().join("excom"));
            command.args(arguments).current_dir(self.shell.path()).env_clear().env("LOGNAME", "nobody");
            command.uid(NOBODY).gid(NOBODY).stdin(std::process::Stdio::null());
            Told::from(command.output().unwrap())
        }

        fn mode(&self, path: &Path, mode: u32) {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }

        fn count(&self, command: &str, arguments: &[&str]) -> Told {
            self.run(&[&["xcom", command], &crate::COUNT[..], arguments].concat())
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let user = Unprivileged::new();
        user.mode(user.shell.path(), 0o555);
        let told = user.count("push", &["1"]);
        told.contains(1, &["cannot create .excom, for the home that default names", "Permission denied"]);
        told.contains(1, &["check the owner and mode of its parent folder"]);
        let told = user.run(&["doctor", "--json"]);
        assert_eq!((told.code, &told.json()["ok"]), (1, &false.into()));
        user.mode(user.shell.path(), 0o755);
    }

    #[test]
    fn a_home_that_cannot_be_written_can_be_read() {
        let user = Unprivileged::new();
        assert_eq!(user.count("push", &["1"]), Told::nothing());
        // Whoever writes has it open; SQLite needs that to read beside a writer.
        let writer = user.root.then(|| user.shell.engine());
        let home = user.shell.home();
        for entry in std::fs::read_dir(&home).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            user.mode(&entry.path(), 0o444);
        }
        user.mode(&home, 0o555);
        user.count("push", &["2"]).contains(1, &["cannot be opened for writing", "  check that "]);
        let told = user.run(&["doctor"]);
        assert_eq!(told.code, 1);
        assert!(told.out.contains("excom.db   problem"), "{told:?}");
        if writer.is_some() {
            assert_eq!(user.count("pull", &[]), Told::out("1\n"));
        }
        let strict = user.count("pull", &["--set", "xcom.ledger=strict"]);
        strict.contains(1, &[".excom/excom.db"]);
        user.mode(&home, 0o755);
    }

    #[test]
    fn a_home_that_cannot_be_entered_is_told() {
        let user = Unprivileged::new();
        assert_eq!(user.count("push", &["1"]), Told::nothing());
        user.mode(&user.shell.home(), 0o000);
        for command in ["pull", "get", "history"] {
            assert_eq!(user.count(command, &[]).code, 1);
        }
        let told = user.run(&["doctor"]);
        assert_eq!(told.code, 1, "{told:?}");
        user.mode(&user.shell.home(), 0o755);
    }
}
