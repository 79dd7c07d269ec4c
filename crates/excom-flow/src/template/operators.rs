//! Python's operators over the values of a template.

use std::cmp::Ordering;

use minijinja::value::{Rest, Tuple, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::args::{fail, integer};
use super::containers::{self, DEEPEST, hashable, hashed};
use super::context::Choice;
use super::dates::{self, Duration};
use super::run::Run;
use super::{methods, python};

/// The operators as functions, under the names that [`syntax`](super::syntax) calls.
pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_function("__add", add);
    environment.add_function("__subtract", subtract);
    environment.add_function("__multiply", multiply);
    environment.add_function("__divide", |left: &Value, right: &Value| {
        defined(&[left, right])?;
        divide(left, right)
    });
    environment.add_function("__floor_divide", |left: &Value, right: &Value| {
        defined(&[left, right])?;
        floored(left, right, "//")
    });
    environment.add_function("__modulo", modulo);
    environment.add_function("__power", power);
    environment.add_function("__negate", negate);
    environment.add_function("__concatenate", |state: &State<'_, '_>, left: &Value, right: &Value| {
        defined(&[left, right])?;
        let (left, right) = (python::text(left)?, python::text(right)?);
        Run::of(state)?.spend(left.len() + right.len())?;
        Ok::<_, Error>(left + &right)
    });
    environment.add_function("__compare", |first: &Value, rest: Rest<Value>| compare(first, &rest));
    environment.add_function("__slice", slice);
    environment.add_function("__iterate", |value: &Value| {
        defined(&[value])?;
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map | ValueKind::String => Ok(value.clone()),
            _ => Err(fail(format!("a loop cannot go through {}", python::type_name(value)))),
        }
    });
    environment.add_function("__list", |state: &State<'_, '_>, items: &Value| {
        let items: Vec<Value> = items.try_iter()?.collect();
        Run::of(state)?.spend(items.len() * size_of::<Value>())?;
        Ok::<_, Error>(containers::list(items))
    });
    environment.add_function("__dict", |state: &State<'_, '_>, dict: &Value| {
        let entries = containers::entries(dict)?;
        Run::of(state)?.spend(entries.len() * 2 * size_of::<Value>())?;
        containers::dict(entries)
    });
}

/// A number as Python sees it.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value.kind() {
            ValueKind::Bool => Some(Self::Integer(i128::from(value.is_true()))),
            ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok().map(Self::Integer),
            ValueKind::Number => f64::try_from(value.clone()).ok().map(Self::Float),
            _ => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "as Python does")]
    pub(super) fn float(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    fn cmp(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            (a, b) => a.float().partial_cmp(&b.float()),
        }
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        match number {
            Number::Integer(number) => i64::try_from(number).map_or_else(|_| Self::from(number), Self::from),
            Number::Float(number) => Self::from(number),
        }
    }
}

/// Refuses names that are not defined, as any use of one is refused.
pub(super) fn defined(values: &[&Value]) -> Result<(), Error> {
    match values.iter().any(|value| value.is_undefined()) {
        true => Err(Error::from(ErrorKind::UndefinedError)),
        false => Ok(()),
    }
}

fn types(operator: &str, left: &Value, right: &Value) -> Error {
    let (left, right) = (python::type_name(left), python::type_name(right));
    fail(format!("`{operator}` does not work between {left} and {right}"))
}

fn long() -> Error {
    fail("an integer would have more than 128 bits")
}

/// Whether it is a list, tuple or other sequence.
fn is_list(value: &Value) -> bool {
    value.kind() == ValueKind::Seq && !value.is_tuple()
}

fn add(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    let run = Run::of(state)?;
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        run.spend(left.len() + right.len())?;
        return Ok(Value::from([left, right].concat()));
    }
    if let (Some(a), Some(b)) = (Number::of(left), Number::of(right)) {
        return Ok(match (a, b) {
            (Number::Integer(a), Number::Integer(b)) => Number::Integer(a.checked_add(b).ok_or_else(long)?),
            (a, b) => Number::Float(a.float() + b.float()),
        }
        .into());
    }
    let (lists, tuples) = (is_list(left) && is_list(right), left.is_tuple() && right.is_tuple());
    if lists || tuples {
        let items: Vec<Value> = left.try_iter()?.chain(right.try_iter()?).collect();
        run.spend(items.len() * size_of::<Value>())?;
        return Ok(if lists { containers::list(items) } else { Value::from(Tuple::from(items)) });
    }
    dates::add(left, right)?.ok_or_else(|| types("+", left, right))
}

