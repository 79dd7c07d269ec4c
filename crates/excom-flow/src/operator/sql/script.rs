//! A script for PostgreSQL: cut into statements, its parameters numbered as the server wants them.
//!
//! It knows what text, names, comments and parameters look like, and nothing else of SQL; what is wrong in a
//! statement is the server's to say.

/// A statement of a script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    /// Its text, with `$1` for the first parameter and so on.
    pub(super) text: String,
    /// The names of the parameters in that order.
    pub(super) parameters: Vec<String>,
}

/// The statements of a script, without those that are empty.
pub(super) fn statements(script: &str) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut current = Statement::default();
    // A `;` in parentheses does not end a statement (`CREATE RULE`).
    let mut depth = 0u32;
    let mut empty = true;
    let mut rest = script;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => quoted(rest, '\'', escapes(&current.text)),
            '"' => quoted(rest, '"', false),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '$' if !in_word(&current.text) => dollars(rest),
            ':' if rest.starts_with("::") => 2,
            ':' => {
                let name = word(&rest[1..]);
                if name.is_empty() {
                    1
                } else {
                    let known = current.parameters.iter().position(|known| known == name);
                    let number = known.unwrap_or_else(|| {
                        current.parameters.push(name.to_owned());
                        current.parameters.len() - 1
                    });
                    current.text.push_str(&format!("${}", number + 1));
                    empty = false;
                    rest = &rest[1 + name.len()..];
                    continue;
                }
            }
            ';' if depth == 0 => {
                let whole = std::mem::take(&mut current);
                if !std::mem::replace(&mut empty, true) {
                    statements.push(whole);
                }
                rest = &rest[1..];
                continue;
            }
            _ => first.len_utf8(),
        };
        match first {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => (),
        }
        let (token, behind) = rest.split_at(length);
        empty &= first.is_whitespace() || token.starts_with("--") || token.starts_with("/*");
        current.text.push_str(token);
        rest = behind;
    }
    if !empty {
        statements.push(current);
    }
    statements
}

/// The length of quoted text; a doubled quote belongs to it, and with escapes what follows a backslash.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return at + letter.len_utf8();
        }
        if letter == '\\' && escapes {
            letters.next();
        }
    }
    text.len()
}

/// Whether text that begins here is of the form `E'…'`.
fn escapes(before: &str) -> bool {
    before.strip_suffix(['e', 'E']).is_some_and(|before| !in_word(before))
}

/// The length of a comment; comments nest.
fn comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        at += match (rest.starts_with(b"/*"), rest.starts_with(b"*/")) {
            (true, _) => {
                depth += 1;
                2
            }
            (_, true) => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of text between `$tag$` and `$tag$`, or of a lone dollar.
fn dollars(text: &str) -> usize {
    let tag = word(&text[1..]);
    let mark = &text[..=tag.len()];
    if !text[mark.len()..].starts_with('$') || tag.starts_with(|letter: char| letter.is_ascii_digit()) {
        return 1;
    }
    let mark = &text[..mark.len() + 1];
    text[mark.len()..].find(mark).map_or(text.len(), |end| 2 * mark.len() + end)
}

/// The word that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !is_of_word(letter)).unwrap_or(text.len());
    &text[..end]
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn in_word(before: &str) -> bool {
    before.chars().next_back().is_some_and(|letter| is_of_word(letter) || letter == '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<String> {
        statements(script).into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn statements_end_at_semicolons_that_are_not_inside_anything() {
        assert_eq!(texts("a; b ;; -- c;\n ; /* d; /* e; */ f; */"), ["a", " b "]);
        let whole = [
            "'a;''b;'",
            "\"a;\"\"b;\"",
            r"E'a\';b'",
            "$$a;b$$",
            "$x$a;$$;$y$;$x$",
            "(a; b)",
            "a /* ; */ b -- ;",
            "'a;",
            "$$a;",
            "/* a; */ b /* c;",
        ];
        for whole in whole {
            assert_eq!(texts(whole), [whole], "{whole}");
        }
        assert_eq!(texts(r"'a\';b"), [r"'a\'", "b"]);
        assert_eq!(texts("nice'a';b$1;c$x$;d"), ["nice'a'", "b$1", "c$x$", "d"]);
    }

    #[test]
    fn parameters_are_numbered_where_they_are_parameters() {
        let found =
            statements("SELECT :day::date, :é, ':no', a[1 : 2], x::int, $$:no$$, :day -- :no\n; :day");
        assert_eq!(found[0].text, "SELECT $1::date, $2, ':no', a[1 : 2], x::int, $$:no$$, $1 -- :no\n");
        assert_eq!(found[0].parameters, ["day", "é"]);
        assert_eq!((found[1].text.as_str(), &*found[1].parameters), (" $1", &["day".to_owned()][..]));
    }

    #[test]
    fn no_script_is_too_strange() {
        let letters = ["'", "\"", "$", "$a$", ":", ";", "é", "-", "/", "*", "(", ")", "E", "\\", "\n", "x1"];
        let mut random = 7u64;
        for _ in 0..20_000 {
            let mut script = String::new();
            for _ in 0..12 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                script.push_str(letters[(random >> 33) as usize % letters.len()]);
            }
            let length: usize = statements(&script).iter().map(|statement| statement.text.len()).sum();
            assert!(length <= 3 * script.len(), "{script}");
        }
    }
}
