//! Functions that Jinja gives to every template: `range`, `dict`, `cycler`, `joiner`, `lipsum`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::value::{Enumerator, Object, ObjectRepr, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::args::{Args, fail, integer};
use super::containers;

/// The longest range, as in Jinja's sandbox.
const LONGEST_RANGE: i64 = 100_000;

/// Puts them in place of the engine's own.
pub(super) fn register(environment: &mut Environment<'_>) {
    environment.remove_global("debug");
    environment.add_function("range", |args: Rest<Value>| range(&args));
    environment.add_function("dict", |args: Rest<ValueOrKwargs>| {
        let mut args = Args::new("dict", &args.into_values())?;
        let mut entries = Vec::new();
        for value in args.rest() {
            entries.extend(containers::entries(&value)?);
        }
        entries.extend(args.rest_named()?.into_iter().map(|(name, value)| (Value::from(name), value)));
        containers::dict(entries)
    });
    environment.add_function("cycler", |items: Rest<Value>| match items.is_empty() {
        true => Err(fail("cycler needs at least one item")),
        false => Ok(Value::from_object(Cycler { items: items.0, place: AtomicUsize::new(0) })),
    });
    environment.add_function("joiner", |text: Option<String>| {
        let text = text.unwrap_or_else(|| ", ".to_owned());
        Value::from_object(Joiner { text, used: AtomicBool::new(false) })
    });
}

/// Python's `range`.
#[derive(Debug)]
pub(super) struct Range {
    start: i64,
    stop: i64,
    step: i64,
}

fn range(args: &[Value]) -> Result<Value, Error> {
    let numbers = args.iter().map(|value| integer(value).ok_or_else(|| fail("range takes whole numbers")));
    let numbers: Vec<i64> = numbers.collect::<Result<_, _>>()?;
    let (start, stop, step) = match numbers[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => return Err(fail("range takes one to three numbers")),
    };
    if step == 0 {
        return Err(fail("the step of a range is not 0"));
    }
    let range = Range { start, stop, step };
    if range.len() > i128::from(LONGEST_RANGE) {
        return Err(fail(format!("a range has at most {LONGEST_RANGE} numbers")));
    }
    Ok(Value::from_object(range))
}

impl Range {
    fn len(&self) -> i128 {
        let (start, stop, step) = (i128::from(self.start), i128::from(self.stop), i128::from(self.step));
        let across = if step > 0 { stop - start } else { start - stop };
        if across <= 0 { 0 } else { (across - 1) / step.abs() + 1 }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            1 => write!(f, "range({}, {})", self.start, self.stop),
            step => write!(f, "range({}, {}, {step})", self.start, self.stop),
        }
    }
}

impl Object for Range {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let (start, step) = (self.start, self.step);
        let numbers =
            (0..i64::try_from(self.len()).unwrap_or(0)).map(move |place| Value::from(start + place * step));
        Enumerator::Iter(Box::new(numbers))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        usize::try_from(self.len()).ok()
    }
}

/// Gives its items in turn.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    place: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let place = self.place.load(Ordering::Relaxed) % self.items.len();
        (name.as_str()? == "current").then(|| self.items[place].clone())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        Args::new(method, args)?.end()?;
        match method {
            "next" => {
                let place = self.place.fetch_add(1, Ordering::Relaxed) % self.items.len();
                Ok(self.items[place].clone())
            }
            "reset" => {
                self.place.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// Empty at first, its text after that.
#[derive(Debug)]
struct Joiner {
    text: String,
    used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        Args::new("joiner", args)?.end()?;
        Ok(Value::from(if self.used.swap(true, Ordering::Relaxed) { &*self.text } else { "" }))
    }
}