/// `a + b` for sums, without bounds of a run: only numbers, dates and spans.
pub(super) fn plain_add(left: &Value, right: &Value) -> Result<Value, Error> {
    if is_list(left) && is_list(right) {
        return Ok(containers::list(left.try_iter()?.chain(right.try_iter()?).collect()));
    }
    match (Number::of(left), Number::of(right)) {
        (Some(Number::Integer(a)), Some(Number::Integer(b))) => {
            Ok(Number::Integer(a.checked_add(b).ok_or_else(long)?).into())
        }
        (Some(a), Some(b)) => Ok(Value::from(a.float() + b.float())),
        _ => dates::add(left, right)?.ok_or_else(|| types("+", left, right)),
    }
}

fn subtract(left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    match (Number::of(left), Number::of(right)) {
        (Some(Number::Integer(a)), Some(Number::Integer(b))) => {
            Ok(Number::Integer(a.checked_sub(b).ok_or_else(long)?).into())
        }
        (Some(a), Some(b)) => Ok(Value::from(a.float() - b.float())),
        _ => dates::subtract(left, right)?.ok_or_else(|| types("-", left, right)),
    }
}

fn multiply(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    if let (Some(a), Some(b)) = (Number::of(left), Number::of(right)) {
        return Ok(match (a, b) {
            (Number::Integer(a), Number::Integer(b)) => Number::Integer(a.checked_mul(b).ok_or_else(long)?),
            (a, b) => Number::Float(a.float() * b.float()),
        }
        .into());
    }
    for (what, times) in [(left, right), (right, left)] {
        let (Some(times), false) =
            (integer(times), what.as_str().is_none() && !matches!(what.kind(), ValueKind::Seq))
        else {
            continue;
        };
        let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
        // The size is checked before anything is made.
        if let Some(text) = what.as_str() {
            Run::of(state)?.spend(text.len().saturating_mul(times))?;
            return Ok(Value::from(text.repeat(times)));
        }
        let items: Vec<Value> = what.try_iter()?.collect();
        Run::of(state)?.spend(items.len().saturating_mul(times).saturating_mul(size_of::<Value>()))?;
        let items: Vec<Value> = std::iter::repeat_n(&items, times).flatten().cloned().collect();
        return Ok(if what.is_tuple() { Value::from(Tuple::from(items)) } else { containers::list(items) });
    }
    for (span, number) in [(left, right), (right, left)] {
        if let (Some(span), Some(number)) = (Duration::of(span), Number::of(number)) {
            return span.times(number.float()).map(Value::from_object);
        }
    }
    Err(types("*", left, right))
}

fn divide(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(span) = Duration::of(left) {
        if let Some(other) = Duration::of(right) {
            return quotient(span.total_seconds(), other.total_seconds());
        }
        if let Some(number) = Number::of(right) {
            nonzero(number.float())?;
            return span.times(1.0 / number.float()).map(Value::from_object);
        }
    }
    match (Number::of(left), Number::of(right)) {
        (Some(a), Some(b)) => quotient(a.float(), b.float()),
        _ => Err(types("/", left, right)),
    }
}

fn quotient(a: f64, b: f64) -> Result<Value, Error> {
    nonzero(b)?;
    Ok(Value::from(a / b))
}

fn nonzero(number: f64) -> Result<(), Error> {
    if number == 0.0 { Err(fail("division by zero")) } else { Ok(()) }
}

/// `//` and `%`, which round down.
fn floored(left: &Value, right: &Value, operator: &str) -> Result<Value, Error> {
    let floor = operator == "//";
    match (Number::of(left), Number::of(right)) {
        (Some(Number::Integer(a)), Some(Number::Integer(b))) => {
            let remainder = a.checked_rem_euclid(b).ok_or_else(|| fail("division by zero"))?;
            let remainder = if b < 0 && remainder != 0 { remainder + b } else { remainder };
            let result = if floor {
                a.checked_sub(remainder).and_then(|a| a.checked_div(b)).ok_or_else(long)?
            } else {
                remainder
            };
            Ok(Number::Integer(result).into())
        }
        (Some(a), Some(b)) => {
            let (a, b) = (a.float(), b.float());
            nonzero(b)?;
            let mut remainder = a % b;
            if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) {
                remainder += b;
            }
            Ok(Value::from(if floor { ((a - remainder) / b).round() } else { remainder }))
        }
        _ => Err(types(operator, left, right)),
    }
}

