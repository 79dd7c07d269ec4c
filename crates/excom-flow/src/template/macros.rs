//! `macros`: the functions and modules that Airflow gives to templates.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;
use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::args::{Args, fail, hinted, integer};
use super::dates::{self, Date, DateTime, Duration, Time};
use super::json::{self, Style};

/// Now.
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

fn random_bits() -> Result<u64, Error> {
    getrandom::u64().map_err(|e| fail(format!("there is no randomness: {e}")))
}

/// A number below another, each as likely.
pub(super) fn random_below(end: usize) -> Result<usize, Error> {
    let bits = random_bits()?;
    Ok(usize::try_from((u128::from(bits) * end as u128) >> 64).unwrap_or(0))
}

/// A module of `macros`, or `macros` itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Module {
    Macros,
    Dateutil,
    DateutilParser,
    DateutilTz,
    Json,
    Time,
    Uuid,
    Random,
    Datetime,
    Timedelta,
}

/// What can be called is told by `is callable`.
pub(super) fn is_callable(value: &Value) -> bool {
    match value.downcast_object_ref::<Module>() {
        Some(module) => matches!(module, Module::Random | Module::Datetime | Module::Timedelta),
        // What is left are the engine's functions and macros.
        None => dates::type_name(value).is_none() && !super::context::is_fact(value),
    }
}

impl Module {
    pub(super) fn value(self) -> Value {
        Value::from_object(self)
    }

    fn member(self, name: &str) -> Option<Value> {
        let module = match (self, name) {
            (Self::Macros, "datetime") => Self::Datetime,
            (Self::Macros, "timedelta") => Self::Timedelta,
            (Self::Macros, "dateutil") => Self::Dateutil,
            (Self::Macros, "json") => Self::Json,
            (Self::Macros, "time") => Self::Time,
            (Self::Macros, "uuid") => Self::Uuid,
            (Self::Macros, "random") => Self::Random,
            (Self::Dateutil, "parser") => Self::DateutilParser,
            (Self::Dateutil, "tz") => Self::DateutilTz,
            (Self::Macros, "yaml") => {
                let hint = "`macros.json` reads and writes JSON";
                return Some(Value::from(hinted("there is no `macros.yaml` in Excom", hint)));
            }
            (Self::DateutilTz, "UTC") => return Some(Value::from("UTC")),
            _ => return None,
        };
        Some(module.value())
    }

