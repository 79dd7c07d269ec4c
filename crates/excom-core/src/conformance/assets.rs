//! Assets: events are noted once, found by names and aliases in order of time, and go with time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Harness, attempt, refused, user, value};
use crate::asset::{Asset, AssetEvent, AssetEventFilter, AssetNamed, EventsOf, NewAssetEvent};
use crate::db::{Cutoffs, RunState};
use crate::{Attempt, Caller, Clock as _, ErrorKind, Shape, TaskInstanceKey, TaskState};

const HOUR: Duration = Duration::from_secs(3600);

fn event(name: &str, extra: &str) -> NewAssetEvent {
    NewAssetEvent {
        name: name.into(),
        uri: format!("file://{name}").into(),
        asset_extra: value("{}"),
        extra: value(extra),
        partition_key: None,
        aliases: Vec::new(),
    }
}

fn aliased(name: &str, extra: &str, aliases: &[&str]) -> NewAssetEvent {
    let aliases = aliases.iter().map(|alias| Arc::from(*alias)).collect();
    NewAssetEvent { asset_extra: value(r#"{"made": true}"#), aliases, ..event(name, extra) }
}

async fn one(h: &Harness, name: &str) -> Asset {
    let mut found = h.engine.assets(&user(), &AssetNamed::Name(name.into()), 1).await.unwrap();
    found.pop().unwrap_or_else(|| panic!("no asset `{name}`"))
}

async fn names(h: &Harness, named: AssetNamed) -> Vec<String> {
    let found = h.engine.assets(&user(), &named, 100).await.unwrap();
    found.into_iter().map(|asset| format!("{} {}", asset.name, asset.uri)).collect()
}

fn all(of: EventsOf) -> AssetEventFilter {
    AssetEventFilter { of, after: None, before: None, newest_first: false }
}

async fn events(h: &Harness, filter: &AssetEventFilter, limit: u32) -> Vec<AssetEvent> {
    h.engine.asset_events(&user(), filter, limit).await.unwrap()
}

async fn extras(h: &Harness, filter: &AssetEventFilter, limit: u32) -> Vec<String> {
    events(h, filter, limit).await.into_iter().map(|event| event.extra.as_str().to_owned()).collect()
}

/// Whether the scenario ends, because another keeps assets, which is then told.
async fn elsewhere(h: &Harness, caller: &Caller) -> bool {
    if !h.engine.db().is_airflows() {
        return false;
    }
    let (attempt, events) = (attempt(caller), [event("a", "{}")]);
    refused(h.engine.note_asset_events(attempt, &events).await, ErrorKind::InvalidRequest);
    refused(h.engine.assets(&user(), &AssetNamed::Name("a".into()), 1).await, ErrorKind::InvalidRequest);
    let filter = all(EventsOf::Asset(1));
    refused(h.engine.asset_events(&user(), &filter, 1).await, ErrorKind::InvalidRequest);
    true
}

/// A repetition notes nothing, and neither does a zombie; what cannot be noted takes nothing else along.
pub async fn asset_events_are_noted_once(h: &Harness) {
    let first = h.start("t", 3).await;
    if elsewhere(h, &first).await {
        return;
    }
    let told = [
        NewAssetEvent { partition_key: Some("p é".into()), ..event("a", r#"{"rows": 1}"#) },
        event("a", r#"{"rows": 2}"#),
        aliased("b", "{}", &["x", "y"]),
    ];
    for _ in 0..2 {
        h.engine.note_asset_events(attempt(&first), &told).await.unwrap();
    }
    h.engine.set_attempt_state(attempt(&first), TaskState::Success).await.unwrap();
    let a = one(h, "a").await;
    assert_eq!((&*a.uri, a.extra.shape()), ("file://a", Shape::Dict(0)));
    let noted = events(h, &all(EventsOf::Asset(a.id)), 10).await;
    let [one_row, two] = &noted[..] else { panic!("{noted:?}") };
    assert!(one_row.id < two.id, "numbers are in the order in which they were told");
    assert_eq!((one_row.partition_key.as_deref(), two.partition_key.as_deref()), (Some("p é"), None));
    assert_eq!((one_row.extra.as_str(), two.extra.as_str()), (r#"{"rows": 1}"#, r#"{"rows": 2}"#));
    assert_eq!((&one_row.by, &one_row.asset, one_row.at), (&attempt(&first).ti, &a, h.clock.now()));

    // A later attempt makes its own, and the first one none.
    let second = h.start("t", 3).await;
    refused(h.engine.note_asset_events(attempt(&first), &[event("z", "{}")]).await, ErrorKind::Superseded);
    h.engine.note_asset_events(attempt(&second), &[event("a", "{}")]).await.unwrap();
    assert_eq!(events(h, &all(EventsOf::Asset(a.id)), 10).await.len(), 3);
    let unknown = Attempt { id: h.engine.clock().attempt_id(), ti: attempt(&first).ti.clone() };
    refused(h.engine.note_asset_events(&unknown, &told).await, ErrorKind::NotStarted);

    // Of repetitions that come at once one notes them.
    let racer = h.start("racer", -1).await;
    let (engine, told) = (&h.engine, [event("raced", "{}"), event("raced", "{}")]);
    std::thread::scope(|scope| {
        let note = || pollster::block_on(engine.note_asset_events(attempt(&racer), &told)).unwrap();
        let all: Vec<_> = (0..4).map(|_| scope.spawn(note)).collect();
        all.into_iter().for_each(|one| one.join().unwrap());
    });
    let raced = EventsOf::Asset(one(h, "raced").await.id);
    assert_eq!(events(h, &all(raced), 10).await.len(), 2);

    // All or nothing.
    let other = h.start("other", -1).await;
    for (wrong, kind) in [
        (event("", "{}"), ErrorKind::InvalidName),
        (event(&"x".repeat(1501), "{}"), ErrorKind::InvalidName),
        (event("a\0", "{}"), ErrorKind::InvalidName),
        (NewAssetEvent { partition_key: Some(" ".into()), ..event("a", "{}") }, ErrorKind::InvalidName),
        (aliased("a", "{}", &[""]), ErrorKind::InvalidName),
        (event("a", "[1]"), ErrorKind::InvalidValue),
        (event("a", &format!(r#"{{"x": "{}"}}"#, "x".repeat(1 << 16))), ErrorKind::TooLarge),
    ] {
        let told = [event("good", "{}"), wrong];
        refused(h.engine.note_asset_events(attempt(&other), &told).await, kind);
    }
    assert_eq!(names(h, AssetNamed::Name("good".into())).await, [""; 0]);
}

/// Names, URIs and aliases are exact; of several assets under one, that with the newest event is first.
pub async fn assets_are_found_by_their_names(h: &Harness) {
    let first = h.start("t", -1).await;
    if elsewhere(h, &first).await {
        return;
    }
    let long = "é".repeat(1500);
    let other = |name: &str, uri: &str| NewAssetEvent { uri: uri.into(), ..event(name, "{}") };
    let told = [
        aliased("dynamic", "{}", &["x", "y", &long]),
        other("a", "new://a"),
        other("a", "old://a"),
        event("A", "{}"),
        event("a ", "{}"),
        aliased("b", "{}", &["x"]),
        other(&long, &long),
    ];
    h.engine.note_asset_events(attempt(&first), &told).await.unwrap();
    let by_name = async |name: &str| names(h, AssetNamed::Name(name.into())).await;
    let by_alias = async |name: &str| names(h, AssetNamed::Alias(name.into())).await;
    assert_eq!(by_name("a").await.len(), 2);
    assert_eq!(by_name("A").await, ["A file://A"]);
    assert_eq!(by_name("c").await, [""; 0]);
    assert_eq!(names(h, AssetNamed::Uri("new://a".into())).await, ["a new://a"]);
    assert_eq!(names(h, AssetNamed::Uri(long.as_str().into())).await.len(), 1);
    assert_eq!(names(h, AssetNamed::Key("a".into(), "new://a".into())).await, ["a new://a"]);
    assert_eq!(names(h, AssetNamed::Key("a".into(), "file://b".into())).await, [""; 0]);
    assert_eq!(by_alias("x").await, ["b file://b", "dynamic file://dynamic"]);
    assert_eq!(by_alias(&long).await, ["dynamic file://dynamic"]);
    assert_eq!(by_alias("X").await, [""; 0]);
    assert_eq!(h.engine.assets(&user(), &AssetNamed::Alias("x".into()), 1).await.unwrap().len(), 1);
    assert_eq!(one(h, "dynamic").await.extra.as_str(), r#"{"made": true}"#);

    // What is known keeps its extra and its number, and the newest event counts.
    let known = one(h, "dynamic").await;
    h.clock.advance(HOUR);
    let again = h.start("t", -1).await;
    let told = [other("a", "old://a"), event("dynamic", r#"{"n": 1}"#)];
    h.engine.note_asset_events(attempt(&again), &told).await.unwrap();
    assert_eq!(by_name("a").await, ["a old://a", "a new://a"]);
    h.clock.advance(HOUR);
    let again = h.start("t", -1).await;
    h.engine.note_asset_events(attempt(&again), &[other("a", "new://a")]).await.unwrap();
    assert_eq!(by_name("a").await, ["a new://a", "a old://a"]);
    assert_eq!(one(h, "dynamic").await, known);
    assert_eq!(by_alias("x").await, ["b file://b", "dynamic file://dynamic"]);
}

/// Either way round, between two moments, at most so many; of an asset or of an alias.
pub async fn asset_events_come_in_order_of_time(h: &Harness) {
    let caller = h.start("t", -1).await;
    if elsewhere(h, &caller).await {
        return;
    }
    let begun = h.clock.now();
    let hour = |n: u32| begun + HOUR * n;
    for n in 0..5 {
        let caller = h.start(&format!("t{n}"), -1).await;
        let extra = format!(r#"{{"n":{n}}}"#);
        let told =
            [aliased("a", &extra, if n % 2 == 0 { &["even"] } else { &[] }), aliased("b", &extra, &["even"])];
        h.engine.note_asset_events(attempt(&caller), &told).await.unwrap();
        h.clock.advance(HOUR);
    }
    let asset = EventsOf::Asset(one(h, "a").await.id);
    let numbers = async |filter: AssetEventFilter, limit: u32| {
        let found = extras(h, &filter, limit).await;
        found.iter().map(|extra| extra[5..6].parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    let newest = |of: &EventsOf| AssetEventFilter { newest_first: true, ..all(of.clone()) };
    assert_eq!(numbers(all(asset.clone()), 10).await, [0, 1, 2, 3, 4]);
    assert_eq!(numbers(all(asset.clone()), 2).await, [0, 1]);
    assert_eq!(numbers(newest(&asset), 2).await, [4, 3]);
    let between = |after: Timestamp, before: Timestamp| AssetEventFilter {
        after: Some(after),
        before: Some(before),
        ..all(asset.clone())
    };
    assert_eq!(numbers(between(hour(1), hour(3)), 10).await, [1, 2, 3], "both moments count");
    let late = Duration::from_micros(1);
    assert_eq!(numbers(between(hour(1) + late, hour(3) - late), 10).await, [2]);
    assert_eq!(
        numbers(AssetEventFilter { newest_first: true, ..between(hour(1), hour(9)) }, 2).await,
        [4, 3]
    );
    let alias = EventsOf::Alias("even".into());
    assert_eq!(numbers(all(alias.clone()), 10).await, [0, 0, 1, 2, 2, 3, 4, 4]);
    assert_eq!(numbers(newest(&alias), 3).await, [4, 4, 3]);
    let of_alias = AssetEventFilter { after: Some(hour(3)), ..newest(&alias) };
    assert_eq!(numbers(of_alias, 10).await, [4, 4, 3]);
    let named = events(h, &newest(&alias), 2).await;
    let told: Vec<&str> = named.iter().map(|event| &*event.asset.name).collect();
    assert_eq!(told, ["b", "a"], "of one moment, those noted last are the newest");
    assert_eq!(numbers(all(EventsOf::Alias("odd".into())), 10).await, [0; 0]);
}

/// Events go when they are old, and with their run; an asset without a newer event is not known any more.
pub async fn asset_events_go_with_time_and_with_their_run(h: &Harness) {
    let old = h.start("t", -1).await;
    if elsewhere(h, &old).await {
        return;
    }
    let told = [aliased("gone", "{}", &["x"]), aliased("stays", r#"{"n": 1}"#, &["x"])];
    h.engine.note_asset_events(attempt(&old), &told).await.unwrap();
    h.engine.set_attempt_state(attempt(&old), TaskState::Success).await.unwrap();
    h.engine.set_run_state("d", "r", RunState::Success).await.unwrap();
    h.clock.advance(HOUR * 48);
    let between = h.clock.now();
    let ti = TaskInstanceKey::new("d", "later", "t", -1).unwrap();
    let new = h.engine.start(&ti, 1).await.unwrap();
    h.engine.note_asset_events(&new, &[aliased("stays", r#"{"n": 2}"#, &["x"])]).await.unwrap();
    let stays = EventsOf::Asset(one(h, "stays").await.id);
    let retain = async |runs: Option<Timestamp>, reads: Timestamp| {
        let (epoch, at) = (Timestamp::UNIX_EPOCH, h.clock.now());
        let cutoffs = Cutoffs { runs, past_bytes: epoch, past_entries: epoch, reads, at, limit: 1000 };
        h.engine.db().retain(&cutoffs).await.unwrap()
    };
    assert_eq!(retain(None, Timestamp::UNIX_EPOCH).await.reads, 0);
    assert_eq!(extras(h, &all(stays.clone()), 10).await, [r#"{"n": 1}"#, r#"{"n": 2}"#]);

    // What is looked at once an hour is looked at again.
    h.clock.advance(HOUR * 2);
    assert_eq!(retain(None, between).await.reads, 2, "two events");
    assert_eq!(extras(h, &all(stays.clone()), 10).await, [r#"{"n": 2}"#]);
    assert_eq!(extras(h, &all(EventsOf::Alias("x".into())), 10).await, [r#"{"n": 2}"#]);
    assert_eq!(names(h, AssetNamed::Name("gone".into())).await, [""; 0]);
    assert_eq!(names(h, AssetNamed::Alias("x".into())).await, ["stays file://stays"]);

    h.engine.set_attempt_state(&new, TaskState::Success).await.unwrap();
    h.engine.set_run_state("d", "later", RunState::Success).await.unwrap();
    h.clock.advance(HOUR * 2);
    assert_eq!(retain(Some(h.clock.now()), between).await.runs, 2);
    assert_eq!(extras(h, &all(stays), 10).await, [""; 0]);
    assert_eq!(extras(h, &all(EventsOf::Alias("x".into())), 10).await, [""; 0]);
    assert_eq!(names(h, AssetNamed::Alias("x".into())).await, [""; 0]);
    assert_eq!(names(h, AssetNamed::Name("stays".into())).await, ["stays file://stays"]);
}
