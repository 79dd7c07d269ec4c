//! Dates, times and spans as templates have them: Python's `datetime`, and pendulum's, which Airflow's
//! context is made of.

mod datetime;
mod day;
mod duration;
mod format;
mod humans;
mod parse;

use std::cmp::Ordering;

use minijinja::{Error, Value};

pub(super) use datetime::DateTime;
pub(super) use day::{Date, Time};
pub(super) use duration::Duration;
pub(super) use format::{babel, strftime};
pub(super) use humans::difference as difference_for_humans;
pub(super) use parse::{dateutil, fromisoformat, strptime, zone};

/// `date + span`, `span + date` and `span + span`; none when that is not what is added.
pub(super) fn add(left: &Value, right: &Value) -> Result<Option<Value>, Error> {
    match (Duration::of(left), Duration::of(right)) {
        (Some(a), Some(b)) => Ok(Some(Value::from_object(a.plus(b.micros)?))),
        (None, Some(span)) => moved(left, span.micros),
        (Some(span), None) => moved(right, span.micros),
        (None, None) => Ok(None),
    }
}

/// `date - span`, `date - date` and `span - span`.
pub(super) fn subtract(left: &Value, right: &Value) -> Result<Option<Value>, Error> {
    if let (Some(a), Some(b)) = (DateTime::of(left), DateTime::of(right)) {
        return a.since(b).map(|span| Some(Value::from_object(span)));
    }
    if let (Some(a), Some(b)) = (Date::of(left), Date::of(right)) {
        return Ok(Some(Value::from_object(a.since(b))));
    }
    match (Duration::of(left), Duration::of(right)) {
        (Some(a), Some(b)) => Ok(Some(Value::from_object(a.plus(-b.micros)?))),
        (None, Some(span)) => moved(left, -span.micros),
        _ => Ok(None),
    }
}

fn moved(date: &Value, micros: i128) -> Result<Option<Value>, Error> {
    if let Some(date) = DateTime::of(date) {
        return date.moved(micros).map(|date| Some(Value::from_object(date)));
    }
    match Date::of(date) {
        Some(date) => date.moved(micros).map(|date| Some(Value::from_object(date))),
        None => Ok(None),
    }
}

/// Whether two values are equal; none when neither is a date or span.
pub(super) fn equal(left: &Value, right: &Value) -> Option<bool> {
    if let (Some(a), Some(b)) = (DateTime::of(left), DateTime::of(right)) {
        return Some(a.order(b).is_ok_and(Ordering::is_eq));
    }
    if let (Some(a), Some(b)) = (Duration::of(left), Duration::of(right)) {
        return Some(a.micros == b.micros);
    }
    if let (Some(a), Some(b)) = (Date::of(left), Date::of(right)) {
        return Some(a.0 == b.0);
    }
    if let (Some(a), Some(b)) = (Time::of(left), Time::of(right)) {
        return Some(a.0 == b.0);
    }
    type_name(left).or(type_name(right)).map(|_| false)
}

/// How two values are ordered; none when they are not both dates or both spans.
pub(super) fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, Error> {
    if let (Some(a), Some(b)) = (DateTime::of(left), DateTime::of(right)) {
        return a.order(b).map(Some);
    }
    if let (Some(a), Some(b)) = (Duration::of(left), Duration::of(right)) {
        return Ok(Some(a.micros.cmp(&b.micros)));
    }
    if let (Some(a), Some(b)) = (Time::of(left), Time::of(right)) {
        return Ok(Some(a.0.cmp(&b.0)));
    }
    Ok(Date::of(left).zip(Date::of(right)).map(|(a, b)| a.0.cmp(&b.0)))
}

/// What Python calls its type.
pub(super) fn type_name(value: &Value) -> Option<&'static str> {
    if let Some(date) = DateTime::of(value) {
        return Some(if date.pendulum { "DateTime" } else { "datetime" });
    }
    let name = Duration::of(value).map(|_| "timedelta");
    name.or(Date::of(value).map(|_| "date")).or(Time::of(value).map(|_| "time"))
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> Option<String> {
    let date = DateTime::of(value).map(DateTime::repr);
    let span = || Duration::of(value).map(Duration::repr);
    date.or_else(span).or_else(|| Date::of(value).map(Date::repr)).or_else(|| Time::of(value).map(Time::repr))
}

/// `value.strftime(format)`.
pub(super) fn formatted(value: &Value, format: &str) -> Option<Result<String, Error>> {
    if let Some(date) = DateTime::of(value) {
        return Some(strftime(format, date));
    }
    if let Some(date) = Date::of(value) {
        return Some(strftime(format, &date.midnight()));
    }
    Time::of(value).map(|time| strftime(format, &time.on_first_day()))
}

/// `value.isoformat()`.
pub(super) fn isoformat(value: &Value) -> Option<String> {
    let date = DateTime::of(value).map(|date| date.isoformat('T'));
    date.or_else(|| Date::of(value).map(|date| date.0.to_string()))
        .or_else(|| Time::of(value).map(ToString::to_string))
}
