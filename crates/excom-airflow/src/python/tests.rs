//! What the recorded values do not have: earlier forms, malformed ones, and anything at all.

#![allow(clippy::needless_pass_by_value, reason = "literals are made for the call")]

use std::collections::{BTreeMap, BTreeSet, HashSet};

use excom_core::Value;
use jiff::civil;
use jiff::tz::{Offset, offset};
use jiff::{SignedDuration, Timestamp, Zoned};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

fn get<T: DeserializeOwned>(json: serde_json::Value) -> Result<T, String> {
    Value::of(&json).unwrap().get::<T>().map_err(|error| error.to_string())
}

fn object(class: &str, version: u64, data: serde_json::Value) -> serde_json::Value {
    json!({"__classname__": class, "__version__": version, "__data__": data})
}

fn datetime_of(version: u64, tz: serde_json::Value) -> Result<DateTime, String> {
    get(object("datetime.datetime", version, json!({"timestamp": 5400.5, "tz": tz})))
}

fn shown(version: u64, tz: serde_json::Value) -> String {
    datetime_of(version, tz).unwrap().to_string()
}

#[test]
fn datetimes_of_version_1_have_a_name_or_an_offset() {
    assert_eq!(shown(1, json!("UTC")), "1970-01-01T01:30:00.5+00:00");
    assert_eq!(shown(1, json!("Europe/Paris")), "1970-01-01T02:30:00.5+01:00");
    assert_eq!(shown(1, json!("EDT")), "1969-12-31T21:30:00.5-04:00");
    assert_eq!(shown(1, json!("PDT")), "1969-12-31T18:30:00.5-07:00");
    assert_eq!(shown(1, json!("CEST")), "1970-01-01T02:30:00.5+01:00");
    assert_eq!(shown(1, json!(7200)), "1970-01-01T03:30:00.5+02:00");
}

#[test]
fn zones_of_version_2_are_tuples_with_or_without_a_class() {
    let tuple = json!([7200, "pendulum.tz.timezone.FixedTimezone", 1, true]);
    assert_eq!(shown(2, tuple.clone()), "1970-01-01T03:30:00.5+02:00");
    assert_eq!(shown(2, object("builtins.tuple", 1, tuple)), "1970-01-01T03:30:00.5+02:00");
    assert_eq!(shown(2, json!(null)), "1970-01-01T01:30:00.5");
    // What Airflow writes for `timezone(timedelta(hours=5.5))` and cannot read: the instant is there.
    assert_eq!(
        shown(2, object("builtins.tuple", 1, json!(["", "", 0, false]))),
        "1970-01-01T01:30:00.5+00:00"
    );
}

