//! Filters over text.

use std::fmt::Write as _;

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::super::args::{Args, fail};
use super::super::containers::entries;
use super::super::run::LARGEST;
use super::super::{containers, methods, operators, python};
use super::run;

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter("upper", |value: &Value| Ok::<_, Error>(text(value)?.to_uppercase()));
    environment.add_filter("lower", |value: &Value| Ok::<_, Error>(text(value)?.to_lowercase()));
    environment.add_filter("capitalize", |value: &Value| Ok::<_, Error>(methods::capitalized(&text(value)?)));
    environment.add_filter("title", |value: &Value| text(value).map(|text| title(&text)));
    environment.add_filter("trim", |value: &Value, args: Rest<ValueOrKwargs>| {
        let text = text(value)?;
        let mut args = Args::new("trim", &args.into_values())?;
        let chars = args.optional_text("chars")?;
        args.end()?;
        Ok::<_, Error>(match chars {
            Some(chars) => text.trim_matches(|c| chars.contains(c)).to_owned(),
            None => text.trim().to_owned(),
        })
    });
    environment.add_filter("center", |state: &State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>| {
        let mut args = Args::new("center", &args.into_values())?;
        let width = args.optional_integer("width")?.unwrap_or(80);
        args.end()?;
        methods::padded(&*run(state)?, &text(value)?, "center", usize::try_from(width).unwrap_or(0), None)
    });
    environment.add_filter("replace", |state: &State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>| {
        let mut args = Args::new("replace", &args.into_values())?;
        let (old, new) = (text(&args.required("old")?)?, text(&args.required("new")?)?);
        let count = args.optional("count")?.and_then(|count| count.as_usize());
        args.end()?;
        methods::replaced(&*run(state)?, &text(value)?, &old, &new, count)
    });
    environment.add_filter("format", format);
    environment.add_filter("forceescape", |value: &Value| {
        text(value).map(|text| Value::from_safe_string(escaped(&text)))
    });
    environment.add_filter("indent", indent);
    environment.add_filter("striptags", |value: &Value| text(value).map(|text| striptags(&text)));
    environment.add_filter("truncate", truncate);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("wordcount", |value: &Value| {
        let text = text(value)?;
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
        Ok::<_, Error>(words.count())
    });
    environment.add_filter("wordwrap", wordwrap);
    environment.add_filter("xmlattr", xmlattr);
}

/// Any value as text, as filters over text take it.
fn text(value: &Value) -> Result<String, Error> {
    operators::defined(&[value])?;
    python::text(value)
}

/// Each word large; words begin behind white space, hyphens and opening brackets.
fn title(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for character in text.chars() {
        if inside {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
        inside = !(character.is_whitespace() || "-({[<".contains(character));
    }
    out
}

fn format(state: &State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let format = text(value)?;
    let mut given = Args::new("format", &args.into_values())?;
    let (positional, named) = (given.rest(), given.rest_named()?);
    given.end()?;
    if named.is_empty() {
        return methods::percent(&*run(state)?, &format, &positional);
    }
    if !positional.is_empty() {
        return Err(fail("format takes values by position or by name, not both"));
    }
    let named = containers::dict(named.into_iter().map(|(name, value)| (Value::from(name), value)))?;
    methods::percent(&*run(state)?, &format, &[named])
}

/// Text as HTML shows it.
pub(in crate::template) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}

