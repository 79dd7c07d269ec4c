//! Filters over lists and dicts.

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::super::args::{Args, fail};
use super::super::containers::{self, hashable, hashed, list, pair};
use super::super::{methods, operators, python, sorting};
use super::{attribute, folded, items, run, undefined};

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter("list", |state: &State<'_, '_>, value: &Value| {
        let items = items(value)?;
        run(state)?.spend(items.len() * size_of::<Value>())?;
        Ok::<_, Error>(list(items))
    });
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("first", |value: &Value| {
        Ok::<_, Error>(items(value)?.into_iter().next().unwrap_or_default())
    });
    environment.add_filter("last", |value: &Value| Ok::<_, Error>(items(value)?.pop().unwrap_or_default()));
    environment.add_filter("random", |value: &Value| {
        let items = items(value)?;
        let place = super::super::macros::random_below(items.len())?;
        Ok::<_, Error>(items.get(place).cloned().unwrap_or_default())
    });
    environment.add_filter("reverse", |value: &Value| {
        let mut items = items(value)?;
        items.reverse();
        Ok::<_, Error>(match value.as_str() {
            Some(_) => Value::from(items.iter().filter_map(Value::as_str).collect::<String>()),
            None => list(items),
        })
    });
    environment.add_filter("items", |value: &Value| {
        if value.is_undefined() {
            return Ok(list(Vec::new()));
        }
        if value.kind() != ValueKind::Map {
            return Err(fail(format!("items takes a dict, not {}", python::type_name(value))));
        }
        Ok(list(containers::entries(value)?.into_iter().map(|(key, value)| pair(key, value)).collect()))
    });
    environment.add_filter("join", join);
    environment.add_filter("batch", batch);
    environment.add_filter("slice", slice);
    environment.add_filter("sort", sort);
    environment.add_filter("dictsort", dictsort);
    environment.add_filter("groupby", groupby);
    environment.add_filter("unique", unique);
    environment.add_filter("sum", sum);
    environment.add_filter("max", |value: &Value, args: Rest<ValueOrKwargs>| {
        extreme(value, &args.into_values(), true)
    });
    environment.add_filter("min", |value: &Value, args: Rest<ValueOrKwargs>| {
        extreme(value, &args.into_values(), false)
    });
    environment.add_filter("map", map);
}

fn length(value: &Value) -> Result<usize, Error> {
    operators::defined(&[value])?;
    value.len().ok_or_else(|| fail(format!("{} has no length", python::type_name(value))))
}

fn join(state: &State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let mut args = Args::new("join", &args.into_values())?;
    let between = args.optional("d")?.map_or_else(|| Ok(String::new()), |between| python::text(&between))?;
    let path = args.optional("attribute")?;
    args.end()?;
    let texts = items(value)?.into_iter().map(|item| {
        let item = path.as_ref().map_or_else(|| item.clone(), |path| attribute(&item, path));
        if item.is_undefined() { Err(undefined("an item of join")) } else { python::text(&item) }
    });
    methods::joined(&*run(state)?, &texts.collect::<Result<Vec<_>, _>>()?, &between)
}

/// A count that is at least one and makes no more than a run may.
fn at_least_one(number: i64, name: &str) -> Result<usize, Error> {
    let number = usize::try_from(number).unwrap_or(0);
    if number == 0 { Err(fail(format!("`{name}` is at least 1"))) } else { Ok(number) }
}

fn batch(state: &State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = Args::new("batch", &args.into_values())?;
    let count = at_least_one(args.optional_integer("linecount")?.unwrap_or(0), "linecount")?;
    let fill = args.optional("fill_with")?.filter(|fill| !fill.is_none());
    args.end()?;
    let items = items(value)?;
    if fill.is_some() {
        run(state)?.spend(count.saturating_mul(size_of::<Value>()))?;
    }
    let mut rows: Vec<Vec<Value>> = items.chunks(count).map(<[Value]>::to_vec).collect();
    if let (Some(fill), Some(last)) = (fill, rows.last_mut()) {
        last.resize(count, fill);
    }
    Ok(list(rows.into_iter().map(list).collect()))
}