fn modulo(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    let Some(format) = left.as_str() else { return floored(left, right, "%") };
    let arguments: Vec<Value> =
        if right.is_tuple() { right.try_iter()?.collect() } else { vec![right.clone()] };
    methods::percent(&*Run::of(state)?, format, &arguments).map(Value::from)
}

fn power(left: &Value, right: &Value) -> Result<Value, Error> {
    defined(&[left, right])?;
    match (Number::of(left), Number::of(right)) {
        (Some(Number::Integer(a)), Some(Number::Integer(b))) if b >= 0 => {
            let exponent = u32::try_from(b).map_err(|_| long());
            let result = match a {
                0 | 1 => Some(if b == 0 { 1 } else { a }),
                -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
                _ => a.checked_pow(exponent?),
            };
            Ok(Number::Integer(result.ok_or_else(long)?).into())
        }
        (Some(a), Some(b)) => {
            if a.float() == 0.0 && b.float() < 0.0 {
                return Err(fail("zero has no negative power"));
            }
            Ok(Value::from(a.float().powf(b.float())))
        }
        _ => Err(types("**", left, right)),
    }
}

fn negate(value: &Value) -> Result<Value, Error> {
    defined(&[value])?;
    match Number::of(value) {
        Some(Number::Integer(number)) => Ok(Number::Integer(number.checked_neg().ok_or_else(long)?).into()),
        Some(Number::Float(number)) => Ok(Value::from(-number)),
        None => match Duration::of(value) {
            Some(span) => span.times(-1.0).map(Value::from_object),
            None => Err(fail(format!("`-` does not work on {}", python::type_name(value)))),
        },
    }
}

/// `a < b`, also in chains, and `in`.
fn compare(first: &Value, rest: &[Value]) -> Result<bool, Error> {
    let mut left = first.clone();
    for step in rest.chunks_exact(2) {
        let (operator, right) = (step[0].as_str().unwrap_or_default(), &step[1]);
        defined(&[&left, right])?;
        if !holds(&left, operator, right)? {
            return Ok(false);
        }
        left = right.clone();
    }
    Ok(true)
}

/// Whether a comparison holds.
pub(super) fn holds(left: &Value, operator: &str, right: &Value) -> Result<bool, Error> {
    match operator {
        "==" => equal(left, right),
        "!=" => equal(left, right).map(|equal| !equal),
        "in" => contains(right, left),
        "not in" => contains(right, left).map(|contains| !contains),
        _ => {
            let ordering = order(left, right, operator)?;
            Ok(ordering.is_some_and(|ordering| match operator {
                "<" => ordering.is_lt(),
                "<=" => ordering.is_le(),
                ">" => ordering.is_gt(),
                _ => ordering.is_ge(),
            }))
        }
    }
}

/// `a == b`.
pub(super) fn equal(left: &Value, right: &Value) -> Result<bool, Error> {
    equal_at(left, right, 0)
}

