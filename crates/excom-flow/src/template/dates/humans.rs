//! How long ago something was, in words, with the rounding of pendulum.

use jiff::{SpanRound, Timestamp, Unit};
use minijinja::Error;

use super::DateTime;
use super::datetime::calendar;

/// The difference to another moment (`2 hours before`), or to now (`2 hours ago`).
pub(in crate::template) fn difference(date: &DateTime, other: Option<&DateTime>) -> Result<String, Error> {
    let now: Timestamp = crate::template::macros::now();
    let (one, two) = (date.zoned()?, other.map_or_else(|| DateTime::utc(now).zoned(), DateTime::zoned)?);
    let future = one > two;
    let (first, last) = if future { (&two, &one) } else { (&one, &two) };
    let span = first.datetime().until((Unit::Year, last.datetime())).map_err(calendar)?;
    let span =
        span.round(SpanRound::new().smallest(Unit::Second).largest(Unit::Year).relative(first.datetime()));
    let span = span.map_err(calendar)?;
    let (years, months) = (i64::from(span.get_years()), i64::from(span.get_months()));
    let days = i64::from(span.get_days()) + 7 * i64::from(span.get_weeks());
    let (weeks, remaining_days) = (days / 7, days % 7);
    let (hours, minutes, seconds) = (i64::from(span.get_hours()), span.get_minutes(), span.get_seconds());
    let (count, unit) = if years > 0 {
        (years + i64::from(months > 6), "year")
    } else if months == 11 && days > 15 {
        (1, "year")
    } else if months > 0 {
        (months + i64::from(days >= 27), "month")
    } else if weeks > 0 {
        (weeks + i64::from(remaining_days > 3), "week")
    } else if remaining_days > 0 {
        (remaining_days + i64::from(hours >= 22), "day")
    } else if hours > 0 {
        (hours, "hour")
    } else if minutes > 0 {
        (minutes, "minute")
    } else if seconds > 10 {
        (seconds, "second")
    } else {
        (0, "")
    };
    let amount = match (count, unit) {
        (_, "") => "a few seconds".to_owned(),
        (1, unit) => format!("1 {unit}"),
        (count, unit) => format!("{count} {unit}s"),
    };
    Ok(match (other.is_some(), future) {
        (true, true) => format!("{amount} after"),
        (true, false) => format!("{amount} before"),
        (false, true) => format!("in {amount}"),
        (false, false) => format!("{amount} ago"),
    })
}
