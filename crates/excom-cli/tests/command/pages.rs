//! `excom completions` and `excom man`.

use crate::Shell;

#[test]
fn shells_complete_the_commands() {
    let shell = Shell::new();
    for name in ["bash", "zsh", "fish"] {
        let told = shell.run(&["completions", name]);
        assert_eq!((told.code, told.err.as_str()), (0, ""));
        for word in ["excom", "history", "doctor"] {
            assert!(told.out.contains(word), "{name} does not complete {word}");
        }
    }
    shell.run(&["completions", "tcsh"]).contains(2, &["bash", "fish"]);
    assert!(!shell.home().exists(), "it needs no home");
}

#[test]
fn bash_takes_its_script() {
    let shell = Shell::new();
    let script = shell.run(&["completions", "bash"]).out;
    shell.file("excom.bash", &script);
    let complete = "source ./excom.bash && complete -p excom";
    let Ok(told) =
        std::process::Command::new("bash").args(["-c", complete]).current_dir(shell.path()).output()
    else {
        return excom_testkit::skip::skipped("bash_takes_its_script", "bash is not installed");
    };
    assert!(told.status.success(), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).contains("excom"));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let shell = Shell::new();
    let page = shell.run(&["man"]);
    assert_eq!(page.code, 0);
    assert!(page.out.contains(".TH excom 1") && page.out.contains("Exit codes"), "{}", page.out);
    let told = shell.run(&["man", "--dir", "share/man1"]);
    told.contains(0, &["share/man1"]);
    for name in ["excom.1", "excom-xcom-pull.1", "excom-doctor.1"] {
        assert!(shell.path().join("share/man1").join(name).exists(), "{name}");
    }
    shell.file("file", "");
    shell.run(&["man", "--dir", "file/man"]).contains(1, &["file/man", "--dir"]);
}
