//! Variables: kept exactly, listed by prefix, overridden by the environment, fenced.

use super::{Harness, attempt, refused, user};
use crate::together::at_once;
use crate::variable::{KEY_LIMIT, Variable};
use crate::{Engine, ErrorKind, TaskChannel as _};

async fn text(engine: &Engine, key: &str) -> Option<String> {
    engine.variable(&user(), key).await.unwrap().map(|variable| variable.text)
}

/// Any text under any key comes back as it was; a prefix is literal.
pub async fn variables_are_set_listed_and_deleted(h: &Harness) {
    let engine = &h.engine;
    assert_eq!(text(engine, "k").await, None);
    // A variable named `keys` is one as any other.
    let keys = ["keys", "a/b", "a%", "ab", "a?x=1#y", "é", "a b", "A"];
    for key in keys {
        engine.set_variable(&user(), key, key, None).await.unwrap();
    }
    for odd in ["", "None", "null", "a\0b\n\"é\"", " {\"a\": 1} "] {
        engine.set_variable(&user(), "odd", odd, None).await.unwrap();
        assert_eq!(text(engine, "odd").await.as_deref(), Some(odd));
    }
    for key in keys {
        assert_eq!(text(engine, key).await.as_deref(), Some(key));
    }
    assert_eq!(text(engine, "KEYS").await, None, "keys are exact");
    let list = async |prefix: &str, after: Option<&str>, limit| {
        let found = engine.variables(&user(), prefix, after, limit).await.unwrap();
        found.into_iter().map(|variable| variable.key.to_string()).collect::<Vec<_>>()
    };
    let mut sorted = [&keys[..], &["odd"]].concat();
    sorted.sort_unstable();
    assert_eq!(list("", None, 100).await, sorted);
    assert_eq!(list("a", None, 100).await, ["a b", "a%", "a/b", "a?x=1#y", "ab"]);
    assert_eq!(list("a%", None, 100).await, ["a%"]);
    assert_eq!(list("a", Some("a%"), 2).await, ["a/b", "a?x=1#y"]);
    assert_eq!(list("a", Some("ab"), 2).await, [] as [&str; 0]);

    // A description stays until another is given.
    engine.set_variable(&user(), "k", "1", Some("how many")).await.unwrap();
    h.clock.advance(std::time::Duration::from_secs(1));
    engine.set_variable(&user(), "k", "2", None).await.unwrap();
    let stored = engine.db().variable("k").await.unwrap().unwrap();
    assert_eq!((stored.text.as_deref(), stored.description.as_deref()), (Some("2"), Some("how many")));
    // Airflow's own table notes no time.
    let is_now = |variable: Variable| variable.updated_at.is_none_or(|at| at == crate::Clock::now(&*h.clock));
    assert!(is_now(stored));
    assert!(engine.delete_variable(&user(), "k").await.unwrap());
    assert!(!engine.delete_variable(&user(), "k").await.unwrap());
    assert_eq!(text(engine, "k").await, None);

    for key in [String::new(), "é".repeat(KEY_LIMIT + 1), "a\0".to_owned()] {
        refused(engine.variable(&user(), &key).await, ErrorKind::InvalidName);
        refused(engine.set_variable(&user(), &key, "1", None).await, ErrorKind::InvalidName);
        refused(engine.delete_variable(&user(), &key).await, ErrorKind::InvalidName);
    }
    engine.set_variable(&user(), &"é".repeat(KEY_LIMIT), "1", None).await.unwrap();
    let long = "x".repeat((1 << 20) + 1);
    refused(engine.set_variable(&user(), "k", &long, None).await, ErrorKind::TooLarge);
    refused(engine.set_variable(&user(), "k", "1", Some(&long)).await, ErrorKind::TooLarge);
}

