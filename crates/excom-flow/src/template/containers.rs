//! Lists and dicts that templates can change, as Python's can be: `{% do found.append(1) %}`.
//!
//! What is put into one later is copied, so that none can come to contain itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use minijinja::value::{Enumerator, Object, ObjectRepr, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::args::{Args, fail};
use super::run::Run;
use super::{operators, python, sorting};

/// The deepest nesting that is copied or printed.
pub(super) const DEEPEST: usize = 200;

/// The most elements, at all depths, that are copied at once.
const MOST_COPIED: usize = 100_000;

/// Python's `list`.
#[derive(Debug)]
pub(super) struct List(Mutex<Vec<Value>>);

/// Python's `dict`, in the order in which it was filled.
#[derive(Debug)]
pub(super) struct Dict(Mutex<IndexMap<Value, Value>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A list of values.
pub(super) fn list(items: Vec<Value>) -> Value {
    Value::from_object(List(Mutex::new(items)))
}

/// A dict of entries; a later one of the same key replaces an earlier one.
pub(super) fn dict(entries: impl IntoIterator<Item = (Value, Value)>) -> Result<Value, Error> {
    let mut map = IndexMap::new();
    entries.into_iter().try_for_each(|(key, value)| insert(&mut map, key, value))?;
    Ok(Value::from_object(Dict(Mutex::new(map))))
}

fn insert(map: &mut IndexMap<Value, Value>, key: Value, value: Value) -> Result<(), Error> {
    if !hashable(&key) {
        return Err(fail(format!("a {} cannot be the key of a dict", python::type_name(&key))));
    }
    map.insert(hashed(key), value);
    Ok(())
}

/// Whether Python would take it as a key.
pub(super) fn hashable(key: &Value) -> bool {
    !matches!(key.kind(), ValueKind::Map | ValueKind::Undefined)
        && (key.kind() != ValueKind::Seq || key.is_tuple())
}

/// A key as dicts compare it: in Python, `1`, `1.0` and `True` are one key.
pub(super) fn hashed(key: Value) -> Value {
    match key.kind() {
        ValueKind::Bool => Value::from(i64::from(key.is_true())),
        ValueKind::Number if !key.is_integer() => match f64::try_from(key.clone()) {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
            Ok(number) if number.fract() == 0.0 && number.abs() < 1e15 => Value::from(number as i64),
            _ => key,
        },
        _ => key,
    }
}

/// A copy down to the last element, which counts as made.
fn copied(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    fn copy(value: &Value, depth: usize, left: &mut usize) -> Result<Value, Error> {
        if depth > DEEPEST {
            return Err(fail(format!("lists and dicts are nested more than {DEEPEST} deep")));
        }
        *left = left.checked_sub(1).ok_or_else(|| fail("a list or dict has too many elements to copy"))?;
        if let Some(inner) = value.downcast_object_ref::<List>() {
            let items = locked(&inner.0).clone();
            let items = items.iter().map(|item| copy(item, depth + 1, left)).collect::<Result<_, _>>()?;
            return Ok(list(items));
        }
        if let Some(inner) = value.downcast_object_ref::<Dict>() {
            let entries = locked(&inner.0).clone();
            let entries = entries.into_iter().map(|(key, item)| Ok((key, copy(&item, depth + 1, left)?)));
            return Ok(Value::from_object(Dict(Mutex::new(entries.collect::<Result<_, Error>>()?))));
        }
        Ok(value.clone())
    }
    let mut left = MOST_COPIED;
    let copied = copy(value, 0, &mut left)?;
    // An entry of a dict takes about three times a value.
    Run::of(state)?.spend((MOST_COPIED - left) * 3 * size_of::<Value>())?;
    Ok(copied)
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        locked(&self.0).get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(locked(&self.0).clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(locked(&self.0).len())
    }

    fn call_method(
        self: &Arc<Self>,
        state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let mut args = Args::new(method, args)?;
        let none = Value::from(());
        // Each arm reads its arguments before it locks.
        let result = match method {
            "append" => {
                let item = copied(state, &args.required("object")?)?;
                locked(&self.0).push(item);
                none
            }
            "extend" => {
                let items = args.required("iterable")?.try_iter()?;
                let items = items.map(|item| copied(state, &item)).collect::<Result<Vec<_>, _>>()?;
                locked(&self.0).extend(items);
                none
            }
            "insert" => {
                let index = args.optional_integer("index")?.unwrap_or(0);
                let item = copied(state, &args.required("object")?)?;
                let mut items = locked(&self.0);
                let place = operators::place(index, items.len());
                items.insert(place, item);
                none
            }
            "pop" => {
                let index = args.optional_integer("index")?.unwrap_or(-1);
                let mut items = locked(&self.0);
                let place =
                    operators::index(index, items.len()).ok_or_else(|| fail("pop from outside the list"))?;
                items.remove(place)
            }
            "remove" => {
                let item = args.required("value")?;
                let mut items = locked(&self.0);
                let place = operators::find(&items, &item)?;
                items.remove(place);
                none
            }
            "index" => {
                let item = args.required("value")?;
                Value::from(operators::find(&locked(&self.0), &item)?)
            }
            "count" => {
                let item = args.required("value")?;
                Value::from(operators::count(&locked(&self.0).clone(), &item)?)
            }
            "copy" => list(locked(&self.0).clone()),
            "clear" => {
                locked(&self.0).clear();
                none
            }
            "reverse" => {
                locked(&self.0).reverse();
                none
            }
            "sort" => {
                let reverse = args.named("reverse")?.is_some_and(|reverse| reverse.is_true());
                let mut items = locked(&self.0).clone();
                sorting::sort(&mut items, reverse)?;
                *locked(&self.0) = items;
                none
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        args.end()?;
        Run::of(state)?.spend(result.len().unwrap_or(0) * 3 * size_of::<Value>())?;
        Ok(result)
    }
}

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        locked(&self.0).get(&hashed(key.clone())).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(locked(&self.0).keys().cloned().collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(locked(&self.0).len())
    }

    fn call_method(
        self: &Arc<Self>,
        state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let mut args = Args::new(method, args)?;
        let result = match method {
            "get" => {
                let key = args.required("key")?;
                let default = args.optional("default")?;
                self.get_value(&key).or(default).unwrap_or_else(|| Value::from(()))
            }
            "keys" => View::of("dict_keys", locked(&self.0).keys().cloned().collect()),
            "values" => View::of("dict_values", locked(&self.0).values().cloned().collect()),
            "items" => {
                let entries = locked(&self.0);
                let pairs = entries.iter().map(|(key, value)| pair(key.clone(), value.clone()));
                View::of("dict_items", pairs.collect())
            }
            "copy" => Value::from_object(Dict(Mutex::new(locked(&self.0).clone()))),
            "clear" => {
                locked(&self.0).clear();
                Value::from(())
            }
            "setdefault" => {
                let key = args.required("key")?;
                let default = args.optional("default")?.unwrap_or_else(|| Value::from(()));
                match self.get_value(&key) {
                    Some(value) => value,
                    None => {
                        let value = copied(state, &default)?;
                        insert(&mut locked(&self.0), key, value.clone())?;
                        value
                    }
                }
            }
            "pop" => {
                let key = hashed(args.required("key")?);
                let default = args.optional("default")?;
                let taken = locked(&self.0).shift_remove(&key);
                taken
                    .or(default)
                    .ok_or_else(|| fail(format!("the dict has no key {}", python::repr_of(&key))))?
            }
            "popitem" => {
                let last = locked(&self.0).pop();
                last.map(|(key, value)| pair(key, value)).ok_or_else(|| fail("the dict is empty"))?
            }
            "update" => {
                for other in args.rest() {
                    for (key, value) in entries(&other)? {
                        let value = copied(state, &value)?;
                        insert(&mut locked(&self.0), key, value)?;
                    }
                }
                for (name, value) in args.rest_named()? {
                    let value = copied(state, &value)?;
                    insert(&mut locked(&self.0), name.into(), value)?;
                }
                Value::from(())
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        args.end()?;
        Run::of(state)?.spend(result.len().unwrap_or(0) * 3 * size_of::<Value>())?;
        Ok(result)
    }
}

/// The entries of a dict, or of a sequence of pairs.
pub(super) fn entries(value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return Ok(locked(&dict.0).iter().map(|(key, value)| (key.clone(), value.clone())).collect());
    }
    let map = value.kind() == ValueKind::Map;
    value
        .try_iter()?
        .map(|item| match map {
            true => {
                let inner = value.get_item(&item)?;
                Ok((item, inner))
            }
            false if item.len() == Some(2) => Ok((item.get_item_by_index(0)?, item.get_item_by_index(1)?)),
            false => Err(fail("a dict is made of pairs")),
        })
        .collect()
}

/// A tuple of two.
pub(super) fn pair(first: Value, second: Value) -> Value {
    Value::from(Tuple::from([first, second]))
}

/// What `keys`, `values` and `items` of a dict give.
#[derive(Debug)]
pub(super) struct View {
    name: &'static str,
    items: Vec<Value>,
}

impl View {
    pub(super) fn of(name: &'static str, items: Vec<Value>) -> Value {
        Value::from_object(Self { name, items })
    }

    /// What Python calls it.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items.clone())
    }
}
