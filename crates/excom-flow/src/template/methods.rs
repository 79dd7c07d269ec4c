//! Methods that Python's values have and the engine does not know, or has otherwise.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::args::{Args, fail};
use super::operators::{self, Number};
use super::run::{LARGEST, Run};
use super::{containers, dates, python};

/// The widest field of a format, so that none makes a text that is too long by itself.
const WIDEST: usize = 100_000;

/// Called for methods that a value does not have itself.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => {
            let run = Run::of(state)?;
            let made = text(&run, value.as_str().unwrap_or_default(), method, args)?;
            let items = if made.kind() == ValueKind::Seq { made.len().unwrap_or(0) } else { 0 };
            run.spend(made.as_str().map_or(items * 2 * size_of::<Value>(), str::len))?;
            Ok(made)
        }
        ValueKind::Seq if method == "count" || method == "index" => {
            let items: Vec<Value> = value.try_iter()?.collect();
            let mut args = Args::new(method, args)?;
            let item = args.required("value")?;
            args.end()?;
            let found = if method == "count" { operators::count } else { operators::find };
            found(&items, &item).map(Value::from)
        }
        ValueKind::Map if matches!(method, "get" | "keys" | "values" | "items") => {
            let dict = containers::dict(containers::entries(value)?)?;
            dict.call_method(state, method, args)
        }
        ValueKind::Number => number(value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn number(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let result = match (method, Number::of(value)) {
        ("is_integer", Some(Number::Integer(_))) => Value::from(true),
        ("is_integer", Some(Number::Float(number))) => Value::from(number.fract() == 0.0),
        ("bit_length", Some(Number::Integer(number))) => {
            Value::from(128 - number.unsigned_abs().leading_zeros())
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    Args::new(method, args)?.end()?;
    Ok(result)
}

fn texts(items: impl IntoIterator<Item = impl Into<String>>) -> Value {
    containers::list(items.into_iter().map(|item| Value::from(item.into())).collect())
}

/// White space as Python's methods see it.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

fn text(run: &Run, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let mut args = Args::new(method, args)?;
    let all = |test: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(test));
    let value = match method {
        "upper" => Value::from(text.to_uppercase()),
        "lower" => Value::from(text.to_lowercase()),
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "capitalize" => Value::from(capitalized(text)),
        "title" => Value::from(title(text)),
        "swapcase" => {
            let swap = |character: char| match character.is_uppercase() {
                true => character.to_lowercase().collect::<String>(),
                false => character.to_uppercase().collect(),
            };
            Value::from(text.chars().map(swap).collect::<String>())
        }
        "strip" | "lstrip" | "rstrip" => {
            let chars = args.optional_text("chars")?;
            let matches = |character: char| match &chars {
                Some(chars) => chars.contains(character),
                None => is_space(character),
            };
            let text = if method == "rstrip" { text } else { text.trim_start_matches(matches) };
            Value::from(if method == "lstrip" { text } else { text.trim_end_matches(matches) })
        }
        "split" | "rsplit" => {
            let separator = args.optional_text("sep")?;
            let most = args.optional_integer("maxsplit")?.unwrap_or(-1);
            let most = usize::try_from(most).ok();
            texts(split(text, separator.as_deref(), most, method == "rsplit")?)
        }
        "splitlines" => {
            let keep = args.flag("keepends")?;
            texts(lines(text).map(|(line, end)| if keep { format!("{line}{end}") } else { line.to_owned() }))
        }
        "partition" | "rpartition" => {
            let separator = args.text("sep")?;
            let found = if method == "partition" {
                text.split_once(&*separator)
            } else {
                text.rsplit_once(&*separator)
            };
            let parts = match found {
                Some((before, after)) => [before, &separator, after],
                None if method == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "replace" => {
            let (old, new) = (args.text("old")?, args.text("new")?);
            let count = args.optional_integer("count")?.and_then(|count| usize::try_from(count).ok());
            Value::from(replaced(run, text, &old, &new, count)?)
        }
        "join" => {
            let items = args.required("iterable")?.try_iter()?.collect::<Vec<_>>();
            let texts = items.iter().map(|item| {
                item.as_str()
                    .ok_or_else(|| fail(format!("join takes texts, not {}", python::type_name(item))))
            });
            Value::from(joined(run, &texts.collect::<Result<Vec<_>, _>>()?, text)?)
        }
        "startswith" | "endswith" => {
            let affix = args.required("prefix")?;
            let test = |affix: &Value| match affix.as_str() {
                Some(affix) if method == "startswith" => Ok(text.starts_with(affix)),
                Some(affix) => Ok(text.ends_with(affix)),
                None => Err(fail(format!("{method} takes a text or a tuple of texts"))),
            };
            let found = if affix.is_tuple() {
                affix.try_iter()?.map(|affix| test(&affix)).collect::<Result<Vec<_>, _>>()?.contains(&true)
            } else {
                test(&affix)?
            };
            Value::from(found)
        }
        "removeprefix" => {
            let affix = args.text("prefix")?;
            Value::from(text.strip_prefix(&*affix).unwrap_or(text))
        }
        "removesuffix" => {
            let affix = args.text("suffix")?;
            Value::from(text.strip_suffix(&*affix).unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let part = args.text("sub")?;
            let place = if method.starts_with('r') { text.rfind(&*part) } else { text.find(&*part) };
            match place {
                Some(place) => Value::from(text[..place].chars().count()),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(fail(format!("{} is not in the text", python::repr_of(&part.into())))),
            }
        }
        "count" => {
            let part = args.text("sub")?;
            let empty = part.is_empty();
            Value::from(if empty { text.chars().count() + 1 } else { text.matches(&*part).count() })
        }
        "center" | "ljust" | "rjust" | "zfill" => {
            let width = usize::try_from(args.optional_integer("width")?.unwrap_or(0)).unwrap_or(0);
            let fill = args.optional_text("fillchar")?.and_then(|fill| fill.chars().next());
            Value::from(padded(run, text, method, width, fill)?)
        }
        "expandtabs" => {
            let size = usize::try_from(args.optional_integer("tabsize")?.unwrap_or(8)).unwrap_or(0);
            Value::from(expanded(run, text, size)?)
        }
        "format" => {
            let positional = args.rest();
            let named = args.rest_named()?;
            Value::from(braces(run, text, &positional, &named)?)
        }
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(is_space),
        "isascii" => Value::from(text.is_ascii()),
        "isupper" => {
            Value::from(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
        }
        "islower" => {
            Value::from(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
        }
        "istitle" => Value::from(text.chars().any(char::is_alphabetic) && title(text) == text),
        "isidentifier" => {
            let first = text.starts_with(|first: char| first.is_alphabetic() || first == '_');
            Value::from(first && text.chars().all(|c| c.is_alphanumeric() || c == '_'))
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    args.end()?;
    Ok(value)
}

/// The first letter large, the others small.
pub(super) fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    first + &characters.as_str().to_lowercase()
}

/// `str.title()`: each letter behind something that is no letter is large.
fn title(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for character in text.chars() {
        if inside {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
        inside = character.is_alphabetic();
    }
    out
}

fn split(
    text: &str,
    separator: Option<&str>,
    most: Option<usize>,
    right: bool,
) -> Result<Vec<String>, Error> {
    let limit = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts: Vec<String> = match (separator, right) {
        (Some(""), _) => return Err(fail("the separator is empty")),
        (Some(separator), false) => text.splitn(limit, separator).map(ToOwned::to_owned).collect(),
        (Some(separator), true) => text.rsplitn(limit, separator).map(ToOwned::to_owned).collect(),
        (None, false) => words(text, limit),
        (None, true) => {
            // The other way round and back again.
            let reversed: String = text.chars().rev().collect();
            words(&reversed, limit).into_iter().map(|word| word.chars().rev().collect()).collect()
        }
    };
    if right {
        parts.reverse();
    }
    Ok(parts)
}

/// Words between white space; the last one keeps the rest.
fn words(text: &str, limit: usize) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
    while !rest.is_empty() {
        if found.len() + 1 == limit {
            found.push(rest.trim_end_matches(is_space).to_owned());
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        found.push(rest[..end].to_owned());
        rest = rest[end..].trim_start_matches(is_space);
    }
    found
}

/// The lines of a text, each with what ends it.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends =
            ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
        let line = rest.find(ends).unwrap_or(rest.len());
        let after = &rest[line..];
        let end = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        let found = (&rest[..line], &after[..end]);
        rest = &after[end..];
        Some(found)
    })
}

/// `text.replace(old, new)`, its size known before it is made.
pub(super) fn replaced(
    run: &Run,
    text: &str,
    old: &str,
    new: &str,
    count: Option<usize>,
) -> Result<String, Error> {
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    let found = found.min(count.unwrap_or(usize::MAX));
    run.spend(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(match count {
        Some(count) => text.replacen(old, new, count),
        None => text.replace(old, new),
    })
}

/// Texts with one between them, its size known before it is made.
pub(super) fn joined(run: &Run, texts: &[impl AsRef<str>], between: &str) -> Result<String, Error> {
    let size: usize = texts.iter().map(|text| text.as_ref().len()).sum();
    run.spend(size.saturating_add(between.len().saturating_mul(texts.len())))?;
    let mut out = String::with_capacity(size + between.len() * texts.len());
    for (place, text) in texts.iter().enumerate() {
        if place > 0 {
            out.push_str(between);
        }
        out.push_str(text.as_ref());
    }
    Ok(out)
}

/// A text made as wide as told.
pub(super) fn padded(
    run: &Run,
    text: &str,
    how: &str,
    width: usize,
    fill: Option<char>,
) -> Result<String, Error> {
    let missing = width.saturating_sub(text.chars().count());
    run.spend(text.len().saturating_add(missing.saturating_mul(4)))?;
    let pad = |count: usize| std::iter::repeat_n(fill.unwrap_or(' '), count).collect::<String>();
    Ok(match how {
        "ljust" => format!("{text}{}", pad(missing)),
        "rjust" => format!("{}{text}", pad(missing)),
        "zfill" => {
            let signed = text.starts_with(['-', '+']);
            let (sign, digits) = text.split_at(usize::from(signed));
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
        _ => {
            // Python puts the odd one to the left where the width is odd.
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", pad(left), pad(missing - left))
        }
    })
}

fn expanded(run: &Run, text: &str, size: usize) -> Result<String, Error> {
    run.spend(text.len().saturating_add(text.matches('\t').count().saturating_mul(size)))?;
    let (mut out, mut column) = (String::new(), 0);
    for character in text.chars() {
        match character {
            '\t' => {
                let width = if size == 0 { 0 } else { size - column % size };
                out.extend(std::iter::repeat_n(' ', width));
                column += width;
            }
            _ => {
                out.push(character);
                column = if matches!(character, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(out)
}

/// Refuses formats whose widths would make texts without measure.
fn narrow(format: &str, args: &[Value]) -> Result<(), Error> {
    let digits = format.split(|character: char| !character.is_ascii_digit());
    let wide = digits.filter(|digits| !digits.is_empty()).any(|digits| match digits.parse::<usize>() {
        Ok(width) => width > WIDEST,
        Err(_) => true,
    });
    let starred = (format.contains('*') || format.contains(":{"))
        && args.iter().filter_map(whole).any(|width| width.unsigned_abs() > WIDEST as u64);
    if wide || starred {
        return Err(fail(format!("a format is at most {WIDEST} characters wide")));
    }
    Ok(())
}

fn whole(value: &Value) -> Option<i64> {
    super::args::integer(value)
}

/// A value as the engine's formatting prints it like Python: numbers and texts as they are.
fn printable(value: &Value) -> Result<Value, Error> {
    operators::defined(&[value])?;
    match value.kind() {
        ValueKind::Number | ValueKind::String => Ok(value.clone()),
        ValueKind::Bool => Ok(value.clone()),
        _ => python::text(value).map(Value::from),
    }
}

/// `format % args`.
pub(super) fn percent(run: &Run, text: &str, args: &[Value]) -> Result<String, Error> {
    narrow(text, args)?;
    let mapping = args.len() == 1 && args[0].kind() == ValueKind::Map;
    if mapping && text.contains("%(") {
        let entries = containers::entries(&args[0])?;
        let entries = entries.into_iter().map(|(name, value)| Ok((name, printable(&value)?)));
        let entries = entries.collect::<Result<Vec<_>, Error>>()?;
        let pairs = entries.iter().map(|(name, value)| (name.to_string(), value.clone()));
        return made(run, format(FormatStyle::Printf, text, &[Value::from_pairs(pairs)]));
    }
    let (mut plain, mut shown, mut next) = (String::new(), Vec::new(), args.iter());
    // What each place wants decides how its value is printed.
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        let directive = &rest[start + 1..];
        let end = directive.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(directive.len());
        let conversion = directive[end..].chars().next();
        let (spec, after) = rest.split_at(start + 1 + end);
        plain.push_str(spec);
        match conversion {
            Some('%') => plain.push('%'),
            None => {}
            Some(conversion) => {
                (0..spec[start..].matches('*').count()).for_each(|_| shown.extend(next.next().cloned()));
                let value = next.next();
                let value = match (conversion, value) {
                    (_, None) => return Err(fail("there are fewer values than places in the format")),
                    ('r' | 'a', Some(value)) => Value::from(python::repr_of(value)),
                    ('s', Some(value)) => Value::from(python::text(&printable(value)?)?),
                    ('d' | 'i' | 'u', Some(value)) => match Number::of(value) {
                        #[expect(clippy::cast_possible_truncation, reason = "as Python does")]
                        Some(Number::Float(number)) => Value::from(number as i64),
                        Some(number) => number.into(),
                        None => {
                            return Err(fail(format!("%d takes a number, not {}", python::type_name(value))));
                        }
                    },
                    (_, Some(value)) => printable(value)?,
                };
                plain.push(if matches!(conversion, 'r' | 'a') { 's' } else { conversion });
                shown.push(value);
            }
        }
        rest = conversion.map_or("", |conversion| &after[conversion.len_utf8()..]);
    }
    plain.push_str(rest);
    if next.next().is_some() && !mapping {
        return Err(fail("there are more values than places in the format"));
    }
    made(run, format(FormatStyle::Printf, &plain, &shown))
}

fn made(run: &Run, made: Result<String, Error>) -> Result<String, Error> {
    let made = made?;
    run.spend(made.len())?;
    Ok(made)
}

/// `text.format(…)`.
fn braces(run: &Run, text: &str, positional: &[Value], named: &[(String, Value)]) -> Result<String, Error> {
    narrow(text, positional)?;
    let mut out = String::new();
    let mut automatic = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        match character {
            '{' if characters.next_if(|(_, next)| *next == '{').is_some() => out.push('{'),
            '}' if characters.next_if(|(_, next)| *next == '}').is_some() => out.push('}'),
            '}' => return Err(fail("a `}` in a format stands alone")),
            '{' => {
                let mut depth = 1;
                let mut end = place + 1;
                for (at, inside) in characters.by_ref() {
                    depth += match inside {
                        '{' => 1,
                        '}' => -1,
                        _ => 0,
                    };
                    end = at;
                    if depth == 0 {
                        break;
                    }
                }
                if depth > 0 {
                    return Err(fail("a `{` in a format has no end"));
                }
                out.push_str(&field(&text[place + 1..end], &mut automatic, positional, named)?);
            }
            _ => out.push(character),
        }
        if out.len() > LARGEST {
            break;
        }
    }
    run.spend(out.len())?;
    Ok(out)
}

/// One `{name!r:spec}`.
fn field(
    field: &str,
    automatic: &mut usize,
    positional: &[Value],
    named: &[(String, Value)],
) -> Result<String, Error> {
    let (path, spec) = field.split_once(':').unwrap_or((field, ""));
    let (path, conversion) = path.split_once('!').unwrap_or((path, ""));
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (name, mut steps) = path.split_at(end);
    let missing = || fail(format!("the format has a place `{{{field}}}` for which there is no value"));
    let mut value = match name {
        "" => {
            *automatic += 1;
            positional.get(*automatic - 1).cloned().ok_or_else(missing)?
        }
        name => match name.parse::<usize>() {
            Ok(index) => positional.get(index).cloned().ok_or_else(missing)?,
            Err(_) => {
                let found = named.iter().find(|(given, _)| given == name);
                found.map(|(_, value)| value.clone()).ok_or_else(missing)?
            }
        },
    };
    while !steps.is_empty() {
        let (step, rest) = match steps.strip_prefix('[') {
            Some(inside) => inside.split_once(']').ok_or_else(missing)?,
            None => {
                let inside = &steps[1..];
                inside.split_at(inside.find(['.', '[']).unwrap_or(inside.len()))
            }
        };
        if step.starts_with("__") {
            return Err(fail(format!("`{step}` cannot be reached from templates")));
        }
        let key = step.parse::<i64>().map_or_else(|_| Value::from(step), Value::from);
        value = value.get_item(&key)?;
        steps = rest;
    }
    operators::defined(&[&value])?;
    if let (Some(text), false) = (dates::formatted(&value, spec), spec.is_empty()) {
        return text;
    }
    let value = match conversion {
        "r" | "a" => Value::from(python::repr_of(&value)),
        "s" => Value::from(python::text(&value)?),
        _ if spec.is_empty() => Value::from(python::text(&value)?),
        _ => printable(&value)?,
    };
    if let (Some(spec), Some(number)) = (spec.strip_suffix('%'), Number::of(&value)) {
        let precise = if spec.contains('.') { format!("{{:{spec}f}}") } else { format!("{{:{spec}.6f}}") };
        let made = format(FormatStyle::StrFormat, &precise, &[Value::from(number.float() * 100.0)])?;
        return Ok(made + "%");
    }
    match spec {
        "" => python::text(&value),
        spec => format(FormatStyle::StrFormat, &format!("{{:{spec}}}"), &[value]),
    }
}
