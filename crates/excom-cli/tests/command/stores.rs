//! Values outside of the home: selected by settings, switched, and found again.

use excom_testkit::redis::{Program, Redis};
use excom_testkit::skip::skipped;

use crate::{Shell, Told};

const LARGE: usize = 100_000;

fn large(letter: &str) -> String {
    format!("\"{}\"", letter.repeat(LARGE))
}

/// Pushes a large value under a key of its own.
fn push(shell: &Shell, key: &str, letter: &str) {
    let told = shell.count_with("push", &["-", "--key", key], large(letter).as_bytes());
    assert_eq!(told, Told::nothing());
}

fn pulled(shell: &Shell, key: &str, letter: &str) {
    assert_eq!(shell.count("pull", &["--key", key]), Told::out(&format!("{}\n", large(letter))));
}

fn files(folder: &std::path::Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        count += if entry.path().is_dir() { files(&entry.path()) } else { 1 };
    }
    count
}

#[test]
fn old_values_are_read_where_they_were_after_a_switch() {
    let shell = Shell::new();
    push(&shell, "before", "b");
    let place = shell.path().join("bucket");
    let settings = format!(
        "core.xcom_backend = 'object_storage'\n[common.io]\nxcom_objectstorage_path = 'file://{}'\n",
        place.display()
    );
    shell.file("excom.toml", &settings);
    push(&shell, "after", "a");
    assert_eq!((files(&place), files(&shell.home().join("values"))), (1, 1));
    pulled(&shell, "before", "b");
    pulled(&shell, "after", "a");
    let told = shell.run(&["doctor"]);
    assert_eq!(told.code, 1);
    assert!(told.out.contains("values are where another backend put them: 1 in database("), "{told:?}");

    // Airflow's format beside Excom's own: each is read for what it is.
    shell.file(
        "excom.toml",
        &format!("{settings}xcom_objectstorage_compression = 'gzip'\n[xcom]\nobject_format = 'airflow'\n"),
    );
    push(&shell, "airflow", "c");
    let folder = std::fs::read_dir(place.join("weather/r1/count")).unwrap().flatten();
    let names: Vec<String> = folder.map(|file| file.file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.ends_with(".gz")), "{names:?}");
    for (key, letter) in [("before", "b"), ("after", "a"), ("airflow", "c")] {
        pulled(&shell, key, letter);
    }

    // Back again; and without the place, the answer says where the value is.
    shell.file("excom.toml", "core.xcom_backend = 'database'\n");
    pulled(&shell, "before", "b");
    let told = shell.count("pull", &["--key", "after"]);
    told.contains(7, &["bucket", "which is not in the settings", "[xcom] also_read"]);
    shell.file("excom.toml", &format!("xcom.also_read = ['file://{}']\n", place.display()));
    for (key, letter) in [("before", "b"), ("after", "a"), ("airflow", "c")] {
        pulled(&shell, key, letter);
    }
    assert_eq!(shell.count("delete", &["--key", "airflow", "--yes"]).code, 0);
    assert_eq!(files(&place), 1, "it goes from where it is");
}