fn indent(state: &State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let text = text(value)?;
    let mut args = Args::new("indent", &args.into_values())?;
    let width = args.optional("width")?.unwrap_or_else(|| Value::from(4));
    let (first, blank) = (args.flag("first")?, args.flag("blank")?);
    args.end()?;
    let lines = text.matches('\n').count() + 1;
    let run = run(state)?;
    let pad = match width.as_str() {
        Some(pad) => pad.to_owned(),
        None => {
            let width = width.as_usize().unwrap_or(0);
            run.spend(width)?;
            " ".repeat(width)
        }
    };
    run.spend(text.len().saturating_add(lines.saturating_mul(pad.len())))?;
    let mut out = String::new();
    for (place, line) in text.split('\n').enumerate() {
        if place > 0 {
            out.push('\n');
        }
        if (place > 0 || first) && (blank || !line.is_empty()) {
            out.push_str(&pad);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Without tags and comments, and with single spaces.
fn striptags(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.find('<') {
        let end = if rest[start..].starts_with("<!--") { "-->" } else { ">" };
        let Some(length) = rest[start..].find(end) else { break };
        out.push_str(&rest[..start]);
        rest = &rest[start + length + end.len()..];
    }
    out.push_str(rest);
    let out = out.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", "\"").replace("&quot;", "\"");
    let out = out.replace("&#39;", "'").replace("&amp;", "&");
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn truncate(value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let text = text(value)?;
    let mut args = Args::new("truncate", &args.into_values())?;
    let length = usize::try_from(args.optional_integer("length")?.unwrap_or(255)).unwrap_or(0);
    let exact = args.flag("killwords")?;
    let end = args.optional_text("end")?.unwrap_or_else(|| "...".to_owned());
    let leeway = usize::try_from(args.optional_integer("leeway")?.unwrap_or(5)).unwrap_or(0);
    args.end()?;
    let endings = end.chars().count();
    if length < endings {
        return Err(fail(format!("the length of truncate is at least that of its end, {endings}")));
    }
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let cut: String = text.chars().take(length - endings).collect();
    let kept = if exact { &*cut } else { cut.rsplit_once(' ').map_or(&*cut, |(words, _)| words) };
    Ok(format!("{kept}{end}"))
}

fn quoted(text: &str, slash: bool, plus: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            b'/' if slash => out.push('/'),
            b' ' if plus => out.push('+'),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn urlencode(value: &Value) -> Result<String, Error> {
    operators::defined(&[value])?;
    if matches!(value.kind(), ValueKind::Map | ValueKind::Seq) {
        let pairs = entries(value)?.into_iter().map(|(name, value)| {
            Ok(format!(
                "{}={}",
                quoted(&python::text(&name)?, false, true),
                quoted(&python::text(&value)?, false, true)
            ))
        });
        return Ok(pairs.collect::<Result<Vec<_>, Error>>()?.join("&"));
    }
    Ok(quoted(&python::text(value)?, true, false))
}

fn wordwrap(state: &State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let text = text(value)?;
    let mut args = Args::new("wordwrap", &args.into_values())?;
    let width = usize::try_from(args.optional_integer("width")?.unwrap_or(79)).unwrap_or(0).max(1);
    let break_words = args.optional("break_long_words")?.is_none_or(|given| given.is_true());
    let end = args.optional_text("wrapstring")?.unwrap_or_else(|| "\n".to_owned());
    args.end()?;
    run(state)?.spend(text.len().saturating_mul(end.len().max(1)).min(LARGEST + 1).max(text.len()))?;
    let wrapped: Vec<String> = text.lines().map(|line| wrap(line, width, break_words).join(&end)).collect();
    Ok(wrapped.join(&end))
}

/// The pieces that a line may be broken between: white space, and words, which end at their hyphens.
fn pieces(line: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut previous: Option<char> = None;
    let mut before_hyphen = false;
    for character in line.chars() {
        let continues =
            previous.is_some_and(|previous| previous.is_whitespace() == character.is_whitespace());
        let broken = before_hyphen && character.is_alphabetic();
        match pieces.last_mut() {
            Some(piece) if continues && !broken => piece.push(character),
            _ => pieces.push(character.to_string()),
        }
        before_hyphen = character == '-' && previous.is_some_and(char::is_alphabetic);
        previous = Some(character);
    }
    pieces
}

/// The lines of a line, none longer than the width if words may be broken.
fn wrap(line: &str, width: usize, break_words: bool) -> Vec<String> {
    let is_space = |piece: &String| piece.trim().is_empty();
    let mut lines: Vec<String> = Vec::new();
    let mut rest = std::collections::VecDeque::from(pieces(line));
    while !rest.is_empty() {
        if !lines.is_empty() && rest.front().is_some_and(is_space) {
            rest.pop_front();
        }
        let (mut current, mut used): (Vec<String>, usize) = (Vec::new(), 0);
        while let Some(piece) = rest.pop_front_if(|piece| used + piece.chars().count() <= width) {
            used += piece.chars().count();
            current.push(piece);
        }
        if let Some(long) = rest.pop_front_if(|piece| piece.chars().count() > width) {
            if break_words {
                let cut = long.char_indices().nth(width - used).map_or(long.len(), |(place, _)| place);
                let (now, later) = long.split_at(cut);
                current.push(now.to_owned());
                rest.push_front(later.to_owned());
            } else if current.is_empty() {
                current.push(long);
            } else {
                rest.push_front(long);
            }
        }
        current.pop_if(|piece| is_space(piece));
        if !current.is_empty() {
            lines.push(current.concat());
        }
    }
    lines
}

fn xmlattr(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    operators::defined(&[value])?;
    let mut args = Args::new("xmlattr", &args.into_values())?;
    let spaced = args.optional("autospace")?.is_none_or(|spaced| spaced.is_true());
    args.end()?;
    let mut out = String::new();
    for (name, value) in entries(value)? {
        if value.is_none() || value.is_undefined() {
            continue;
        }
        let name = python::text(&name)?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || "/>=".contains(c)) {
            return Err(fail(format!("`{name}` cannot be the name of an attribute")));
        }
        let gap = if out.is_empty() { "" } else { " " };
        out.push_str(&format!("{gap}{}=\"{}\"", escaped(&name), escaped(&python::text(&value)?)));
    }
    Ok(Value::from_safe_string(if spaced && !out.is_empty() { format!(" {out}") } else { out }))
}
