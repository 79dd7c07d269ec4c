//! The same values as in `values.py`, as Rust has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use excom_airflow::python::{
    Asset, AssetAlias, Date, DateTime, Decimal, FrozenSet, Moment as _, Numpy, Object, ObjectStoragePath,
    Set, TimeDelta, Tuple, Uuid, Zone,
};
use excom_core::Value;
use jiff::SignedDuration;
use jiff::civil::{date, datetime};
use jiff::tz::{Offset, offset};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A value of the table.
pub(crate) struct Row {
    /// Its name in `values.py`.
    pub(crate) name: &'static str,
    /// Reads what Airflow wrote and asserts that it is the value.
    pub(crate) read: Box<dyn Fn(&Value)>,
    /// What Excom writes for it.
    pub(crate) written: Value,
    /// Why that is other than what Airflow writes, if it is.
    pub(crate) differs: Option<&'static str>,
    /// What is left of it without Python's types; where it is not, what Airflow wrote is plain.
    pub(crate) plain: Option<serde_json::Value>,
}

impl Row {
    /// Excom writes it in another form.
    fn differs(mut self, why: &'static str) -> Self {
        self.differs = Some(why);
        self
    }

    fn plain(mut self, plain: serde_json::Value) -> Self {
        self.plain = Some(plain);
        self
    }
}

fn row<T: Serialize + DeserializeOwned + PartialEq + Debug + 'static>(name: &'static str, value: T) -> Row {
    let written = Value::of(&value).unwrap();
    let read = Box::new(move |json: &Value| assert_eq!(json.get::<T>().unwrap(), value, "{name}"));
    Row { name, read, written, differs: None, plain: None }
}

fn time(at: &str, zone: Zone) -> DateTime {
    DateTime::new(at.parse().unwrap(), zone)
}

fn decimal(digits: &str) -> Decimal {
    digits.parse().unwrap()
}

fn paris() -> Zone {
    Zone::Named("Europe/Paris".to_owned())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Outer {
    x: i64,
    inner: Inner,
    tags: Vec<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    name: String,
}

/// A field may have Python's form by its type, or by a module.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Defined {
    x: i64,
    #[serde(with = "excom_airflow::python::datetime")]
    when: jiff::Timestamp,
}

