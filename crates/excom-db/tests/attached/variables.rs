//! Variables as rows of Airflow's: a real Airflow and Excom set and read the same ones, and what Excom once kept itself comes to
//! lie there.

use std::sync::Arc;

use excom_core::db::Variable;
use excom_core::{Caller, Engine, ErrorKind, MetadataDb, memory};
use excom_db::Fernet;
use pollster::block_on;

use crate::support::Database;

/// Keys of Airflow's.
pub(crate) const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const OTHER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Airflow sets what its users would.
const SET: &str = r#"
from airflow.models.variable import Variable
Variable.set("theirs", "hunter2 é\n", description="a word")
Variable.set("both", "1", description="how many")
Variable.set("gone", "1")
Variable.set("empty", "")
"#;

/// Airflow's models and its REST API find what Excom made of it; the argument tells whether texts are encrypted.
const LOOK: &str = r#"
import os, sys
os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] = "True"
from airflow.api_fastapi.app import create_app
from airflow.models.variable import Variable
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import select
encrypted = sys.argv[1] == "encrypted"
with create_session() as session:
    found = {row.key: row for row in session.scalars(select(Variable))}
    told = {key: (row.val, row.description, row.is_encrypted, row.team_name) for key, row in found.items()}
    raw = {key: row._val for key, row in found.items()}
assert told == {
    "theirs": ("hunter2 é\n", "a word", encrypted, None),
    "both": ("2", "how many", encrypted, None),
    "empty": ("", None, encrypted, None),
    "ours": ("{\"a\": 1}", "of Excom", encrypted, None),
    "long": ("é" * 100000, None, encrypted, None),
}, told
assert all((raw[key] == row[0]) != encrypted for key, row in told.items()), raw
assert Variable.get("ours", deserialize_json=True) == {"a": 1}
with TestClient(create_app(apps="core")) as client:
    assert client.get("/api/v2/variables/both").json()["value"] == "2"
    assert client.patch("/api/v2/variables/both", json={"key": "both", "value": "3"}).status_code == 200
    assert client.delete("/api/v2/variables/long").status_code == 204
"#;

fn engine(db: impl MetadataDb + 'static) -> Engine {
    Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build()
}

fn keys(text: &str) -> Fernet {
    Fernet::parse(text).unwrap()
}

fn ana() -> Caller {
    Caller::user("ana")
}

fn text(engine: &Engine, key: &str) -> Option<String> {
    block_on(engine.variable(&ana(), key)).unwrap().map(|found| found.text)
}

fn set(engine: &Engine, key: &str, text: &str, description: Option<&str>) {
    block_on(engine.set_variable(&ana(), key, text, description)).unwrap();
}

fn list(engine: &Engine) -> Vec<Variable> {
    block_on(engine.variables(&ana(), "", None, 100)).unwrap()
}

/// The keys of a list.
fn keys_of(engine: &Engine) -> String {
    list(engine).iter().map(|found| &*found.key).collect::<Vec<_>>().join(" ")
}