fn slice(state: &State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = Args::new("slice", &args.into_values())?;
    let count = at_least_one(args.optional_integer("slices")?.unwrap_or(0), "slices")?;
    let fill = args.optional("fill_with")?.filter(|fill| !fill.is_none());
    args.end()?;
    let items = items(value)?;
    run(state)?.spend(count.saturating_mul(2 * size_of::<Value>()))?;
    let (each, longer) = (items.len() / count, items.len() % count);
    let (mut columns, mut rest) = (Vec::new(), &items[..]);
    for place in 0..count {
        let (column, after) = rest.split_at(each + usize::from(place < longer));
        let mut column = column.to_vec();
        if place >= longer && longer > 0 {
            column.extend(fill.clone());
        }
        columns.push(list(column));
        rest = after;
    }
    Ok(list(columns))
}

fn sort(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = Args::new("sort", &args.into_values())?;
    let (reverse, case_sensitive) = (args.flag("reverse")?, args.flag("case_sensitive")?);
    let path = args.optional("attribute")?.filter(|path| !path.is_none());
    args.end()?;
    let mut items = items(value)?;
    sorting::sort_by(&mut items, reverse, |item| match &path {
        None => folded(item.clone(), case_sensitive),
        // `attribute='a,b'` sorts by both.
        Some(path) => match path.as_str() {
            Some(paths) if paths.contains(',') => {
                let keys =
                    paths.split(',').map(|path| folded(attribute(item, &Value::from(path)), case_sensitive));
                Value::from(Tuple::from(keys.collect::<Vec<_>>()))
            }
            _ => folded(attribute(item, path), case_sensitive),
        },
    })?;
    Ok(list(items))
}

fn dictsort(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    operators::defined(&[value])?;
    let mut args = Args::new("dictsort", &args.into_values())?;
    let case_sensitive = args.flag("case_sensitive")?;
    let by = args.optional_text("by")?.unwrap_or_else(|| "key".to_owned());
    let reverse = args.flag("reverse")?;
    args.end()?;
    let place = match &*by {
        "key" => 0,
        "value" => 1,
        _ => return Err(fail("dictsort sorts by key or value")),
    };
    let mut pairs: Vec<Value> =
        containers::entries(value)?.into_iter().map(|(key, value)| pair(key, value)).collect();
    sorting::sort_by(&mut pairs, reverse, |pair| {
        folded(pair.get_item_by_index(place).unwrap_or_default(), case_sensitive)
    })?;
    Ok(list(pairs))
}

fn groupby(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = Args::new("groupby", &args.into_values())?;
    let path = args.required("attribute")?;
    let default = args.optional("default")?;
    let case_sensitive = args.flag("case_sensitive")?;
    args.end()?;
    let key = |item: &Value| {
        let key = attribute(item, &path);
        match &default {
            Some(default) if key.is_undefined() => default.clone(),
            _ => key,
        }
    };
    let mut items = items(value)?;
    sorting::sort_by(&mut items, false, |item| folded(key(item), case_sensitive))?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in items {
        let grouper = key(&item);
        match groups.last_mut() {
            Some((last, group))
                if operators::equal(
                    &folded(last.clone(), case_sensitive),
                    &folded(grouper.clone(), case_sensitive),
                )? =>
            {
                group.push(item);
            }
            _ => groups.push((grouper, vec![item])),
        }
    }
    Ok(list(
        groups
            .into_iter()
            .map(|(grouper, items)| Value::from_object(Group { grouper, items: list(items) }))
            .collect(),
    ))
}

/// A group of `groupby`: a pair whose parts have names.
#[derive(Debug)]
struct Group {
    grouper: Value,
    items: Value,
}

