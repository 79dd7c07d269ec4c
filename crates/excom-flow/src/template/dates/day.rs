//! Python's `date` and `time`: a day without a time, and a time without a day.

use std::fmt;
use std::sync::Arc;

use jiff::civil;
use minijinja::value::{Object, ObjectRepr, Tuple};
use minijinja::{Error, ErrorKind, State, Value};

use super::duration::DAY;
use super::{DateTime, Duration, strftime};
use crate::template::args::{Args, fail};

/// A day.
#[derive(Debug, Clone)]
pub(in crate::template) struct Date(pub(in crate::template) civil::Date);

/// A time of day.
#[derive(Debug, Clone)]
pub(in crate::template) struct Time(pub(in crate::template) civil::Time);

impl Date {
    pub(in crate::template) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }

    pub(super) fn midnight(&self) -> DateTime {
        DateTime::naive(self.0.to_datetime(civil::Time::midnight()))
    }

    pub(super) fn repr(&self) -> String {
        format!("datetime.date({}, {}, {})", self.0.year(), self.0.month(), self.0.day())
    }

    pub(super) fn since(&self, other: &Self) -> Duration {
        let days = self.0.duration_since(other.0).as_hours() / 24;
        Duration { micros: i128::from(days) * DAY, between: None }
    }

    pub(super) fn moved(&self, micros: i128) -> Result<Self, Error> {
        let days = i64::try_from(micros.div_euclid(DAY)).map_err(|_| fail("the date is out of range"))?;
        let span = jiff::Span::new().try_days(days).map_err(|e| fail(e.to_string()))?;
        self.0.checked_add(span).map(Self).map_err(|e| fail(e.to_string()))
    }
}

/// Year, week and day of week, as ISO 8601 counts them.
pub(super) fn isocalendar(date: civil::Date) -> Value {
    let week = date.iso_week_date();
    let numbers = [week.year(), week.week().into(), week.weekday().to_monday_one_offset().into()];
    Value::from(Tuple::from(numbers.map(|number| Value::from(i64::from(number)))))
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        write!(f, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())?;
        match time.subsec_nanosecond() / 1000 {
            0 => Ok(()),
            micros => write!(f, ".{micros:06}"),
        }
    }
}

impl Time {
    pub(in crate::template) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }

    pub(super) fn on_first_day(&self) -> DateTime {
        DateTime::naive(civil::date(1900, 1, 1).to_datetime(self.0))
    }

    pub(super) fn repr(&self) -> String {
        let mut parts = vec![self.0.hour().to_string(), self.0.minute().to_string()];
        let micros = self.0.subsec_nanosecond() / 1000;
        if self.0.second() != 0 || micros != 0 {
            parts.push(self.0.second().to_string());
        }
        if micros != 0 {
            parts.push(micros.to_string());
        }
        format!("datetime.time({})", parts.join(", "))
    }
}

impl Object for Date {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        Some(match name.as_str()? {
            "year" => Value::from(i64::from(self.0.year())),
            "month" => Value::from(i64::from(self.0.month())),
            "day" => Value::from(i64::from(self.0.day())),
            _ => return None,
        })
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let mut args = Args::new(method, args)?;
        let value = match method {
            "strftime" => Value::from(strftime(&args.text("format")?, &self.midnight())?),
            "isoformat" | "to_date_string" => Value::from(self.0.to_string()),
            "weekday" => Value::from(i64::from(self.0.weekday().to_monday_zero_offset())),
            "isoweekday" => Value::from(i64::from(self.0.weekday().to_monday_one_offset())),
            "isocalendar" => isocalendar(self.0),
            "replace" => {
                let (mut with, mut number) = (self.0.with(), |name| args.optional_integer(name));
                let narrow = |number: i64| i8::try_from(number).unwrap_or(i8::MAX);
                if let Some(year) = number("year")? {
                    with = with.year(i16::try_from(year).unwrap_or(i16::MAX));
                }
                if let Some(month) = number("month")? {
                    with = with.month(narrow(month));
                }
                if let Some(day) = number("day")? {
                    with = with.day(narrow(day));
                }
                Value::from_object(Self(with.build().map_err(|e| fail(e.to_string()))?))
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        args.end()?;
        Ok(value)
    }
}

impl Object for Time {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        Some(match name.as_str()? {
            "hour" => Value::from(i64::from(self.0.hour())),
            "minute" => Value::from(i64::from(self.0.minute())),
            "second" => Value::from(i64::from(self.0.second())),
            "microsecond" => Value::from(i64::from(self.0.subsec_nanosecond() / 1000)),
            _ => return None,
        })
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let mut args = Args::new(method, args)?;
        let value = match method {
            "strftime" => Value::from(strftime(&args.text("format")?, &self.on_first_day())?),
            "isoformat" => Value::from(self.to_string()),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        args.end()?;
        Ok(value)
    }
}