/// Runs Airflow's code with a key, or with none.
fn airflow(database: &Database, code: &str, key: &str) {
    let told = if key.is_empty() { "plain" } else { "encrypted" };
    let mut command = database.python().run(code);
    let output = command.arg(told).env("AIRFLOW__CORE__FERNET_KEY", key).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What Airflow sets Excom reads, and the other way around.
fn are_read_by_each_other(database: &Database, engine: &Engine, key: &str) {
    airflow(database, SET, key);
    assert_eq!(text(engine, "theirs").as_deref(), Some("hunter2 é\n"));
    assert_eq!(text(engine, "empty").as_deref(), Some(""));
    let listed = list(engine);
    assert_eq!(keys_of(engine), "both empty gone theirs");
    assert_eq!((listed[0].text.as_deref(), listed[0].description.as_deref()), (Some("1"), Some("how many")));
    assert_eq!(listed[0].updated_at, None, "Airflow notes no time");
    // Of an empty text too, which Airflow marks and does not encrypt.
    assert!(listed.iter().all(|found| found.is_encrypted != key.is_empty()), "{listed:?}");

    set(engine, "both", "2", None);
    set(engine, "ours", "{\"a\": 1}", Some("of Excom"));
    set(engine, "long", &"é".repeat(100_000), None);
    assert!(block_on(engine.delete_variable(&ana(), "gone")).unwrap());
    assert_eq!(block_on(engine.make_variable(&ana(), "theirs", "2", None)).unwrap(), None);
    airflow(database, LOOK, key);
    assert_eq!(text(engine, "both").as_deref(), Some("3"));
    assert_eq!(text(engine, "long"), None);
}

#[test]
fn airflow_and_excom_read_each_others_variables() {
    for key in [KEY, ""] {
        let Some(database) = Database::made() else { return };
        database.attach();
        are_read_by_each_other(&database, &engine(database.open().with_fernet(keys(key))), key);
        assert_eq!(database.still_kept(), "0");
    }
}

#[test]
fn without_anything_beside_airflows_tables_they_do_too() {
    let Some(database) = Database::made() else { return };
    are_read_by_each_other(&database, &engine(database.bare().with_fernet(keys(KEY))), KEY);
    assert_eq!(database.ours(), "0");
}

#[test]
fn what_no_key_opens_is_told_and_keeps_no_list_from_being_read() {
    let Some(database) = Database::attached() else { return };
    let encrypted = engine(database.open().with_fernet(keys(KEY)));
    set(&encrypted, "secret", "hunter2", Some("a word"));
    let plain = engine(database.open());
    set(&plain, "plain", "1", None);
    for engine in [plain, engine(database.open().with_fernet(keys(OTHER)))] {
        let error = block_on(engine.variable(&ana(), "secret")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let told = format!("{error:?}");
        assert!(told.contains("`secret`") && told.contains("[core] fernet_key"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
        let listed = list(&engine);
        assert_eq!(listed.iter().map(|found| found.text.as_deref()).collect::<Vec<_>>(), [Some("1"), None]);
        assert_eq!(listed[1].description.as_deref(), Some("a word"));
        assert_eq!(listed.iter().map(|found| found.is_encrypted).collect::<Vec<_>>(), [false, true]);
        let changed = block_on(engine.change_variable(&ana(), "secret", None, Some("two words"))).unwrap();
        let changed = changed.unwrap();
        assert_eq!((changed.text, changed.is_encrypted), (None, true));
        assert_eq!(text(&encrypted, "secret").as_deref(), Some("hunter2"), "it is as it was");
        block_on(engine.change_variable(&ana(), "secret", None, Some("a word"))).unwrap();
    }
    // Who has no key writes nothing in the clear over it, and what Excom kept itself stays.
    database.kept("secret", "ours");
    for keyless in [engine(database.open()), engine(database.bare())] {
        let changed = block_on(keyless.change_variable(&ana(), "secret", Some("1"), None)).map(drop);
        for refused in [changed, block_on(keyless.set_variable(&ana(), "secret", "1", None)).map(drop)] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "a task's process does not repeat it");
            assert!(format!("{error:?}").contains("`secret` is encrypted"), "{error:?}");
        }
        assert_eq!(text(&encrypted, "secret").as_deref(), Some("hunter2"), "it is as it was");
        assert_eq!(database.still_kept(), "1");
    }
    // The keys of before are behind the newest, which writes.
    let both = engine(database.open().with_fernet(keys(&format!("{OTHER},{KEY}"))));
    assert_eq!(text(&both, "secret").as_deref(), Some("hunter2"));
    set(&both, "secret", "hunter3", None);
    assert_eq!(text(&engine(database.open().with_fernet(keys(OTHER))), "secret").as_deref(), Some("hunter3"));
    assert!(block_on(encrypted.variable(&ana(), "secret")).is_err());
    assert!(
        block_on(encrypted.delete_variable(&ana(), "secret")).unwrap(),
        "who cannot read it may delete it"
    );
    assert_eq!(keys_of(&encrypted), "plain");
}

#[test]
fn what_excom_kept_itself_is_read_until_it_is_written() {
    let Some(database) = Database::attached() else { return };
    let engine = engine(database.open().with_fernet(keys(KEY)));
    for key in ["changed", "deleted", "described", "kept", "made", "set", "shadowed"] {
        database.kept(key, "old");
        assert_eq!(text(&engine, key).as_deref(), Some("old"));
    }
    let all = "changed deleted described kept made set shadowed";
    assert_eq!(keys_of(&engine), all);
    assert!(list(&engine)[0].updated_at.is_some());
    assert!(list(&engine).iter().all(|found| !found.is_encrypted), "only Airflow's are");

    set(&engine, "set", "new", None);
    assert_eq!(text(&engine, "set").as_deref(), Some("new"));
    assert_eq!(database.still_kept(), "6");
    let changed = block_on(engine.change_variable(&ana(), "changed", Some("new"), None)).unwrap().unwrap();
    assert_eq!((changed.text.as_deref(), changed.description.as_deref()), (Some("new"), Some("ours")));
    let described =
        block_on(engine.change_variable(&ana(), "described", None, Some("new"))).unwrap().unwrap();
    assert_eq!((described.text.as_deref(), described.description.as_deref()), (Some("old"), Some("new")));
    assert_eq!(block_on(engine.make_variable(&ana(), "made", "new", None)).unwrap(), None, "there is one");
    assert_eq!(database.still_kept(), "4");
    // Somebody sets it in Airflow.
    let key = crate::QUOTE;
    database.sql(&format!(
        "INSERT INTO variable ({key}key{key}, val, is_encrypted) VALUES ('shadowed', 'theirs', false)"
    ));
    assert_eq!(text(&engine, "shadowed").as_deref(), Some("theirs"));
    assert_eq!(keys_of(&engine), all, "each once");
    set(&engine, "shadowed", "new", None);
    assert_eq!(database.still_kept(), "3");
    for key in ["deleted", "shadowed"] {
        assert!(block_on(engine.delete_variable(&ana(), key)).unwrap());
        assert!(!block_on(engine.delete_variable(&ana(), key)).unwrap());
        assert_eq!(text(&engine, key), None, "nothing old comes back");
    }
    assert_eq!(keys_of(&engine), "changed described kept made set");
    let set = block_on(engine.stored_variable(&ana(), "set")).unwrap().unwrap();
    assert_eq!((set.description.as_deref(), set.updated_at, set.is_encrypted), (Some("ours"), None, true));
    assert_eq!(database.sql("SELECT count(*) FROM variable WHERE is_encrypted"), "3");
}

#[test]
fn those_of_a_team_are_given_to_nobody() {
    let Some(database) = Database::made() else { return };
    database.attach();
    for engine in [engine(database.open()), engine(database.bare())] {
        let key = crate::QUOTE;
        database.sql("DELETE FROM variable");
        if database.sql("SELECT count(*) FROM team") == "0" {
            database.sql("INSERT INTO team (name) VALUES ('a')");
        }
        database.sql(&format!(
            "INSERT INTO variable ({key}key{key}, val, is_encrypted, team_name) VALUES ('k', 'hunter2', false, 'a')"
        ));
        assert_eq!(text(&engine, "k"), None);
        assert_eq!(keys_of(&engine), "");
        assert_eq!(block_on(engine.make_variable(&ana(), "k", "1", None)).unwrap(), None);
        assert_eq!(block_on(engine.change_variable(&ana(), "k", Some("1"), None)).unwrap(), None);
        assert!(!block_on(engine.delete_variable(&ana(), "k")).unwrap());
        let found =
            || [database.sql("SELECT val FROM variable"), database.sql("SELECT team_name FROM variable")];
        assert_eq!(found(), ["hunter2", "a"]);
        // As Airflow's own set does.
        set(&engine, "k", "2", None);
        assert_eq!(found(), ["2", "a"]);
        assert_eq!(text(&engine, "k"), None);
    }
}
