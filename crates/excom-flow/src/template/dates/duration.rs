//! Python's `timedelta`, and pendulum's interval between two dates.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::DateTime;
use crate::template::args::{Args, fail};
use crate::template::operators::Number;

pub(super) const SECOND: i128 = 1_000_000;
pub(super) const DAY: i128 = 86_400 * SECOND;

/// The longest span, as in Python.
const LONGEST_DAYS: i128 = 999_999_999;

/// A span of time.
#[derive(Debug, Clone)]
pub(in crate::template) struct Duration {
    /// Microseconds.
    pub(in crate::template) micros: i128,
    /// The dates that it lies between, when pendulum made it.
    pub(super) between: Option<Box<(DateTime, DateTime)>>,
}

impl Duration {
    pub(in crate::template) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }

    /// So many microseconds.
    pub(in crate::template) fn of_micros(micros: i64) -> Value {
        Value::from_object(Self { micros: micros.into(), between: None })
    }

    pub(super) fn new(micros: i128) -> Result<Self, Error> {
        if (micros / DAY).abs() > LONGEST_DAYS {
            return Err(fail("the span is over 999999999 days"));
        }
        Ok(Self { micros, between: None })
    }

    /// `timedelta(…)`.
    pub(in crate::template) fn construct(args: &[Value]) -> Result<Value, Error> {
        const UNITS: [(&str, i128); 7] = [
            ("days", DAY),
            ("seconds", SECOND),
            ("microseconds", 1),
            ("milliseconds", 1_000),
            ("minutes", 60 * SECOND),
            ("hours", 3_600 * SECOND),
            ("weeks", 7 * DAY),
        ];
        let mut args = Args::new("timedelta", args)?;
        let mut micros = 0;
        for (name, unit) in UNITS {
            let Some(given) = args.optional(name)? else { continue };
            let number =
                Number::of(&given).ok_or_else(|| fail(format!("`{name}` of timedelta is a number")))?;
            micros += product(number, unit)?;
        }
        args.end()?;
        Self::new(micros).map(Value::from_object)
    }

    pub(in crate::template) fn plus(&self, micros: i128) -> Result<Self, Error> {
        Self::new(self.micros + micros)
    }

    pub(in crate::template) fn times(&self, number: f64) -> Result<Self, Error> {
        Self::new(product(Number::Float(number), self.micros)?)
    }

    #[expect(clippy::cast_precision_loss, reason = "as Python does")]
    pub(in crate::template) fn total_seconds(&self) -> f64 {
        self.micros as f64 / SECOND as f64
    }

    /// Days, seconds and microseconds, of which only the days are ever negative.
    fn parts(&self) -> (i128, i128, i128) {
        let (days, rest) = (self.micros.div_euclid(DAY), self.micros.rem_euclid(DAY));
        (days, rest / SECOND, rest % SECOND)
    }

    pub(super) fn repr(&self) -> String {
        if self.between.is_some() {
            return self.to_string();
        }
        let (days, seconds, micros) = self.parts();
        let named = [("days", days), ("seconds", seconds), ("microseconds", micros)];
        let given: Vec<String> = named
            .iter()
            .filter(|(_, number)| *number != 0)
            .map(|(name, number)| format!("{name}={number}"))
            .collect();
        format!("datetime.timedelta({})", if given.is_empty() { "0".to_owned() } else { given.join(", ") })
    }

    fn whole(&self, unit: i128) -> Value {
        Number::Integer(self.micros / unit).into()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "bounds are checked")]
fn product(number: Number, unit: i128) -> Result<i128, Error> {
    let long = || fail("the span is over 999999999 days");
    match number {
        Number::Integer(number) => number.checked_mul(unit).ok_or_else(long),
        Number::Float(number) => {
            let micros = number * unit as f64;
            if micros.is_finite() && micros.abs() < 1e23 { Ok(micros.round() as i128) } else { Err(long()) }
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(between) = &self.between {
            return write!(f, "<Interval [{} -> {}]>", between.0, between.1);
        }
        let (days, seconds, micros) = self.parts();
        if days != 0 {
            write!(f, "{days} day{}, ", if days.abs() == 1 { "" } else { "s" })?;
        }
        write!(f, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        if micros != 0 { write!(f, ".{micros:06}") } else { Ok(()) }
    }
}

impl Object for Duration {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.micros != 0
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let (days, seconds, micros) = self.parts();
        let number = |number: i128| Some(Value::from(Number::Integer(number)));
        match name.as_str()? {
            "days" => number(days),
            "seconds" => number(seconds),
            "microseconds" => number(micros),
            _ => None,
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let value = match method {
            "total_seconds" => Value::from(self.total_seconds()),
            "total_minutes" => Value::from(self.total_seconds() / 60.0),
            "total_hours" => Value::from(self.total_seconds() / 3_600.0),
            "total_days" => Value::from(self.total_seconds() / 86_400.0),
            "in_seconds" => self.whole(SECOND),
            "in_minutes" => self.whole(60 * SECOND),
            "in_hours" => self.whole(3_600 * SECOND),
            "in_days" => self.whole(DAY),
            "in_weeks" => self.whole(7 * DAY),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        Args::new(method, args)?.end()?;
        Ok(value)
    }
}