/// Whether there is a variable, and what else is in it, is looked at in the step that writes it.
pub async fn variables_are_made_once_and_changed_in_part(h: &Harness) {
    let engine = &h.engine;
    let stored = async || {
        let found = engine.db().variable("k").await.unwrap()?;
        Some((found.text.unwrap(), found.description))
    };
    let is = |text: &str, description: Option<&str>| Some((text.to_owned(), description.map(str::to_owned)));
    assert_eq!(engine.change_variable(&user(), "k", Some("1"), Some("x")).await.unwrap(), None);
    assert_eq!(engine.change_variable(&user(), "k", None, None).await.unwrap(), None);
    assert_eq!(stored().await, None, "what is not there is not changed");
    let made = engine.make_variable(&user(), "k", "1", None).await.unwrap().unwrap();
    assert_eq!(engine.db().variable("k").await.unwrap(), Some(made));
    assert_eq!(engine.make_variable(&user(), "k", "2", Some("other")).await.unwrap(), None);
    assert_eq!(stored().await, is("1", None), "what is there is not made");
    h.clock.advance(std::time::Duration::from_secs(1));
    let changed = engine.change_variable(&user(), "k", None, Some("how many")).await.unwrap();
    assert_eq!(engine.db().variable("k").await.unwrap(), changed);
    assert_eq!(stored().await, is("1", Some("how many")));
    let updated_at = engine.db().variable("k").await.unwrap().unwrap().updated_at;
    assert!(updated_at.is_none_or(|at| at == crate::Clock::now(&*h.clock)));
    let changed = engine.change_variable(&user(), "k", Some("3"), None).await.unwrap();
    assert_eq!(engine.db().variable("k").await.unwrap(), changed);
    assert_eq!(stored().await, is("3", Some("how many")));
    // Also when nothing is another than before.
    for (text, description) in [(Some("3"), Some("how many")), (None, None), (Some(""), Some(""))] {
        let changed = engine.change_variable(&user(), "k", text, description).await.unwrap();
        assert_eq!(engine.db().variable("k").await.unwrap(), changed);
    }
    assert_eq!(stored().await, is("", Some("")));
    engine.delete_variable(&user(), "k").await.unwrap();

    // Of many at once one makes it, and changes of different parts are all kept.
    let texts: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    let caller = user();
    let make = |text| engine.make_variable(&caller, "k", text, None);
    let made = at_once(texts.iter().map(|text| make(text)).collect(), texts.len()).await;
    let made: Vec<String> = made.into_iter().filter_map(|made| made.unwrap()?.text).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(stored().await, is(&made[0], None));
    let parts = [(Some("new"), None), (None, Some("newer"))];
    let change = |(text, description)| engine.change_variable(&caller, "k", text, description);
    for changed in at_once(parts.into_iter().map(change).collect(), parts.len()).await {
        assert!(changed.unwrap().is_some());
    }
    assert_eq!(stored().await, is("new", Some("newer")));

    for key in [String::new(), "a\0".to_owned()] {
        refused(engine.make_variable(&user(), &key, "1", None).await, ErrorKind::InvalidName);
        refused(engine.change_variable(&user(), &key, None, None).await, ErrorKind::InvalidName);
    }
    let long = "x".repeat((1 << 20) + 1);
    refused(engine.make_variable(&user(), "k", &long, None).await, ErrorKind::TooLarge);
    refused(engine.change_variable(&user(), "k", None, Some(&long)).await, ErrorKind::TooLarge);
}

/// The environment wins on reads, also after a set, which then says so; Excom's name wins over Airflow's.
pub async fn the_environment_overrides_variables(h: &Harness) {
    let overrides = [
        ("EXCOM_VAR_STATION", "attic"),
        ("AIRFLOW_VAR_STATION", "cellar"),
        ("AIRFLOW_VAR_LIMIT", ""),
        ("STATION", "none of ours"),
    ];
    let overrides = overrides.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let clock: std::sync::Arc<dyn crate::Clock> = h.clock.clone();
    let engine = Engine::builder(h.engine.db().clone(), clock).variable_overrides(overrides).build();
    for key in ["station", "Station"] {
        let found = engine.variable(&user(), key).await.unwrap().unwrap();
        assert_eq!((&*found.text, found.overridden_by.as_deref()), ("attic", Some("EXCOM_VAR_STATION")));
        assert_eq!(found.stored, None);
    }
    assert_eq!(text(&engine, "limit").await.as_deref(), Some(""), "set to nothing is set");
    let set = engine.set_variable(&user(), "station", "roof", None).await.unwrap();
    assert!(set.warnings.len() == 1 && set.warnings[0].contains("EXCOM_VAR_STATION"), "{set:?}");
    let found = engine.variable(&user(), "station").await.unwrap().unwrap();
    assert_eq!((&*found.text, found.stored.unwrap().text.as_deref()), ("attic", Some("roof")));
    assert_eq!(text(&h.engine, "station").await.as_deref(), Some("roof"), "elsewhere it is what was set");
    let set = engine.set_variable(&user(), "other", "1", None).await.unwrap();
    assert!(set.warnings.is_empty(), "{set:?}");
    engine.delete_variable(&user(), "station").await.unwrap();
    assert_eq!(text(&engine, "station").await.as_deref(), Some("attic"));
}

/// A task sets variables while it is the current attempt of its task instance.
pub async fn a_zombie_sets_no_variable(h: &Harness) {
    let me = h.start("t", -1).await;
    let channel = h.engine.channel(attempt(&me).clone());
    channel.set_variable("k", Some("1")).await.unwrap();
    assert_eq!(channel.variable("k").await.unwrap().as_deref(), Some("1"));
    let next = h.start("t", -1).await;
    refused(channel.set_variable("k", Some("2")).await, ErrorKind::Superseded);
    refused(channel.set_variable("k", None).await, ErrorKind::Superseded);
    refused(h.engine.make_variable(&me, "new", "1", None).await, ErrorKind::Superseded);
    refused(h.engine.change_variable(&me, "k", Some("2"), None).await, ErrorKind::Superseded);
    assert_eq!(channel.variable("k").await.unwrap().as_deref(), Some("1"));
    let channel = h.engine.channel(attempt(&next).clone());
    channel.set_variable("k", None).await.unwrap();
    assert_eq!(channel.variable("k").await.unwrap(), None);
    channel.set_variable("k", None).await.unwrap();
}
