//! A moment: Python's `datetime`, with or without a time zone, and pendulum's `DateTime`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use jiff::civil::{self, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use minijinja::value::{Object, ObjectRepr, Tuple};
use minijinja::{Error, ErrorKind, State, Value};

use super::day::isocalendar;
use super::duration::{DAY, Duration, SECOND};
use super::{Date, Time, difference_for_humans, format, strftime, zone};
use crate::template::args::{Args, fail, hinted};

/// A moment.
#[derive(Debug, Clone)]
pub(in crate::template) struct DateTime {
    pub(super) civil: civil::DateTime,
    pub(super) zone: Option<TimeZone>,
    /// It has what pendulum adds.
    pub(in crate::template) pendulum: bool,
}

/// What an error of the calendar says.
#[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
pub(super) fn calendar(error: jiff::Error) -> Error {
    fail(format!("there is no such date: {error}"))
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.isoformat(' '))
    }
}

impl DateTime {
    pub(in crate::template) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }

    /// As Airflow's context has moments.
    pub(in crate::template) fn utc(moment: Timestamp) -> Self {
        Self::aware(&moment.to_zoned(TimeZone::UTC), true)
    }

    pub(super) fn aware(moment: &Zoned, pendulum: bool) -> Self {
        Self { civil: moment.datetime(), zone: Some(moment.time_zone().clone()), pendulum }
    }

    pub(in crate::template) fn naive(civil: civil::DateTime) -> Self {
        Self { civil, zone: None, pendulum: false }
    }

    /// The same clock in a zone.
    pub(in crate::template) fn in_zone_of(self, zone: TimeZone) -> Self {
        self.with_zone(Some(zone))
    }

    /// As `strftime` writes it, for formats that are known to be right.
    pub(in crate::template) fn text(&self, format: &str) -> String {
        strftime(format, self).unwrap_or_default()
    }

    pub(super) fn with_zone(self, zone: Option<TimeZone>) -> Self {
        Self { zone, ..self }
    }

    /// The moment; what has no zone counts as UTC.
    pub(super) fn zoned(&self) -> Result<Zoned, Error> {
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        self.civil.to_zoned(zone).map_err(calendar)
    }

    /// Seconds east of Greenwich.
    pub(super) fn offset(&self) -> Option<i32> {
        self.zone.as_ref()?;
        self.zoned().ok().map(|moment| moment.offset().seconds())
    }

    /// `+01:00`, with another sign between hours and minutes if told.
    pub(super) fn offset_text(&self, between: &str) -> Option<String> {
        let offset = self.offset()?;
        let (sign, seconds) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
        Some(format!("{sign}{:02}{between}{:02}", seconds / 3600, seconds / 60 % 60))
    }

    /// `UTC`, `CET`, `+01:00`.
    pub(super) fn zone_name(&self) -> Option<String> {
        let zone = self.zone.as_ref()?;
        if *zone == TimeZone::UTC {
            return Some("UTC".to_owned());
        }
        match zone.iana_name() {
            Some(_) => self.zoned().ok().map(|moment| moment.strftime("%Z").to_string()),
            None if self.pendulum => self.offset_text(":"),
            None => self.offset_text(":").map(|offset| format!("UTC{offset}")),
        }
    }

    /// What the zone is called, rather than its time of the year.
    fn timezone_name(&self) -> Option<String> {
        let name = self.zone.as_ref()?.iana_name().map(ToOwned::to_owned);
        name.or_else(|| self.zone_name())
    }

    fn micros(&self) -> i32 {
        self.civil.subsec_nanosecond() / 1000
    }

    pub(in crate::template) fn isoformat(&self, between: char) -> String {
        let time = Time(self.civil.time());
        format!("{}{between}{time}{}", self.civil.date(), self.offset_text(":").unwrap_or_default())
    }

    pub(super) fn repr(&self) -> String {
        let (date, time) = (self.civil.date(), self.civil.time());
        let mut parts = vec![date.year().to_string(), date.month().to_string(), date.day().to_string()];
        parts.extend([time.hour().to_string(), time.minute().to_string()]);
        if self.pendulum || time.second() != 0 || self.micros() != 0 {
            parts.push(time.second().to_string());
        }
        if self.micros() != 0 {
            parts.push(self.micros().to_string());
        }
        if let (Some(name), Some(offset)) = (self.timezone_name(), self.offset()) {
            let utc = self.zone == Some(TimeZone::UTC);
            parts.push(match (self.pendulum, utc) {
                (true, _) => format!("tzinfo=Timezone('{name}')"),
                (false, true) => "tzinfo=datetime.timezone.utc".to_owned(),
                (false, false) => {
                    let span = Duration { micros: i128::from(offset) * SECOND, between: None };
                    format!("tzinfo=datetime.timezone({})", span.repr())
                }
            });
        }
        let name = if self.pendulum { "DateTime" } else { "datetime.datetime" };
        format!("{name}({})", parts.join(", "))
    }

    fn as_timestamp(&self) -> Result<Timestamp, Error> {
        self.zoned().map(|moment| moment.timestamp())
    }

    fn comparable(&self, other: &Self) -> Result<(), Error> {
        if self.zone.is_some() == other.zone.is_some() {
            return Ok(());
        }
        Err(fail("a date with a time zone and one without cannot be put together"))
    }

    pub(super) fn order(&self, other: &Self) -> Result<Ordering, Error> {
        self.comparable(other)?;
        Ok(self.as_timestamp()?.cmp(&other.as_timestamp()?))
    }

    /// `self - other`.
    pub(super) fn since(&self, other: &Self) -> Result<Duration, Error> {
        self.comparable(other)?;
        let micros = |moment: &Self| moment.as_timestamp().map(|moment| i128::from(moment.as_microsecond()));
        let mut span = Duration::new(micros(self)? - micros(other)?)?;
        if self.pendulum || other.pendulum {
            span.between = Some(Box::new((other.clone(), self.clone())));
        }
        Ok(span)
    }

    /// Moved by a span: by days of the calendar, and then by the clock.
    pub(super) fn moved(&self, micros: i128) -> Result<Self, Error> {
        let range = || fail("the date is out of range");
        let days = i64::try_from(micros / DAY).map_err(|_| range())?;
        let rest = i64::try_from(micros % DAY).map_err(|_| range())?;
        let span =
            Span::new().try_days(days).and_then(|span| span.try_microseconds(rest)).map_err(calendar)?;
        self.shifted(span)
    }

    fn shifted(&self, span: Span) -> Result<Self, Error> {
        if self.zone.is_none() {
            let civil = self.civil.checked_add(span).map_err(calendar)?;
            return Ok(Self { civil, ..self.clone() });
        }
        let moment = self.zoned()?.checked_add(span).map_err(calendar)?;
        Ok(Self::aware(&moment, self.pendulum))
    }

    /// pendulum's `add` and `subtract`: months of the calendar first, then days, then the clock.
    fn added(&self, args: &mut Args<'_>, sign: i64) -> Result<Self, Error> {
        let mut number = |name, unit: i64| {
            let number = args.optional_integer(name)?.unwrap_or(0);
            number.checked_mul(unit * sign).ok_or_else(|| fail("the date is out of range"))
        };
        let months = number("years", 12)?.saturating_add(number("months", 1)?);
        let days = number("weeks", 7)?.saturating_add(number("days", 1)?);
        let hours = number("hours", 3_600_000_000)?.saturating_add(number("minutes", 60_000_000)?);
        let micros =
            hours.saturating_add(number("seconds", 1_000_000)?).saturating_add(number("microseconds", 1)?);
        let span = |span: Result<Span, jiff::Error>| span.map_err(calendar);
        self.shifted(span(Span::new().try_months(months))?)?
            .shifted(span(Span::new().try_days(days))?)?
            .shifted(span(Span::new().try_microseconds(micros))?)
    }

    fn replaced(&self, args: &mut Args<'_>) -> Result<Self, Error> {
        let mut with = self.civil.with();
        let narrow = |number: i64| i8::try_from(number).unwrap_or(i8::MAX);
        if let Some(year) = args.optional_integer("year")? {
            with = with.year(i16::try_from(year).unwrap_or(i16::MAX));
        }
        if let Some(month) = args.optional_integer("month")? {
            with = with.month(narrow(month));
        }
        if let Some(day) = args.optional_integer("day")? {
            with = with.day(narrow(day));
        }
        if let Some(hour) = args.optional_integer("hour")? {
            with = with.hour(narrow(hour));
        }
        if let Some(minute) = args.optional_integer("minute")? {
            with = with.minute(narrow(minute));
        }
        if let Some(second) = args.optional_integer("second")? {
            with = with.second(narrow(second));
        }
        if let Some(micros) = args.optional_integer("microsecond")? {
            let nanos = i32::try_from(micros.saturating_mul(1000)).unwrap_or(i32::MAX);
            with = with.subsec_nanosecond(nanos);
        }
        let mut zone_now = self.zone.clone();
        if let Some(given) = args.optional("tzinfo")? {
            zone_now = if given.is_none() { None } else { Some(zone(&given)?) };
        }
        let civil = with.build().map_err(calendar)?;
        Ok(Self { civil, zone: zone_now, pendulum: self.pendulum })
    }

    /// The first moment of the unit that it is in.
    fn start_of(&self, unit: &str) -> Result<civil::DateTime, Error> {
        let date = self.civil.date();
        let day = |date: civil::Date| date.to_datetime(civil::Time::midnight());
        let of_hour = |minute: i8, second: i8| date.at(self.civil.hour(), minute, second, 0);
        let year = i32::from(date.year());
        let january =
            |year: i32| civil::Date::new(i16::try_from(year).unwrap_or(1), 1, 1).map(day).map_err(calendar);
        Ok(match unit {
            "second" => of_hour(self.civil.minute(), self.civil.second()),
            "minute" => of_hour(self.civil.minute(), 0),
            "hour" => of_hour(0, 0),
            "day" => day(date),
            "week" => {
                let back = i64::from(date.weekday().to_monday_zero_offset());
                day(date.checked_sub(Span::new().days(back)).map_err(calendar)?)
            }
            "month" => day(date.first_of_month()),
            "year" => day(date.first_of_year()),
            "decade" => january(year - year % 10)?,
            "century" => january(year - 1 - (year - 1) % 100 + 1)?,
            _ => {
                let hint = "units are second, minute, hour, day, week, month, year, decade and century";
                return Err(hinted(format!("`{unit}` is no unit of dates"), hint));
            }
        })
    }

    fn end_of(&self, unit: &str) -> Result<civil::DateTime, Error> {
        let next = match unit {
            "second" => Span::new().seconds(1),
            "minute" => Span::new().minutes(1),
            "hour" => Span::new().hours(1),
            "day" => Span::new().days(1),
            "week" => Span::new().weeks(1),
            "month" => Span::new().months(1),
            "decade" => Span::new().years(10),
            "century" => Span::new().years(100),
            _ => Span::new().years(1),
        };
        let next = self.start_of(unit)?.checked_add(next).map_err(calendar)?;
        next.checked_sub(Span::new().microseconds(1)).map_err(calendar)
    }

    /// The next or the previous day of the week.
    fn weekday(&self, args: &mut Args<'_>, forward: bool) -> Result<Self, Error> {
        let now = i64::from(self.civil.weekday().to_monday_zero_offset());
        let wanted = args.optional_integer("day_of_week")?.unwrap_or(now);
        if !(0..7).contains(&wanted) {
            return Err(fail("a day of the week is 0 (Monday) to 6"));
        }
        let days = if forward { (wanted - now + 6) % 7 + 1 } else { -((now - wanted + 6) % 7 + 1) };
        let date = self.civil.date().checked_add(Span::new().days(days)).map_err(calendar)?;
        Ok(Self { civil: date.to_datetime(civil::Time::midnight()), ..self.clone() })
    }

    fn in_zone(&self, zone: TimeZone) -> Result<Self, Error> {
        Ok(Self::aware(&self.zoned()?.with_time_zone(zone), self.pendulum))
    }

    fn seconds(&self) -> Result<f64, Error> {
        #[expect(clippy::cast_precision_loss, reason = "as Python does")]
        self.as_timestamp().map(|moment| moment.as_microsecond() as f64 / 1e6)
    }

    fn pendulum_method(&self, method: &str, args: &mut Args<'_>) -> Result<Value, Error> {
        let now = || Self::utc(crate::template::macros::now());
        let moment = match method {
            "add" => self.added(args, 1)?,
            "subtract" => self.added(args, -1)?,
            "start_of" => Self { civil: self.start_of(&args.text("unit")?)?, ..self.clone() },
            "end_of" => Self { civil: self.end_of(&args.text("unit")?)?, ..self.clone() },
            "next" => self.weekday(args, true)?,
            "previous" => self.weekday(args, false)?,
            "set" => self.replaced(args)?,
            "in_timezone" | "in_tz" => self.in_zone(zone(&args.required("tz")?)?)?,
            "naive" => Self { zone: None, ..self.clone() },
            "format" => return Ok(Value::from(format::pendulum(&args.text("fmt")?, self)?)),
            "diff" => {
                let other = args.optional("dt")?;
                let other = other.as_ref().and_then(Self::of).cloned().unwrap_or_else(now);
                let (first, last) = if self.order(&other)?.is_le() { (self, &other) } else { (&other, self) };
                return last.since(first).map(Value::from_object);
            }
            "diff_for_humans" => {
                let other = args.optional("other")?;
                let other = other.as_ref().and_then(Self::of);
                return difference_for_humans(self, other).map(Value::from);
            }
            "to_date_string" => return Ok(Value::from(self.civil.date().to_string())),
            "to_time_string" => return Ok(Value::from(format::pendulum("HH:mm:ss", self)?)),
            "to_datetime_string" => return Ok(Value::from(format::pendulum("YYYY-MM-DD HH:mm:ss", self)?)),
            "to_day_datetime_string" => {
                return Ok(Value::from(format::pendulum("ddd, MMM D, YYYY h:mm A", self)?));
            }
            "to_formatted_date_string" => return Ok(Value::from(format::pendulum("MMM DD, YYYY", self)?)),
            "to_iso8601_string" => {
                let text = self.isoformat('T');
                let utc = self.zone == Some(TimeZone::UTC);
                return Ok(Value::from(if utc { text.replace("+00:00", "Z") } else { text }));
            }
            "is_leap_year" => return Ok(Value::from(self.civil.date().in_leap_year())),
            "is_future" => return Ok(Value::from(self.order(&now())?.is_gt())),
            "is_past" => return Ok(Value::from(self.order(&now())?.is_lt())),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        Ok(Value::from_object(moment))
    }

    fn method(&self, method: &str, args: &mut Args<'_>) -> Result<Value, Error> {
        let date = self.civil.date();
        Ok(match method {
            "strftime" => Value::from(strftime(&args.text("format")?, self)?),
            "isoformat" => {
                let between = args.optional_text("sep")?.and_then(|between| between.chars().next());
                Value::from(self.isoformat(between.unwrap_or('T')))
            }
            "date" => Value::from_object(Date(date)),
            "time" => Value::from_object(Time(self.civil.time())),
            "timestamp" => Value::from(self.seconds()?),
            "weekday" => Value::from(i64::from(date.weekday().to_monday_zero_offset())),
            "isoweekday" => Value::from(i64::from(date.weekday().to_monday_one_offset())),
            "isocalendar" => isocalendar(date),
            "toordinal" => {
                let days = date.duration_since(civil::date(1, 1, 1)).as_hours() / 24;
                Value::from(days + 1)
            }
            "replace" => Value::from_object(self.replaced(args)?),
            "astimezone" => {
                let given = args.optional("tz")?;
                Value::from_object(self.in_zone(given.map_or(Ok(TimeZone::UTC), |given| zone(&given))?)?)
            }
            "utcoffset" => match self.offset() {
                Some(offset) => Value::from_object(Duration::new(i128::from(offset) * SECOND)?),
                None => Value::from(()),
            },
            "tzname" => self.zone_name().map_or_else(|| Value::from(()), Value::from),
            "ctime" => Value::from(strftime("%a %b %e %H:%M:%S %Y", self)?),
            "timetuple" => {
                let (civil, weekday) = (self.civil, i16::from(date.weekday().to_monday_zero_offset()));
                let parts: [i16; 9] = [
                    civil.year(),
                    civil.month().into(),
                    civil.day().into(),
                    civil.hour().into(),
                    civil.minute().into(),
                    civil.second().into(),
                    weekday,
                    date.day_of_year(),
                    -1,
                ];
                Value::from(Tuple::from(parts.map(|part| Value::from(i64::from(part)))))
            }
            _ if self.pendulum => self.pendulum_method(method, args)?,
            "diff_for_humans" | "add" | "subtract" | "in_timezone" | "start_of" => {
                let message = format!("`{method}` is pendulum's, and this is a plain datetime");
                return Err(hinted(
                    message,
                    "dates of the context have it; others move by macros.timedelta(…)",
                ));
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        })
    }
}

impl Object for DateTime {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let (civil, date) = (self.civil, self.civil.date());
        let number = |number: i64| Some(Value::from(number));
        match name.as_str()? {
            "year" => number(civil.year().into()),
            "month" => number(civil.month().into()),
            "day" => number(civil.day().into()),
            "hour" => number(civil.hour().into()),
            "minute" => number(civil.minute().into()),
            "second" => number(civil.second().into()),
            "microsecond" => number(self.micros().into()),
            "tzinfo" => Some(self.timezone_name().map_or_else(|| Value::from(()), Value::from)),
            _ if !self.pendulum => None,
            "tz" | "timezone" | "timezone_name" => {
                Some(self.timezone_name().map_or_else(|| Value::from(()), Value::from))
            }
            "day_of_week" => number(date.weekday().to_monday_zero_offset().into()),
            "day_of_year" => number(date.day_of_year().into()),
            "week_of_year" => number(date.iso_week_date().week().into()),
            "week_of_month" => {
                let first = date.first_of_month().weekday().to_monday_zero_offset();
                number((i64::from(date.day()) + i64::from(first) - 1) / 7 + 1)
            }
            "days_in_month" => number(date.days_in_month().into()),
            "quarter" => number((i64::from(civil.month()) - 1) / 3 + 1),
            "int_timestamp" => self.as_timestamp().ok().map(|moment| Value::from(moment.as_second())),
            "float_timestamp" => self.seconds().ok().map(Value::from),
            "offset" => self.offset().map(Value::from),
            "offset_hours" => self.offset().map(|offset| Value::from(f64::from(offset) / 3600.0)),
            _ => None,
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let mut args = Args::new(method, args)?;
        let value = self.method(method, &mut args)?;
        args.end()?;
        Ok(value)
    }
}

/// The English name of a day.
pub(super) fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}
