//! What may be within a part of an entry, or at its beginning, as Airflow's lists take it.

use crate::refusal::Refusal;
use crate::request::Params;

/// The most bytes of a pattern.
const LONGEST_PATTERN: usize = 1000;

/// The parameters of what is to be within a part of an entry, and at its beginning; and the part.
pub(super) type Asked<E> = (&'static str, &'static str, Part<E>);

/// A part of an entry.
type Part<E> = fn(&E) -> &str;

/// What patterns ask of the parts of an entry; one of the terms of each is to fit.
pub(super) struct Patterns<'a, E> {
    within: Vec<(Part<E>, Vec<Segments>)>,
    before: Vec<(Part<E>, Vec<&'a str>)>,
}

impl<'a, E> Patterns<'a, E> {
    /// Refuses those that would take a server's time: each is looked for in every entry.
    pub(super) fn of(params: &'a Params, parts: &[Asked<E>]) -> Result<Self, Refusal> {
        let given = |name: &str| match params.text(name) {
            Some(text) if text.len() > LONGEST_PATTERN => {
                let message = format!("a pattern has at most {LONGEST_PATTERN} bytes");
                Err(Refusal::unprocessable("string_too_long", &["query", name], message, text))
            }
            text => Ok(text),
        };
        let mut patterns = Self { within: Vec::new(), before: Vec::new() };
        for &(pattern, prefix, part) in parts {
            if let Some(pattern) = given(pattern)? {
                patterns.within.push((part, terms(pattern).map(segments).collect()));
            }
            if let Some(prefix) = given(prefix)? {
                patterns.before.push((part, terms(prefix).collect()));
            }
        }
        Ok(patterns)
    }

    pub(super) fn hold(&self, entry: &E) -> bool {
        let within = |(part, terms): &(Part<E>, Vec<Segments>)| {
            let text: Vec<char> = part(entry).to_lowercase().chars().collect();
            terms.iter().any(|term| contains(term, &text))
        };
        let before =
            |(part, terms): &(Part<E>, Vec<&str>)| terms.iter().any(|term| begins(term, part(entry)));
        self.within.iter().all(within) && self.before.iter().all(before)
    }
}

/// The terms of a pattern: `|` stands between them, and `~` alone for every text.
fn terms(pattern: &str) -> impl Iterator<Item = &str> {
    let parts = || pattern.split('|').map(str::trim).filter(|term| !term.is_empty());
    let one = match pattern {
        "~" => Some(""),
        _ if pattern.contains('|') && parts().next().is_some() => None,
        _ => Some(pattern),
    };
    one.into_iter().chain(parts().filter(move |_| one.is_none()))
}

/// Whether a text begins with a term, of which what stands behind its last letter or digit does not count.
fn begins(term: &str, text: &str) -> bool {
    text.starts_with(term.trim_end_matches(|end: char| !end.is_alphanumeric()))
}

/// Whether a text contains a term as SQL's ILIKE has it: in upper or lower case, `%` for anything, `_` for any
/// character, and a backslash before one that stands for itself. The text is in lower case.
fn contains(term: &Segments, text: &[char]) -> bool {
    let mut left = text;
    term.iter().all(|segment| {
        let found = left.windows(segment.len().max(1)).position(|place| {
            segment.iter().zip(place).all(|(wanted, there)| wanted.is_none_or(|wanted| wanted == *there))
        });
        match found {
            _ if segment.is_empty() => true,
            Some(place) => {
                left = &left[place + segment.len()..];
                true
            }
            None => false,
        }
    })
}

/// What stands between the `%` of a term: characters in lower case, or none for any.
type Segments = Vec<Vec<Option<char>>>;

fn segments(term: &str) -> Segments {
    let mut segments = vec![Vec::new()];
    let mut left = term.chars().flat_map(char::to_lowercase);
    while let Some(next) = left.next() {
        let one = match next {
            '%' => {
                segments.push(Vec::new());
                continue;
            }
            '_' => None,
            '\\' => Some(left.next().unwrap_or('\\')),
            other => Some(other),
        };
        segments.last_mut().into_iter().for_each(|last| last.push(one));
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::{begins, contains, segments, terms};

    #[test]
    fn patterns_are_parts_of_texts_in_any_case() {
        for (pattern, text, fits) in [
            ("row", "Rows", true),
            ("r%s", "rows", true),
            ("r%x", "rows", false),
            ("r_ws", "Rows", true),
            ("r_s", "rows", false),
            (r"r\%s", "r%s", true),
            (r"r\%s", "rows", false),
            (r"r\_", "rows", false),
            ("x|ROW", "rows", true),
            ("~", "rows", true),
            ("", "rows", true),
            ("|", "rows", false),
            ("s%r", "rows", false),
        ] {
            let lower: Vec<char> = text.to_lowercase().chars().collect();
            assert_eq!(
                terms(pattern).any(|term| contains(&segments(term), &lower)),
                fits,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn prefixes_are_exact_up_to_their_last_letter() {
        for (prefix, text, fits) in [
            ("ro", "rows", true),
            ("Ro", "rows", false),
            ("x | ro", "rows", true),
            ("ro_", "rows", true),
            ("o", "rows", false),
            ("~", "rows", true),
        ] {
            assert_eq!(terms(prefix).any(|term| begins(term, text)), fits, "{prefix} {text}");
        }
    }
}
