//! What a parameter takes, in words for whoever gives it: the Rust type is the DAG author's.

/// The words for a Rust type as it is written in a DAG. A type that is none of the common ones is taken as JSON.
pub(super) fn of(type_name: &str) -> &'static str {
    let written: String = type_name.chars().filter(|c| !c.is_whitespace()).collect();
    let written = written.trim_start_matches('&');
    let (outer, inner) = match written.split_once('<') {
        Some((outer, inner)) => (outer, inner.strip_suffix('>').unwrap_or(inner)),
        None => (written, ""),
    };
    match outer.rsplit("::").next().unwrap_or(outer) {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => {
            "whole number"
        }
        "f32" | "f64" => "number",
        "String" | "str" | "char" => "text",
        "PathBuf" | "Path" => "path",
        "bool" => "true/false",
        "Vec" | "VecDeque" | "HashSet" | "BTreeSet" => "list",
        "HashMap" | "BTreeMap" => "dict",
        "Date" | "NaiveDate" => "date",
        "Timestamp" | "Zoned" | "DateTime" => "time",
        "Option" | "Box" | "Arc" | "Rc" => of(inner),
        "" if written.starts_with('[') => "list",
        outer if outer.starts_with('[') || outer.starts_with('(') => "list",
        _ => "value",
    }
}

/// The words in a sentence.
pub(super) fn in_a_sentence(kind: &str) -> String {
    match kind {
        "true/false" => "true or false".to_owned(),
        "text" => kind.to_owned(),
        kind => format!("a {kind}"),
    }
}

/// A text that fits, for examples in messages.
pub(super) fn example(kind: &str) -> &'static str {
    match kind {
        "whole number" => "30",
        "number" => "30.5",
        "text" => "some text",
        "path" => "data/file.csv",
        "true/false" => "true",
        "list" => "'[1, 2]'",
        "dict" => r#"'{"a": 1}'"#,
        "date" => "2026-11-21",
        "time" => "2026-11-21T10:00:00Z",
        _ => r#"'"text"', 30 or '[1, 2]', as JSON"#,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn types_have_names_that_people_know() {
        for (type_name, kind) in [
            ("f64", "number"),
            ("u32", "whole number"),
            ("std :: path :: PathBuf", "path"),
            ("Option < String >", "text"),
            ("Vec<Vec<f64>>", "list"),
            ("[u8; 3]", "list"),
            ("(f64, f64)", "list"),
            ("HashMap<String, u8>", "dict"),
            ("jiff::civil::Date", "date"),
            ("Timestamp", "time"),
            ("Mode", "value"),
        ] {
            assert_eq!(super::of(type_name), kind, "{type_name}");
        }
    }
}