impl minijinja::value::Object for Group {
    fn repr(self: &std::sync::Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Seq
    }

    fn get_value(self: &std::sync::Arc<Self>, key: &Value) -> Option<Value> {
        match (key.as_usize(), key.as_str()) {
            (Some(0), _) | (_, Some("grouper")) => Some(self.grouper.clone()),
            (Some(1), _) | (_, Some("list")) => Some(self.items.clone()),
            _ => None,
        }
    }

    fn enumerate(self: &std::sync::Arc<Self>) -> minijinja::value::Enumerator {
        minijinja::value::Enumerator::Seq(2)
    }
}

pub(in crate::template) fn is_group(value: &Value) -> bool {
    value.downcast_object_ref::<Group>().is_some()
}

fn unique(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = Args::new("unique", &args.into_values())?;
    let case_sensitive = args.flag("case_sensitive")?;
    let path = args.optional("attribute")?;
    args.end()?;
    let (mut seen, mut chosen) = (std::collections::HashSet::new(), Vec::new());
    for item in items(value)? {
        let key = path.as_ref().map_or_else(|| item.clone(), |path| attribute(&item, path));
        if !hashable(&key) {
            return Err(fail(format!("unique cannot tell apart values of type {}", python::type_name(&key))));
        }
        if seen.insert(hashed(folded(key, case_sensitive))) {
            chosen.push(item);
        }
    }
    Ok(list(chosen))
}

fn sum(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = Args::new("sum", &args.into_values())?;
    let path = args.optional("attribute")?.filter(|path| !path.is_none());
    let start = args.optional("start")?.unwrap_or_else(|| Value::from(0));
    args.end()?;
    items(value)?.into_iter().try_fold(start, |sum, item| {
        let item = path.as_ref().map_or_else(|| item.clone(), |path| attribute(&item, path));
        operators::defined(&[&item])?;
        operators::plain_add(&sum, &item)
    })
}

fn extreme(value: &Value, args: &[Value], largest: bool) -> Result<Value, Error> {
    let mut args = Args::new(if largest { "max" } else { "min" }, args)?;
    let case_sensitive = args.flag("case_sensitive")?;
    let path = args.optional("attribute")?;
    args.end()?;
    let key = |item: &Value| {
        folded(path.as_ref().map_or_else(|| item.clone(), |path| attribute(item, path)), case_sensitive)
    };
    let mut items = items(value)?.into_iter();
    let Some(mut best) = items.next() else { return Ok(Value::UNDEFINED) };
    for item in items {
        let ordering = operators::order(&key(&item), &key(&best), if largest { ">" } else { "<" })?;
        if ordering.is_some_and(|ordering| if largest { ordering.is_gt() } else { ordering.is_lt() }) {
            best = item;
        }
    }
    Ok(best)
}

/// `map('filter', …)` and `map(attribute=…, default=…)`.
fn map(state: &mut State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let items = items(value)?;
    let args = args.into_values();
    let (positional, named): (Rest<Value>, Kwargs) = minijinja::value::from_args(&args)?;
    if let (true, true) = (positional.is_empty(), named.has("attribute")) {
        let path: Value = named.get("attribute")?;
        let default: Option<Value> = if named.has("default") { Some(named.get("default")?) } else { None };
        named.assert_all_used()?;
        let found = items.iter().map(|item| {
            let found = attribute(item, &path);
            match &default {
                Some(default) if found.is_undefined() => default.clone(),
                _ => found,
            }
        });
        return Ok(list(found.collect()));
    }
    let name = positional.first().and_then(|name| name.as_str().map(ToOwned::to_owned));
    let name = name.ok_or_else(|| fail("map takes the name of a filter, or attribute=…"))?;
    let mapped = items.into_iter().map(|item| {
        let mut all = vec![item];
        all.extend(args[1..].iter().cloned());
        state.apply_filter(&name, &all)
    });
    mapped.collect::<Result<Vec<_>, _>>().map(list)
}
