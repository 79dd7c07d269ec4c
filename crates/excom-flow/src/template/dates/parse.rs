//! Dates from text: `strptime`, `fromisoformat`, and the common ways of writing a date that dateutil reads.

use jiff::civil;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};
use minijinja::{Error, Value};

use super::DateTime;
use super::datetime::calendar;
use crate::template::args::{fail, hinted};

/// The way back from `strftime`: what the format does not say is the first of January 1900, midnight.
pub(in crate::template) fn strptime(text: &str, format: &str) -> Result<DateTime, Error> {
    let wrong = || fail(format!("`{text}` does not have the form `{format}`"));
    let parsed = BrokenDownTime::parse(format, text).map_err(|_| wrong())?;
    // A year alone, or a month alone, is enough.
    let date = match parsed.to_date() {
        Ok(date) => date,
        Err(_) if parsed.month().is_none() || parsed.day().is_none() || parsed.year().is_none() => {
            let (month, day) = (parsed.month().unwrap_or(1), parsed.day().unwrap_or(1));
            civil::Date::new(parsed.year().unwrap_or(1900), month, day).map_err(|_| wrong())?
        }
        Err(_) => return Err(wrong()),
    };
    let time = parsed.to_time().unwrap_or_else(|_| {
        civil::Time::new(parsed.hour().unwrap_or(0), 0, 0, 0).unwrap_or_else(|_| civil::Time::midnight())
    });
    let zone = parsed.offset().map(fixed);
    Ok(DateTime::naive(date.to_datetime(time)).with_zone(zone))
}

fn fixed(offset: Offset) -> TimeZone {
    if offset == Offset::UTC { TimeZone::UTC } else { TimeZone::fixed(offset) }
}

/// `datetime.fromisoformat`.
pub(in crate::template) fn fromisoformat(text: &str) -> Result<DateTime, Error> {
    iso(text).ok_or_else(|| fail(format!("`{text}` is no date as ISO 8601 writes it")))
}

fn iso(text: &str) -> Option<DateTime> {
    let date = text.get(..10.min(text.len()))?;
    if text.len() < 8 || !date.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let pieces = jiff::fmt::temporal::DateTimeParser::new().parse_pieces(text).ok()?;
    let zone = pieces.to_numeric_offset().map(fixed);
    let time = pieces.time().unwrap_or_else(civil::Time::midnight);
    Some(DateTime::naive(pieces.date().to_datetime(time)).with_zone(zone))
}

/// `dateutil.parser.parse`, for ISO 8601 and the usual ways of writing dates with English names.
pub(in crate::template) fn dateutil(text: &str) -> Result<DateTime, Error> {
    const DATES: [&str; 14] = [
        "%Y-%m-%d",
        "%Y/%m/%d",
        "%Y%m%d",
        "%m/%d/%Y",
        "%m/%d/%y",
        "%d.%m.%Y",
        "%B %d %Y",
        "%b %d %Y",
        "%d %B %Y",
        "%d %b %Y",
        "%d-%b-%Y",
        "%A %d %B %Y",
        "%a %d %b %Y",
        "%Y-%m",
    ];
    const TIMES: [&str; 9] = [
        "",
        " %H:%M",
        " %H:%M:%S",
        " %H:%M:%S%.f",
        " %I:%M %p",
        " %I:%M:%S %p",
        " %I %p",
        " %H:%M:%S %z",
        " %H:%M %z",
    ];
    let text = text.trim();
    if let Some(date) = iso(text) {
        return Ok(date);
    }
    // Commas and `T` only divide.
    let plain = text.replace(", ", " ").replace(',', " ");
    for date in DATES {
        for time in TIMES {
            if let Ok(date) = strptime(&plain, &format!("{date}{time}")) {
                return Ok(date);
            }
        }
    }
    let hint = "write it as 2026-03-04T05:06:07, or name its form with macros.datetime.strptime";
    Err(hinted(format!("`{text}` is not read as a date"), hint))
}

/// A time zone, by name, or by what stands for one.
pub(in crate::template) fn zone(value: &Value) -> Result<TimeZone, Error> {
    let name = value.to_string();
    if name == "UTC" || name == "utc" || name == "Z" {
        return Ok(TimeZone::UTC);
    }
    if let Ok(offset) = jiff::fmt::strtime::BrokenDownTime::parse("%:z", &name) {
        return Ok(offset.offset().map_or(TimeZone::UTC, fixed));
    }
    TimeZone::get(&name).map_err(calendar_zone(&name))
}

fn calendar_zone(name: &str) -> impl FnOnce(jiff::Error) -> Error + '_ {
    move |error| fail(format!("there is no time zone `{name}`")).with_source(calendar(error))
}