#[test]
fn the_legacy_form_is_read() {
    let legacy = |name: &str, data: serde_json::Value| json!({"__type": name, "__var": data});
    assert_eq!(get::<Set<BTreeSet<u8>>>(legacy("set", json!([2, 1]))).unwrap().0, BTreeSet::from([1, 2]));
    assert_eq!(get::<FrozenSet<Vec<u8>>>(legacy("frozenset", json!([1]))).unwrap().0, [1]);
    assert_eq!(get::<Tuple<(u8, u8)>>(legacy("tuple", json!([1, 2]))).unwrap().0, (1, 2));
    let hour = TimeDelta(SignedDuration::from_hours(1));
    assert_eq!(get::<TimeDelta>(legacy("timedelta", json!(3600.0))).unwrap(), hour);
    assert_eq!(
        get::<DateTime>(legacy("datetime", json!(5400))).unwrap(),
        Timestamp::from_second(5400).unwrap().into()
    );
    let point: Object<BTreeMap<String, u8>> = get(legacy("shapes.Point", json!({"x": 1}))).unwrap();
    assert_eq!((point.class.as_str(), point.version, point.data["x"]), ("shapes.Point", 0, 1));
    let plainly = |json: serde_json::Value| plain(&Value::of(&json).unwrap()).as_str().to_owned();
    assert_eq!(plainly(legacy("dict", json!({"a": legacy("set", json!([1]))}))), r#"{"a":[1]}"#);
    assert_eq!(plainly(legacy("datetime", json!(5400.0))), r#""1970-01-01T01:30:00+00:00""#);
}

#[test]
fn values_that_have_lost_their_class_are_read() {
    assert_eq!(get::<Tuple<(u8, String)>>(json!([1, "a"])).unwrap().0, (1, "a".to_owned()));
    assert_eq!(
        get::<Set<HashSet<u8>>>(object("builtins.tuple", 1, json!([1]))).unwrap().0,
        HashSet::from([1])
    );
    assert_eq!(get::<Date>(json!("2026-11-21")).unwrap().0, civil::date(2026, 11, 21));
    assert_eq!(get::<TimeDelta>(json!("1.5")).unwrap().0, SignedDuration::from_millis(1500));
    assert_eq!(get::<Decimal>(json!(1.5)).unwrap().as_str(), "1.5");
    assert_eq!(get::<Decimal>(json!("1.50")).unwrap().as_str(), "1.50");
    assert_eq!(get::<Numpy<u8>>(json!(7)).unwrap().0, 7);
    assert_eq!(get::<Zone>(json!("Europe/Paris")).unwrap(), Zone::Named("Europe/Paris".to_owned()));
    for text in ["2026-11-21T10:30:00.5+02:00", "2026-11-21T08:30:00.5Z", "2026-11-21 10:30:00.5"] {
        let time: DateTime = get(json!(text)).unwrap();
        assert_eq!(time.to_string(), text.replace('Z', "+00:00").replace(' ', "T"));
    }
}

#[test]
fn digits_of_a_decimal_survive_as_number_too() {
    let value =
        Value::parse(r#"{"__version__":1,"__data__":1.10,"__classname__":"decimal.Decimal"}"#).unwrap();
    assert_eq!(value.get::<Decimal>().unwrap().as_str(), "1.10");
    for text in [
        "12",
        "-0",
        "0.10",
        "1E+3",
        "1e-7",
        ".5",
        "5.",
        "NaN",
        "-Infinity",
        "99999999999999999999999999999999999999999",
    ] {
        let decimal: Decimal = text.parse().unwrap();
        assert_eq!(Value::of(&decimal).unwrap().get::<Decimal>().unwrap().as_str(), text);
    }
    for text in ["", ".", "-", "1,5", "0x1", "1e", "e1", "one", "1 "] {
        assert!(text.parse::<Decimal>().unwrap_err().to_string().contains("expected a decimal number"));
    }
}

#[test]
fn what_does_not_fit_says_what_it_is() {
    let refused = |error: Result<Date, String>, part: &str| {
        let error = error.unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    refused(
        get(object("builtins.set", 1, json!([]))),
        "expected a date, found an object of the Python class `builtins.set`",
    );
    refused(
        get(object("datetime.date", 3, json!("2026-11-21"))),
        "version 3, and the newest that is known is 2",
    );
    refused(get(object("", 1, json!(null))), "names no class");
    refused(get(json!({"a": 1})), "expected a date, found a dict without a Python class");
    refused(
        get(json!({"__classname__": "datetime.date", "__data__": "2026-11-21"})),
        "without a Python class",
    );
    refused(
        get(json!({"__classname__": 5, "__version__": 1})),
        "$.__classname__: expected a string, found 5",
    );
    refused(get(object("datetime.date", 2, json!("soon"))), "$.__data__: ");
    refused(get(object("datetime.date", 2, json!(5))), "$.__data__: ");
    assert!(get::<Tuple<(u8,)>>(json!({"__classname__": "builtins.tuple", "__version__": 1})).is_err());
    assert!(
        get::<Numpy<f64>>(object("numpy.complex128", 1, json!(1.0)))
            .unwrap_err()
            .contains("numpy.complex128")
    );
    assert!(
        get::<Numpy<i8>>(object("numpy.int64", 1, json!(1000))).unwrap_err().contains("from -128 to 127")
    );
    assert!(get::<Object<u8>>(json!(5)).unwrap_err().contains("found a plain value"));
    assert!(datetime_of(2, json!([1e9, "", 1, true])).is_err());
    let far = object("datetime.datetime", 2, json!({"timestamp": 1e12, "tz": null}));
    assert!(get::<DateTime>(far).unwrap_err().contains("no calendar has"));
}

#[test]
fn a_field_has_its_plain_type() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Fields {
        #[serde(with = "datetime")]
        instant: Timestamp,
        #[serde(with = "datetime")]
        zoned: Zoned,
        #[serde(with = "datetime")]
        naive: civil::DateTime,
        #[serde(with = "date")]
        day: civil::Date,
        #[serde(with = "timedelta")]
        span: SignedDuration,
        #[serde(with = "tuple")]
        pair: (u8, String),
        #[serde(with = "set")]
        tags: BTreeSet<String>,
        #[serde(with = "frozenset")]
        frozen: Vec<u8>,
        #[serde(with = "uuid")]
        id: ::uuid::Uuid,
        #[serde(with = "numpy")]
        mean: f32,
    }
    let noon = civil::date(2026, 7, 1).at(12, 0, 0, 123_456_000);
    let fields = Fields {
        instant: "2026-11-21T00:00:00.000001Z".parse().unwrap(),
        zoned: noon.in_tz("America/New_York").unwrap(),
        naive: noon,
        day: noon.date(),
        span: SignedDuration::from_micros(-1),
        pair: (1, "a".to_owned()),
        tags: BTreeSet::from(["new".to_owned()]),
        frozen: vec![1],
        id: ::uuid::Uuid::from_u128(7),
        mean: 1.1,
    };
    let value = Value::of(&fields).unwrap();
    assert_eq!(value.get::<Fields>().unwrap(), fields);
    assert_eq!(value.as_str().matches("__classname__").count(), 12);

    let with = |name: &str, value: serde_json::Value| {
        let mut tree: serde_json::Value = serde_json::to_value(&fields).unwrap();
        tree[name] = value;
        get::<Fields>(tree).unwrap_err()
    };
    let naive = json!("2026-11-21T00:00:00");
    assert!(
        with("instant", naive.clone())
            .contains("$.instant: expected a datetime with a zone, found 2026-11-21")
    );
    assert!(with("zoned", naive).contains("with a zone"));
    assert!(with("naive", json!("2026-11-21T00:00:00Z")).contains("expected a datetime without a zone"));
    let mars = object(
        "datetime.datetime",
        2,
        json!({"timestamp": 0, "tz": ["Mars/Base", "zoneinfo.ZoneInfo", 1, true]}),
    );
    assert!(with("zoned", mars.clone()).contains("cannot be had here"));
    // The instant does not need the zone.
    assert_eq!(plain(&Value::of(&mars).unwrap()).as_str(), r#""1970-01-01T00:00:00+00:00""#);
}

/// Serde buffers what it flattens and what it tries; only a `Decimal` needs the text itself.
#[test]
fn buffered_values_are_read() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        day: Option<Date>,
        tags: Set<BTreeSet<u8>>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        id: u8,
        #[serde(flatten)]
        inner: Inner,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Time(DateTime),
        Pair(Tuple<(u8, u8)>),
    }
    let outer: Outer =
        get(json!({"id": 1, "day": null, "tags": object("builtins.set", 1, json!([2]))})).unwrap();
    assert_eq!(outer, Outer { id: 1, inner: Inner { day: None, tags: Set(BTreeSet::from([2])) } });
    let either: Either = get(object("builtins.tuple", 1, json!([1, 2]))).unwrap();
    assert_eq!(either, Either::Pair(Tuple((1, 2))));
}

#[test]
fn a_zone_is_written_as_old_readers_have_it() {
    let written =
        |zone: Zone| Value::of(&DateTime::new(Timestamp::UNIX_EPOCH, zone)).unwrap().as_str().to_owned();
    let fixed = written(Zone::Fixed(Offset::from_seconds(19_800).unwrap()));
    assert!(fixed.contains(r#"[19800,"pendulum.tz.timezone.FixedTimezone",1,true]"#), "{fixed}");
    assert!(written(Zone::Utc).contains(r#"["UTC","pendulum.tz.timezone.FixedTimezone",1,true]"#));
    let paris = written(Zone::Named("Europe/Paris".to_owned()));
    assert!(paris.contains(r#"["Europe/Paris","zoneinfo.ZoneInfo",1,true]"#), "{paris}");
}

#[test]
fn plain_keeps_what_is_no_object() {
    for json in [
        r#"{"b": 1.0, "a": [1E2, "é"], "b": 3}"#,
        r#"{"__classname__": "os.system"}"#,
        r#""__classname__""#,
        "123456789012345678901234567890",
    ] {
        let value = Value::parse(json).unwrap();
        let plain = plain(&value);
        assert_eq!(plain.as_str().replace(' ', ""), json.replace(' ', ""));
    }
    let odd = json!([
        {"__classname__": 5, "__version__": 1},
        {"__classname__": "a.B", "__version__": "1", "__data__": 1},
    ]);
    assert_eq!(plain(&Value::of(&odd).unwrap()).get::<serde_json::Value>().unwrap(), odd);
    // Names of an object may be written with escapes, like any text.
    let escaped = r#"{"\u005f_classname__": "a.B", "__version__": 1, "__data__": {"x": 1.0}}"#;
    assert_eq!(plain(&Value::parse(escaped).unwrap()).as_str(), r#"{"x":1.0}"#);
    assert!(plain(&Value::parse(r#"{"__classname__": "a.B", "__version__": 1}"#).unwrap()).is_null());
}

#[test]
fn no_value_is_code() {
    for class in ["os.system", "builtins.eval", "subprocess.Popen", "airflow.models.Connection"] {
        let value = Value::of(&object(class, 0, json!({"command": "touch /tmp/never"}))).unwrap();
        let read: Object<BTreeMap<String, String>> = value.get().unwrap();
        assert_eq!((read.class.as_str(), read.data["command"].as_str()), (class, "touch /tmp/never"));
        assert_eq!(plain(&value).as_str(), r#"{"command":"touch /tmp/never"}"#);
        assert!(value.get::<DateTime>().is_err());
    }
}

#[test]
fn plain_goes_as_deep_as_values_do() {
    let depth = 60;
    let text = format!(
        "{}1{}",
        r#"[{"__classname__":"builtins.set","__version__":1,"__data__":"#.repeat(depth),
        "}]".repeat(depth)
    );
    let value = Value::parse(text).unwrap();
    assert_eq!(plain(&value).as_str(), format!("{}1{}", "[".repeat(depth), "]".repeat(depth)));
}

/// JSON that looks like Python's values and is not always.
fn nearly() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "UTC|EDT|Europe/Paris|2026-11-21|2026-11-21T10:30:00|12|.{0,6}".prop_map(Into::into),
    ];
    let class = "builtins.(tuple|set|frozenset)|datetime.(datetime|date|timedelta)|decimal.Decimal|uuid.UUID\
                 |numpy.int64|zoneinfo.ZoneInfo|set|dict|a.B|";
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let name = "__classname__|__version__|__data__|__type|__var|timestamp|tz|a";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((name, inner.clone()), 0..4)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
            (class, 0u64..4, inner.clone()).prop_map(|(class, version, data)| object(&class, version, data)),
            (class, inner.clone()).prop_map(|(name, data)| json!({"__type": name, "__var": data})),
            (inner.clone(), inner).prop_map(|(timestamp, tz)| json!({"timestamp": timestamp, "tz": tz})),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_is_too_strange(json in nearly()) {
        let value = Value::of(&json).unwrap();
        drop(value.get::<DateTime>());
        drop(value.get::<Date>());
        drop(value.get::<TimeDelta>());
        drop(value.get::<Zone>());
        drop(value.get::<Decimal>());
        drop(value.get::<Uuid>());
        drop(value.get::<Numpy<f32>>());
        drop(value.get::<Set<BTreeSet<String>>>());
        drop(value.get::<Tuple<(Date, Option<Decimal>)>>());
        drop(value.get::<Object<Option<Tuple<Vec<DateTime>>>>>());
        drop(value.get::<Asset>());
        drop(value.get::<ObjectStoragePath>());
        Value::parse(plain(&value).bytes().clone()).unwrap();
    }

    /// What has no objects stays as it is, in meaning and in the order of names.
    #[test]
    fn plain_changes_objects_only(texts in prop::collection::vec(".{0,6}", 0..6), numbers in prop::collection::vec(any::<f64>(), 0..4)) {
        let dict: serde_json::Map<_, _> = texts.iter().map(|text| (text.clone(), json!(numbers))).collect();
        let json = json!([dict, texts, numbers]);
        let whole = Value::of(&json!({"set": object("builtins.set", 1, json.clone())})).unwrap();
        prop_assert_eq!(plain(&whole).as_str().to_owned(), Value::of(&json!({"set": json})).unwrap().as_str().to_owned());
    }

    #[test]
    fn datetimes_come_back(micros in -62_135_596_800_000_000i64..9_000_000_000_000_000, seconds in -86_399i32..86_400) {
        let at = Timestamp::from_microsecond(micros).unwrap();
        let zone = if seconds == 0 { Zone::Utc } else { Zone::Fixed(Offset::from_seconds(seconds).unwrap()) };
        let time = DateTime::new(at, zone);
        let back: DateTime = Value::of(&time).unwrap().get().unwrap();
        prop_assert_eq!(back.zone(), time.zone());
        let apart = (back.timestamp().unwrap().as_microsecond() - micros).abs();
        // Beyond 2242, and before 1697, a double has no room for every microsecond; Python's are the same.
        prop_assert!(apart <= if micros.abs() < 1_000_000 << 33 { 0 } else { 8 }, "{} {}", time, back);
    }

    #[test]
    fn decimals_come_back(text in "-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?") {
        let decimal: Decimal = text.parse().unwrap();
        let value = Value::of(&decimal).unwrap();
        prop_assert_eq!(value.get::<Decimal>().unwrap(), decimal);
    }
}

#[test]
fn offsets_of_whole_hours_are_fixed_zones() {
    assert_eq!(Zone::from(&offset(0).to_time_zone()), Zone::Utc);
    assert_eq!(Zone::from(&offset(2).to_time_zone()), Zone::Fixed(offset(2)));
    let zoned: Zoned = "2026-07-01T12:00[Europe/Paris]".parse().unwrap();
    assert_eq!(DateTime::from(&zoned).zone(), Some(&Zone::Named("Europe/Paris".to_owned())));
}