    fn function(self, name: &str, args: &mut Args<'_>) -> Result<Value, Error> {
        match (self, name) {
            (Self::Macros, "ds_add") => {
                let (ds, days) = (args.text("ds")?, args.optional_integer("days")?.unwrap_or(0));
                if days == 0 {
                    return Ok(Value::from(ds));
                }
                let span = dates::strptime(&ds, "%Y-%m-%d")?;
                let moved = dates::add(&Value::from_object(span), &days_of(days)?)?.unwrap_or_default();
                dates::formatted(&moved, "%Y-%m-%d").unwrap_or_else(|| Ok(String::new())).map(Value::from)
            }
            (Self::Macros, "ds_format") => {
                let (ds, from, to) =
                    (args.text("ds")?, args.text("input_format")?, args.text("output_format")?);
                dates::strftime(&to, &dates::strptime(&ds, &from)?).map(Value::from)
            }
            (Self::Macros, "ds_format_locale") => {
                let (ds, from, to) =
                    (args.text("ds")?, args.text("input_format")?, args.text("output_format")?);
                let locale = args.optional_text("locale")?.unwrap_or_else(|| "en_US".to_owned());
                if locale != "en" && !locale.starts_with("en_") {
                    return Err(fail(format!(
                        "dates are written in English only, not in the locale `{locale}`"
                    )));
                }
                dates::babel(&to, &dates::strptime(&ds, &from)?).map(Value::from)
            }
            (Self::Macros, "datetime_diff_for_humans") => {
                let (one, other) = (args.required("dt")?, args.optional("since")?);
                let one = DateTime::of(&one).ok_or_else(|| fail("datetime_diff_for_humans takes a date"))?;
                dates::difference_for_humans(one, other.as_ref().and_then(DateTime::of)).map(Value::from)
            }
            (Self::DateutilParser, "parse") => {
                dates::dateutil(&args.text("timestr")?).map(Value::from_object)
            }
            (Self::DateutilTz, "gettz") => {
                let name = args.required("name")?;
                dates::zone(&name).map(|_| name)
            }
            (Self::Json, "loads") => json::read(&args.text("s")?),
            (Self::Json, "dumps") => dumps(args),
            (Self::Time, "time") => {
                #[expect(clippy::cast_precision_loss, reason = "as Python does")]
                let seconds = now().as_microsecond() as f64 / 1e6;
                Ok(Value::from(seconds))
            }
            (Self::Time, "strftime") => {
                dates::strftime(&args.text("format")?, &DateTime::utc(now())).map(Value::from)
            }
            (Self::Uuid, "uuid4") => {
                let (high, low) = (random_bits()?, random_bits()?);
                let bytes = ((u128::from(high) << 64) | u128::from(low)).to_be_bytes();
                Ok(Value::from(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()))
            }
            (Self::Uuid, "UUID") => {
                let text = args.text("hex")?;
                let id = uuid::Uuid::try_parse(&text).map_err(|_| fail(format!("`{text}` is no UUID")))?;
                Ok(Value::from(id.to_string()))
            }
            (Self::Datetime, name) => datetime(name, args),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

fn days_of(days: i64) -> Result<Value, Error> {
    Duration::construct(&[Value::from(days)])
}

fn dumps(args: &mut Args<'_>) -> Result<Value, Error> {
    let value = args.required("obj")?;
    let indent = args.named("indent")?.filter(|indent| !indent.is_none());
    let indent = indent.map(|indent| match indent.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(indent.as_usize().unwrap_or(0).min(100)),
    });
    let mut style = Style::indented(indent);
    style.sort_keys = args.named("sort_keys")?.is_some_and(|sort| sort.is_true());
    style.ascii = args.named("ensure_ascii")?.is_none_or(|ascii| ascii.is_true());
    if let Some(separators) = args.named("separators")?.filter(|separators| !separators.is_none()) {
        let text = |place| {
            separators.get_item_by_index(place).ok().and_then(|text| text.as_str().map(ToOwned::to_owned))
        };
        style.separators =
            text(0).zip(text(1)).ok_or_else(|| fail("`separators` of dumps is a pair of texts"))?;
    }
    json::write(&value, &style).map(Value::from)
}

/// `datetime(…)`.
fn construct(args: &[Value]) -> Result<Value, Error> {
    let mut args = Args::new("datetime", args)?;
    let mut number = |name: &str, default: Option<i64>| {
        let given = args.optional(name)?;
        let number = given
            .as_ref()
            .map(|given| integer(given).ok_or_else(|| fail(format!("`{name}` is a whole number"))));
        number.transpose()?.or(default).ok_or_else(|| fail(format!("datetime needs `{name}`")))
    };
    let (year, month, day) = (number("year", None)?, number("month", None)?, number("day", None)?);
    let (hour, minute) = (number("hour", Some(0))?, number("minute", Some(0))?);
    let (second, micros) = (number("second", Some(0))?, number("microsecond", Some(0))?);
    let zone = args.optional("tzinfo")?.filter(|zone| !zone.is_none());
    args.end()?;
    let wrong = || fail(format!("there is no date {year}-{month}-{day} {hour}:{minute}:{second}"));
    let narrow = |number: i64| i8::try_from(number).map_err(|_| wrong());
    let nanos = i32::try_from(micros.saturating_mul(1000)).map_err(|_| wrong())?;
    let year = i16::try_from(year).map_err(|_| wrong())?;
    let civil = civil::DateTime::new(
        year,
        narrow(month)?,
        narrow(day)?,
        narrow(hour)?,
        narrow(minute)?,
        narrow(second)?,
        nanos,
    );
    let date = DateTime::naive(civil.map_err(|_| wrong())?);
    Ok(Value::from_object(match zone {
        Some(zone) => date.in_zone_of(dates::zone(&zone)?),
        None => date,
    }))
}

/// The functions of the type `datetime`.
fn datetime(name: &str, args: &mut Args<'_>) -> Result<Value, Error> {
    let utc = |moment: Timestamp, zone: Option<Value>| -> Result<Value, Error> {
        let zone = zone.filter(|zone| !zone.is_none()).map(|zone| dates::zone(&zone)).transpose()?;
        let civil = moment.to_zoned(zone.clone().unwrap_or(TimeZone::UTC)).datetime();
        let date = DateTime::naive(civil);
        Ok(Value::from_object(match zone {
            Some(zone) => date.in_zone_of(zone),
            None => date,
        }))
    };
    match name {
        "strptime" => {
            let (text, format) = (args.text("date_string")?, args.text("format")?);
            dates::strptime(&text, &format).map(Value::from_object)
        }
        "fromisoformat" => dates::fromisoformat(&args.text("date_string")?).map(Value::from_object),
        "now" => utc(now(), args.optional("tz")?),
        "utcnow" | "today" => utc(now(), None),
        "fromtimestamp" | "utcfromtimestamp" => {
            let seconds = args.required("timestamp")?;
            let seconds =
                super::operators::Number::of(&seconds).ok_or_else(|| fail("a timestamp is a number"))?;
            #[expect(clippy::cast_possible_truncation, reason = "what is out of range is refused")]
            let moment = Timestamp::from_microsecond((seconds.float() * 1e6).round() as i64);
            utc(moment.map_err(|e| fail(e.to_string()))?, args.optional("tz")?)
        }
        "combine" => {
            let (date, time) = (args.required("date")?, args.required("time")?);
            match (Date::of(&date), Time::of(&time)) {
                (Some(date), Some(time)) => {
                    Ok(Value::from_object(DateTime::naive(date.0.to_datetime(time.0))))
                }
                _ => Err(fail("combine takes a date and a time")),
            }
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

impl Object for Module {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        self.member(name.as_str()?)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match **self {
            Self::Macros => f.write_str("<MacrosAccessor (dynamic access to macros)>"),
            Self::Datetime => f.write_str("<class 'datetime.datetime'>"),
            Self::Timedelta => f.write_str("<class 'datetime.timedelta'>"),
            _ => write!(f, "<module '{:?}'>", **self),
        }
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        match **self {
            Self::Datetime => construct(args),
            Self::Timedelta => Duration::construct(args),
            Self::Random => {
                Args::new("random", args)?.end()?;
                #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
                Ok(Value::from((random_bits()? >> 11) as f64 / (1_u64 << 53) as f64))
            }
            _ => Err(fail("a module cannot be called")),
        }
    }

    fn call_method(
        self: &Arc<Self>,
        state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        // `macros.timedelta(…)` calls what is found under the name.
        if let Some(member) = self.member(method) {
            return member.call(state, args);
        }
        let mut args = Args::new(method, args)?;
        let value = self.function(method, &mut args)?;
        args.end()?;
        Ok(value)
    }
}