/// Pydantic writes plain JSON for its fields, dates too.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Model {
    n: i64,
    when: jiff::Timestamp,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Own {
    text: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Ordered {
    b: u8,
    a: Vec<Set<BTreeSet<u8>>>,
}

const PENDULUM: &str = "it is written as the class of the standard library, which pendulum's is made of";

pub(crate) fn table() -> Vec<Row> {
    let new_year = "2024-01-02T03:04:05Z";
    let naive = datetime(2024, 1, 2, 3, 4, 5, 678_901_000).to_python().unwrap();
    let india = Offset::from_seconds(19_800).unwrap();
    let two = Zone::Fixed(offset(2));
    let mut asset = Asset::new("days", "s3://weather/days");
    asset.extra.insert("a".to_owned(), json!(1));
    asset.access_control = Some(json!({
        "__classname__": "airflow.sdk.definitions.asset.access_control.AssetAccessControl",
        "__version__": 0,
        "__data__": {"producer_teams": [], "consumer_teams": null, "allow_global": true},
    }));
    let plain_asset = json!({
        "name": "days", "uri": "s3://weather/days", "group": "asset", "extra": {"a": 1}, "watchers": [],
        "access_control": {"producer_teams": [], "consumer_teams": null, "allow_global": true},
    });
    let when = "2024-01-02T00:00:00Z".parse().unwrap();
    vec![
        row("naive", naive).plain(json!("2024-01-02T03:04:05.678901")),
        row("utc", time(new_year, Zone::Utc)).plain(json!("2024-01-02T03:04:05+00:00")),
        row("before 1970", time("1901-12-13T20:45:52.000001Z", Zone::Utc))
            .plain(json!("1901-12-13T20:45:52.000001+00:00")),
        row("named zone", time("2024-07-01T10:00:00Z", paris())).plain(json!("2024-07-01T12:00:00+02:00")),
        // Airflow has lost the offset; the instant is right.
        row("fixed offset", time("2024-01-01T21:34:05Z", Zone::Utc))
            .differs("Airflow cannot read what it writes for it")
            .plain(json!("2024-01-01T21:34:05+00:00")),
        row("pendulum utc", time("2024-01-02T00:00:00Z", Zone::Utc))
            .differs(PENDULUM)
            .plain(json!("2024-01-02T00:00:00+00:00")),
        row("pendulum zone", time("2024-07-01T10:00:00Z", paris()))
            .differs(PENDULUM)
            .plain(json!("2024-07-01T12:00:00+02:00")),
        row("pendulum offset", time("2024-01-01T22:00:00Z", two))
            .differs(PENDULUM)
            .plain(json!("2024-01-02T00:00:00+02:00")),
        row("date", Date(date(2024, 1, 2))).plain(json!("2024-01-02")),
        row("pendulum date", Date(date(2024, 1, 2))).differs(PENDULUM).plain(json!("2024-01-02")),
        row("timedelta", TimeDelta(SignedDuration::new(86_401, 5_000))).plain(json!(86_401.000_005)),
        row("whole timedelta", TimeDelta(SignedDuration::from_mins(-1))).plain(json!(-60.0)),
        row("zone", paris()).plain(json!("Europe/Paris")),
        row("pendulum timezone", paris()).differs(PENDULUM).plain(json!("Europe/Paris")),
        row("pendulum fixed", Zone::Fixed(offset(-1))).plain(json!(-3600)),
        row("pendulum fixed utc", Zone::Utc).plain(json!("UTC")),
        row("tuple", Tuple((1_u8, "a".to_owned()))).plain(json!([1, "a"])),
        row("empty tuple", Tuple(Vec::<u8>::new())).plain(json!([])),
        row(
            "tuples inside",
            BTreeMap::from([(
                "a".to_owned(),
                vec![Tuple((1, Tuple((2.5, None)))), Tuple((3, Tuple((4.5, Some("b".to_owned())))))],
            )]),
        )
        .plain(json!({"a": [[1, [2.5, null]], [3, [4.5, "b"]]]})),
        row("named tuple", Tuple((1, 2))).plain(json!([1, 2])),
        row("set", Set(BTreeSet::from([1, 2, 3]))).plain(json!([1, 2, 3])),
        row("frozenset", FrozenSet(BTreeSet::from(["a".to_owned()]))).plain(json!(["a"])),
        row("whole decimal", Decimal::from(12)).plain(json!(12)),
        row("decimal", decimal("-9.5")).plain(json!(-9.5)),
        row("digits of a decimal", decimal("1.1")).plain(json!(1.1)),
        row("long decimal", decimal("1.2345678901234567e+19"))
            .differs("text keeps the digits as they are")
            .plain(json!(1.234_567_890_123_456_7e19)),
        row("large decimal", decimal("123456789012345678901234567890"))
            .plain(serde_json::from_str("123456789012345678901234567890").unwrap()),
        row("uuid", Uuid("01234567-89ab-cdef-0123-456789abcdef".parse().unwrap()))
            .plain(json!("01234567-89ab-cdef-0123-456789abcdef")),
        row("numpy int8", Numpy(-5_i8)).plain(json!(-5)),
        row("numpy int64", Numpy(5_i64)).plain(json!(5)),
        row("numpy uint64", Numpy(u64::MAX)).plain(json!(u64::MAX)),
        row("numpy float16", Numpy(0.5_f32)).differs("Rust's smallest float has 32 bits").plain(json!(0.5)),
        row("numpy float32", Numpy(1.1_f32)).plain(json!(1.100_000_023_841_858)),
        row("numpy float64", Numpy(1.1_f64)).plain(json!(1.1)),
        row("numpy bool", Numpy(true)).plain(json!(true)),
        row("int enum", 1_u8),
        row("text enum", "r".to_owned()),
        row("ordered dict", Ordered { b: 1, a: vec![Set(BTreeSet::from([2]))] })
            .plain(json!({"b": 1, "a": [[2]]})),
        row(
            "dataclass",
            Object::new(
                "values.Outer",
                3,
                Outer { x: 1, inner: Inner { name: "a".to_owned() }, tags: vec![1, 2] },
            ),
        )
        .plain(json!({"x": 1, "inner": {"name": "a"}, "tags": [1, 2]})),
        row("attrs", Object::new("values.Defined", 0, Defined { x: 1, when }))
            .plain(json!({"x": 1, "when": "2024-01-02T00:00:00+00:00"})),
        row("pydantic", Object::new("values.Model", 1, Model { n: 1, when }))
            .plain(json!({"n": 1, "when": "2024-01-02T00:00:00Z"})),
        row("own", Object::new("values.Own", 2, Own { text: "a".to_owned() })).plain(json!({"text": "a"})),
        row("asset", asset).plain(plain_asset),
        row("asset alias", AssetAlias::new("days")).plain(json!({"name": "days", "group": "asset"})),
        row("path", ObjectStoragePath::new("file:///data/days.csv"))
            .plain(json!({"path": "file:///data/days.csv", "conn_id": null, "kwargs": {}})),
    ]
    .into_iter()
    .map(|row| match row.name {
        // What a Rust program has, where Airflow had lost something on the way to it.
        "fixed offset" => rewritten(row, &time("2024-01-01T21:34:05Z", Zone::Fixed(india))),
        "digits of a decimal" => rewritten(row, &decimal("1.10")).differs("text keeps the last digit"),
        "long decimal" => rewritten(row, &decimal("12345678901234567890.123456789")),
        _ => row,
    })
    .collect()
}

fn rewritten<T: Serialize>(mut row: Row, value: &T) -> Row {
    row.written = Value::of(value).unwrap();
    row
}