#[test]
fn values_live_in_redis() {
    let program = match Program::redis() {
        Ok(program) => program,
        Err(why) => return skipped("stores::values_live_in_redis", &why),
    };
    let server = Redis::start(&program, "appendonly yes\nappendfsync always\n").unwrap();
    let shell = Shell::new().with("EXCOM__REDIS__URL", &server.url());
    shell.file("excom.toml", "core.xcom_backend = 'redis'\nseal.encrypt = true\n");
    push(&shell, "k", "r");
    pulled(&shell, "k", "r");
    assert_eq!(files(&shell.home().join("values")), 0);
    let told = shell.run(&["doctor"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("127.0.0.1"), "{told:?}");
    drop(server);
    shell.count("pull", &["--key", "k"]).contains(7, &["127.0.0.1"]);
    shell.pushed(&["1"]);
}

#[test]
fn a_redis_that_may_lose_values_is_refused() {
    let program = match Program::redis() {
        Ok(program) => program,
        Err(why) => return skipped("stores::a_redis_that_may_lose_values_is_refused", &why),
    };
    let server = Redis::start(&program, "appendonly no\n").unwrap();
    let shell = Shell::new().with("EXCOM__REDIS__URL", &server.url());
    shell.file("excom.toml", "core.xcom_backend = 'redis'\n");
    let told = shell.count_with("push", &["-"], large("x").as_bytes());
    told.contains(1, &["appendonly"]);
    shell.file("excom.toml", "core.xcom_backend = 'redis'\nredis.accept_loss = true\n");
    push(&shell, "k", "x");
    pulled(&shell, "k", "x");
}

#[test]
fn a_backend_without_a_place_is_told() {
    let shell = Shell::new();
    let told = shell.count("push", &["1", "--set", "core.xcom_backend=redis"]);
    told.contains(1, &["[core] xcom_backend = \"redis\" (from --set) has no place: [redis] url is not set"]);
    let told = shell.count("push", &["1", "--set", "core.xcom_backend=object_storage"]);
    told.contains(1, &["[common.io] xcom_objectstorage_path is not set", "s3://bucket/prefix"]);
}

#[test]
fn a_rotated_key_leaves_everything_readable() {
    let shell = Shell::new();
    push(&shell, "old", "o");
    let before = shell.run(&["keys", "list", "--json"]).json();
    let after = shell.run(&["keys", "rotate", "--json"]).json();
    assert_eq!(after["keys"].as_array().unwrap().len(), 2);
    assert_ne!(before["current"], after["current"]);
    push(&shell, "new", "n");
    pulled(&shell, "old", "o");
    pulled(&shell, "new", "n");
    let told = shell.run(&["keys", "list"]);
    assert!(told.out.starts_with(after["current"].as_str().unwrap()), "{told:?}");
    assert!(shell.run(&["doctor"]).out.contains("and 1 older key"));
    shell.file("excom.toml", "seal.keys = ['env:KEY']\n");
    shell.run(&["keys", "rotate"]).contains(1, &["KEY, which [seal] keys names, is not set"]);
}

#[test]
fn an_old_key_goes_when_nothing_is_sealed_with_it() {
    let shell = Shell::new();
    push(&shell, "k", "o");
    push(&shell, "k", "n");
    let current = |told: Told| told.json()["current"].as_str().unwrap().to_owned();
    let old = current(shell.run(&["keys", "list", "--json"]));
    shell.run(&["keys", "retire", &old]).contains(1, &["is the current one", "rotate the keys first"]);
    let new = current(shell.run(&["keys", "rotate", "--json"]));
    shell.run(&["keys", "retire", "none"]).contains(1, &["there is no key `none`", &old, &new]);
    let refused = format!("the key `{old}` still seals stored values: 2, with earlier versions");
    shell.run(&["keys", "retire", &old]).contains(1, &[&refused, "migrate-values --reseal"]);

    let reseal = |more: &[&str]| shell.run(&[&["migrate-values", "--reseal"], more].concat()).out;
    assert_eq!(
        reseal(&["--dry-run"]),
        "looked at 2 versions: 2 values, 195.3 KiB, would be sealed anew; nothing changed\n"
    );
    assert_eq!(reseal(&[]), "looked at 2 versions: 2 values, 195.3 KiB, sealed anew\n");
    assert_eq!(reseal(&[]), "looked at 2 versions: all that are sealed are so with the current key\n");
    let told = shell.run(&["keys", "retire", &old]);
    assert!(told.out.starts_with(&format!("{old}   retired, and removed from ")), "{told:?}");
    let key = std::fs::read_to_string(shell.home().join("seal.key")).unwrap();
    assert_eq!(key.lines().count(), 1);
    pulled(&shell, "k", "n");
    assert_eq!(files(&shell.home().join("values")), 2);
    assert_eq!(shell.run(&["migrate-values"]).code, 0);
    shell.run(&["gc", "--older-than", "0s"]).contains(0, &[]);
    assert_eq!(shell.run(&["doctor"]).code, 0);

    // A process that begins with nothing newer is refused.
    std::fs::write(shell.home().join("seal.key"), format!("{}\n{key}", "ab".repeat(32))).unwrap();
    let newest = current(shell.run(&["keys", "list", "--json"]));
    reseal(&[]);
    std::fs::write(shell.home().join("seal.key"), format!("{key}{}\n", "ab".repeat(32))).unwrap();
    assert_eq!(current(shell.run(&["keys", "list", "--json"])), new, "it is the current one again");
    assert_eq!(shell.run(&["keys", "retire", &newest]).code, 1);
    std::fs::write(shell.home().join("seal.key"), format!("{}\n{key}", "ab".repeat(32))).unwrap();
    shell.count("pull", &["--key", "k"]).contains(1, &[&newest, "is retired"]);
}

#[test]
fn keys_of_settings_are_retired_where_they_are_named() {
    let shell = Shell::new().with("OLD", &"0a".repeat(32)).with("NEW", &"0b".repeat(32));
    shell.file("excom.toml", "seal.keys = ['env:OLD']\n");
    push(&shell, "k", "o");
    let old = shell.run(&["keys", "list"]).out.split(' ').next().unwrap().to_owned();
    shell.file("excom.toml", "seal.keys = ['env:NEW', 'env:OLD']\n");
    assert_eq!(shell.run(&["migrate-values", "--reseal"]).code, 0);
    let told = shell.run(&["keys", "retire", &old]);
    assert_eq!(told.out, format!("{old}   retired; its source in [seal] keys (from excom.toml:1) may go\n"));
    shell.file("excom.toml", "seal.keys = ['env:NEW']\n");
    pulled(&shell, "k", "o");
    shell.file("excom.toml", "seal.keys = ['env:OLD']\n");
    shell.count("pull", &["--key", "k"]).contains(1, &["is not the one that this home was used with"]);
}
