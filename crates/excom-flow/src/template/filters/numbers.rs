//! Filters that make numbers, or print them.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, Value};

use super::super::args::{Args, fail};
use super::super::operators::{self, Number};
use super::super::python;

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter("abs", |value: &Value| {
        operators::defined(&[value])?;
        match Number::of(value) {
            Some(Number::Integer(number)) => Ok(Number::Integer(number.abs()).into()),
            Some(Number::Float(number)) => Ok(Value::from(number.abs())),
            None => Err(fail(format!("abs takes a number, not {}", python::type_name(value)))),
        }
    });
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("round", round);
    environment.add_filter("filesizeformat", filesizeformat);
}

#[expect(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
fn int(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    operators::defined(&[value])?;
    let mut args = Args::new("int", &args.into_values())?;
    let default = args.optional("default")?.unwrap_or_else(|| Value::from(0));
    let base = args.optional_integer("base")?.unwrap_or(10);
    args.end()?;
    if let Some(text) = value.as_str() {
        let digits = text.trim().replace('_', "");
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(digits) => (true, digits.to_owned()),
            None => (false, digits.strip_prefix('+').unwrap_or(&digits).to_owned()),
        };
        let prefix = match base {
            16 => "0x",
            8 => "0o",
            2 => "0b",
            _ => "",
        };
        let lower = digits.to_lowercase();
        let plain = lower.strip_prefix(prefix).unwrap_or(&lower);
        let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base));
        if let Some(number) = base.and_then(|base| i128::from_str_radix(plain, base).ok()) {
            return Ok(Number::Integer(if negative { -number } else { number }).into());
        }
        // `3.7` counts as 3.
        return Ok(match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number.abs() < 1e38 => Number::Integer(number as i128).into(),
            Ok(number) if number.is_finite() => return Err(fail("an integer would have more than 128 bits")),
            _ => default,
        });
    }
    Ok(match Number::of(value) {
        Some(Number::Float(number)) if number.is_finite() => {
            if number.abs() >= 1e38 {
                return Err(fail("an integer would have more than 128 bits"));
            }
            Number::Integer(number as i128).into()
        }
        Some(number @ Number::Integer(_)) => number.into(),
        _ => default,
    })
}

fn float(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    operators::defined(&[value])?;
    let mut args = Args::new("float", &args.into_values())?;
    let default = args.optional("default")?.unwrap_or_else(|| Value::from(0.0));
    args.end()?;
    if let Some(text) = value.as_str() {
        return Ok(text.trim().replace('_', "").parse::<f64>().map_or(default, Value::from));
    }
    Ok(Number::of(value).map_or(default, |number| Value::from(number.float())))
}

#[expect(clippy::cast_possible_truncation, reason = "the precision is within bounds")]
fn round(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    operators::defined(&[value])?;
    let mut args = Args::new("round", &args.into_values())?;
    let precision = args.optional_integer("precision")?.unwrap_or(0).clamp(-300, 300) as i32;
    let method = args.optional_text("method")?.unwrap_or_else(|| "common".to_owned());
    args.end()?;
    let number = Number::of(value)
        .ok_or_else(|| fail(format!("round takes a number, not {}", python::type_name(value))))?;
    if let (Number::Integer(number), "common") = (number, &*method) {
        let power = 10_i128.checked_pow(precision.min(0).unsigned_abs()).unwrap_or(i128::MAX);
        // Half goes to the even neighbour.
        let (floor, rest) = (number.div_euclid(power), number.rem_euclid(power));
        let up = match (rest.saturating_mul(2)).cmp(&power) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => floor % 2 != 0,
        };
        return Ok(Number::Integer((floor + i128::from(up)) * power).into());
    }
    let (number, power) = (number.float(), 10_f64.powi(precision));
    let rounded = match &*method {
        "common" if precision >= 0 => {
            // The shortest decimal is rounded exactly, as Python does.
            format!("{number:.*}", usize::try_from(precision).unwrap_or(0)).parse().unwrap_or(number)
        }
        "common" => (number * power).round_ties_even() / power,
        "ceil" => (number * power).ceil() / power,
        "floor" => (number * power).floor() / power,
        _ => return Err(fail("the method of round is common, ceil or floor")),
    };
    Ok(Value::from(rounded))
}

fn filesizeformat(value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    operators::defined(&[value])?;
    let text = value.as_str().and_then(|text| text.parse().ok());
    let bytes: f64 = Number::of(value)
        .map(Number::float)
        .or(text)
        .ok_or_else(|| fail("filesizeformat takes a number of bytes"))?;
    let mut args = Args::new("filesizeformat", &args.into_values())?;
    let binary = args.flag("binary")?;
    args.end()?;
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok("1 Byte".to_owned());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes.trunc()));
    }
    let units = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let mut scaled = bytes;
    let mut unit = units[0];
    for next in units {
        scaled /= base;
        unit = next;
        if scaled < base {
            break;
        }
    }
    Ok(if binary { format!("{scaled:.1} {}iB", unit.to_uppercase()) } else { format!("{scaled:.1} {unit}B") })
}
