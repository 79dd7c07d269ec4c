//! Native rendering: text that is a Python literal becomes what it says.

use minijinja::Value;
use minijinja::value::Tuple;

use super::containers::{dict, list};

/// The deepest nesting of a literal.
const DEEPEST: usize = 100;

/// The value of a text: that of the literal that it is, or else the text.
pub(super) fn value(text: &str) -> Value {
    literal(text).unwrap_or_else(|| Value::from(text))
}

fn literal(text: &str) -> Option<Value> {
    // Python reads an indented line as an error.
    if text.starts_with([' ', '\t']) {
        return None;
    }
    let mut reader = Reader { rest: text, depth: 0 };
    let first = reader.value()?;
    reader.space();
    let value = if reader.rest.starts_with(',') {
        Value::from(Tuple::from(reader.more(first, None)?))
    } else {
        first
    };
    reader.space();
    reader.rest.trim_end().is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        let inside = self.depth > 0;
        self.rest =
            self.rest.trim_start_matches(|c| matches!(c, ' ' | '\t') || (inside && matches!(c, '\n' | '\r')));
    }

    fn eat(&mut self, token: char) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<Value> {
        self.space();
        let first = self.rest.chars().next()?;
        match first {
            '[' => self.nested(|reader| {
                reader.eat('[');
                if reader.eat(']') {
                    return Some(list(Vec::new()));
                }
                let first = reader.value()?;
                let items = reader.more(first, Some(']'))?;
                reader.eat(']').then(|| list(items))
            }),
            '(' => self.nested(|reader| {
                reader.eat('(');
                if reader.eat(')') {
                    return Some(Value::from(Tuple::default()));
                }
                let first = reader.value()?;
                if reader.eat(')') {
                    return Some(first);
                }
                let items = reader.more(first, Some(')'))?;
                reader.eat(')').then(|| Value::from(Tuple::from(items)))
            }),
            '{' => self.nested(Self::entries),
            '\'' | '"' => self.text(),
            '-' | '+' => {
                self.rest = &self.rest[1..];
                self.space();
                let number = self.number()?;
                if first == '-' { negated(&number) } else { Some(number) }
            }
            '0'..='9' | '.' => self.number(),
            _ => ["True", "False", "None"].into_iter().find_map(|word| {
                let rest = self.rest.strip_prefix(word)?;
                if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                    return None;
                }
                self.rest = rest;
                Some(if word == "None" { Value::from(()) } else { Value::from(word == "True") })
            }),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<Value>) -> Option<Value> {
        self.depth += 1;
        let value = if self.depth > DEEPEST { None } else { read(self) };
        self.depth -= 1;
        value
    }

    /// The items behind a first one, up to what closes.
    fn more(&mut self, first: Value, close: Option<char>) -> Option<Vec<Value>> {
        let mut items = vec![first];
        while self.eat(',') {
            self.space();
            let done = close.map_or(self.rest.trim().is_empty(), |close| self.rest.starts_with(close));
            if done {
                break;
            }
            items.push(self.value()?);
        }
        Some(items)
    }

    fn entries(&mut self) -> Option<Value> {
        self.eat('{');
        let mut entries = Vec::new();
        while !self.eat('}') {
            if !entries.is_empty() && !self.eat(',') {
                return None;
            }
            if self.eat('}') {
                break;
            }
            let key = self.value()?;
            if !self.eat(':') {
                return None;
            }
            entries.push((key, self.value()?));
        }
        dict(entries).ok()
    }

    /// Texts that follow each other are one.
    fn text(&mut self) -> Option<Value> {
        let mut out = String::new();
        loop {
            let quote = self.rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
            let Some(quote) = quote else { break };
            let mut characters = self.rest[1..].chars();
            loop {
                match characters.next()? {
                    end if end == quote => break,
                    '\n' => return None,
                    '\\' => escape(&mut characters, &mut out)?,
                    character => out.push(character),
                }
            }
            self.rest = characters.as_str();
            self.space();
        }
        Some(Value::from(out))
    }

    fn number(&mut self) -> Option<Value> {
        let radix = match self.rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => 16,
            Some("0o") => 8,
            Some("0b") => 2,
            _ => 10,
        };
        let start = if radix == 10 { 0 } else { 2 };
        let mut end = start;
        let mut previous = ' ';
        for character in self.rest[start..].chars() {
            let part = character.is_digit(radix)
                || character == '_'
                || radix == 10 && matches!(character, '.' | 'e' | 'E')
                || radix == 10 && matches!(character, '-' | '+') && matches!(previous, 'e' | 'E');
            if !part {
                break;
            }
            (end, previous) = (end + character.len_utf8(), character);
        }
        let (digits, rest) = self.rest.split_at(end);
        let digits = &digits[start..];
        if digits.is_empty() || digits.ends_with('_') || digits.contains("__") || digits.starts_with('_') {
            return None;
        }
        let plain = digits.replace('_', "");
        let whole = plain.chars().all(|digit| digit.is_digit(radix));
        let value = if whole {
            // Python has no decimal numbers with zeros before them, other than zero.
            if radix == 10 && plain.len() > 1 && plain.starts_with('0') && !plain.trim_matches('0').is_empty()
            {
                return None;
            }
            let number = i128::from_str_radix(&plain, radix).ok()?;
            i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)
        } else {
            Value::from(plain.parse::<f64>().ok()?)
        };
        self.rest = rest;
        Some(value)
    }
}

fn negated(number: &Value) -> Option<Value> {
    match super::operators::Number::of(number)? {
        super::operators::Number::Integer(number) => {
            Some(super::operators::Number::Integer(number.checked_neg()?).into())
        }
        super::operators::Number::Float(number) => Some(Value::from(-number)),
    }
}

/// What stands behind a backslash.
fn escape(characters: &mut std::str::Chars<'_>, out: &mut String) -> Option<()> {
    let character = match characters.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        '\n' => return Some(()),
        same @ ('\\' | '\'' | '"') => same,
        kind @ ('x' | 'u' | 'U') => {
            let length = match kind {
                'x' => 2,
                'u' => 4,
                _ => 8,
            };
            let digits: String = characters.by_ref().take(length).collect();
            char::from_u32(u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == length)?)?
        }
        other => {
            out.push('\\');
            other
        }
    };
    out.push(character);
    Some(())
}
