//! The example in Python.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use excom_core::backend::collect;
use excom_core::{ErrorKind, XComBackend};
use excom_store::ProcessOptions;

use super::{key, large, object, python, quiet};

fn command(test: &str, folder: &Path) -> Option<Vec<String>> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/backend_process/backend.py");
    python(test, &program, &[folder.to_str().unwrap()])
}

#[test]
fn the_example_is_a_backend() {
    let folder = tempfile::tempdir().unwrap();
    let Some(command) = command("the_example_is_a_backend", folder.path()) else { return };
    let backend: Arc<dyn XComBackend> = Arc::new(quiet(command, ProcessOptions::default()));
    excom_core::conformance::backend(&backend);
    let files = walk(folder.path());
    assert!(files.is_empty(), "it leaves {files:?}");
}

/// Values are as they were for the next process, and damage is told.
#[test]
fn values_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let Some(command) = command("values_outlive_the_process", folder.path()) else { return };
    let key = key("k");
    let first = quiet(command.clone(), ProcessOptions::default());
    pollster::block_on(first.serialize_value(&object(&key), large().into())).unwrap();
    drop(first);
    let second = quiet(command, ProcessOptions::default());
    let read = || {
        pollster::block_on(async { collect(second.deserialize_value(&object(&key)).await?, 1 << 30).await })
    };
    assert_eq!(read().unwrap(), large());

    let files = walk(folder.path());
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(std::fs::metadata(&files[0]).unwrap().len() < 100_000, "it compresses what it gets");
    std::fs::write(&files[0], b"something else").unwrap();
    let error = read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().starts_with("the backend process `process` says: "), "{error}");
}

/// What a process that was killed leaves behind: one that ends, and nothing half written.
#[test]
fn it_ends_when_its_input_does() {
    let folder = tempfile::tempdir().unwrap();
    let Some(command) = command("it_ends_when_its_input_does", folder.path()) else { return };
    let mut child = std::process::Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut say = |header: &str, body: &[u8]| {
        let lengths = [header.len() as u32, body.len() as u32].map(u32::to_le_bytes).concat();
        stdin.write_all(&[&lengths, header.as_bytes(), body].concat()).unwrap();
    };
    say(r#"{"do":"hello","id":0,"protocol":1,"store":"s","inline_limit":1,"chunk":9}"#, b"");
    say(r#"{"do":"serialize","id":1,"object":{"name":"a/b/c/-1/k/1"}}"#, b"");
    say(r#"{"do":"chunk","id":1}"#, b"\"half of a value");
    // The last frame is cut, too.
    stdin.write_all(b"\x20\0\0\0\0\0\0\0{\"do\"").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert!(walk(folder.path()).is_empty());
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}