fn equal_at(left: &Value, right: &Value, depth: usize) -> Result<bool, Error> {
    if depth > DEEPEST {
        return Err(fail(format!("values that are nested more than {DEEPEST} deep cannot be compared")));
    }
    if let (Some(a), Some(b)) = (Number::of(left), Number::of(right)) {
        return Ok(a.cmp(b) == Some(Ordering::Equal));
    }
    if let Some(equal) = dates::equal(left, right) {
        return Ok(equal);
    }
    let text = |value: &Value| value.as_str().or(Choice::text_of(value)).map(ToOwned::to_owned);
    if let (Some(a), Some(b)) = (text(left), text(right)) {
        return Ok(a == b);
    }
    match (left.kind(), right.kind()) {
        (ValueKind::Seq, ValueKind::Seq) => {
            if left.is_tuple() != right.is_tuple() || left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.try_iter()?.zip(right.try_iter()?) {
                if !equal_at(&left, &right, depth + 1)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (ValueKind::Map, ValueKind::Map) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (key, value) in containers::entries(left)? {
                let other = right.get_item(&key)?;
                if other.is_undefined() || !equal_at(&value, &other, depth + 1)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (a, b) => Ok(a == b && left == right),
    }
}

/// How two values are ordered; none for what has no order among itself (`nan`).
///
/// # Errors
/// For values that Python cannot order.
pub(super) fn order(left: &Value, right: &Value, operator: &str) -> Result<Option<Ordering>, Error> {
    if let (Some(a), Some(b)) = (Number::of(left), Number::of(right)) {
        return Ok(a.cmp(b));
    }
    if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
        return Ok(Some(a.cmp(b)));
    }
    if let Some(ordering) = dates::order(left, right)? {
        return Ok(Some(ordering));
    }
    if left.kind() == ValueKind::Seq && right.kind() == ValueKind::Seq && left.is_tuple() == right.is_tuple()
    {
        for (a, b) in left.try_iter()?.zip(right.try_iter()?) {
            if !equal(&a, &b)? {
                return order(&a, &b, operator);
            }
        }
        return Ok(Some(left.len().cmp(&right.len())));
    }
    Err(types(operator, left, right))
}

/// `item in container`.
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool, Error> {
    match container.kind() {
        ValueKind::String => match (container.as_str(), item.as_str()) {
            (Some(text), Some(part)) => Ok(text.contains(part)),
            _ => Err(types("in", item, container)),
        },
        ValueKind::Map if hashable(item) => Ok(!container.get_item(&hashed(item.clone()))?.is_undefined()),
        ValueKind::Seq | ValueKind::Iterable => {
            for other in container.try_iter()? {
                if equal(&other, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(types("in", item, container)),
    }
}

/// Where an equal item is.
pub(super) fn find(items: &[Value], item: &Value) -> Result<usize, Error> {
    for (place, other) in items.iter().enumerate() {
        if equal(other, item)? {
            return Ok(place);
        }
    }
    Err(fail(format!("{} is not in the list", python::repr_of(item))))
}

/// How many items are equal to one.
pub(super) fn count(items: &[Value], item: &Value) -> Result<usize, Error> {
    let mut found = 0;
    for other in items {
        found += usize::from(equal(other, item)?);
    }
    Ok(found)
}

/// The place of an index that may count from the end, if there is one.
pub(super) fn index(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let place = if index < 0 { index + length } else { index };
    if (0..length).contains(&place) { usize::try_from(place).ok() } else { None }
}

/// The place of an index that may count from the end, kept within the length.
pub(super) fn place(index: i64, length: usize) -> usize {
    let end = i64::try_from(length).unwrap_or(i64::MAX);
    let place = if index < 0 { index.saturating_add(end) } else { index };
    usize::try_from(place.clamp(0, end)).unwrap_or(length)
}

fn slice(
    state: &State<'_, '_>,
    value: &Value,
    start: &Value,
    stop: Option<&Value>,
    step: Option<&Value>,
) -> Result<Value, Error> {
    defined(&[value, start])?;
    let number = |value: Option<&Value>| match value {
        None => Ok(None),
        Some(value) if value.is_none() => Ok(None),
        Some(value) => {
            let wrong =
                || fail(format!("a slice is given by whole numbers, not {}", python::type_name(value)));
            integer(value).map(Some).ok_or_else(wrong)
        }
    };
    let (start, stop) = (number(Some(start))?, number(stop)?);
    let step = number(step)?.unwrap_or(1);
    if step == 0 {
        return Err(fail("the step of a slice is not 0"));
    }
    let items: Vec<Value> = match value.as_str() {
        Some(text) => text.chars().map(Value::from).collect(),
        None if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) => value.try_iter()?.collect(),
        None => return Err(fail(format!("{} has no slices", python::type_name(value)))),
    };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    // Going backwards, the place before the first is −1.
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |index: i64| {
        let place = if index < 0 { index.saturating_add(length) } else { index };
        place.clamp(low, high)
    };
    let first = start.map_or(if step > 0 { low } else { high }, bound);
    let end = stop.map_or(if step > 0 { high } else { low }, bound);
    let (mut place, mut chosen) = (first, Vec::new());
    while if step > 0 { place < end } else { place > end } {
        chosen.extend(usize::try_from(place).ok().and_then(|place| items.get(place)).cloned());
        place = place.saturating_add(step);
    }
    Run::of(state)?.spend(chosen.len() * size_of::<Value>())?;
    Ok(if value.as_str().is_some() {
        Value::from(chosen.iter().filter_map(Value::as_str).collect::<String>())
    } else if value.is_tuple() {
        Value::from(Tuple::from(chosen))
    } else {
        containers::list(chosen)
    })
}
