//! The size that Airflow compares with its threshold: that of the text that Python's `json.dumps` makes
//! of a value, with `", "` and `": "` between its parts and everything but ASCII escaped.

use excom_core::Value;

/// How many bytes `json.dumps` makes of a value.
///
/// A name that occurs twice in a dict counts twice, though Python would keep one.
pub(super) fn dumped_size(value: &Value) -> u64 {
    let mut text = value.as_str();
    let mut size = 0;
    while let Some(first) = text.bytes().next() {
        let length = match first {
            b'"' => {
                let (length, dumped) = string(text);
                size += dumped;
                length
            }
            b'-' | b'0'..=b'9' => {
                let length = text.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(text.len());
                size += number(&text[..length]);
                length
            }
            b' ' | b'\t' | b'\r' | b'\n' => 1,
            b',' | b':' => {
                size += 2;
                1
            }
            // Brackets, and the letters of null, true and false.
            _ => {
                size += 1;
                1
            }
        };
        text = &text[length..];
    }
    size
}

/// The length of the string that a text begins with, and of what Python makes of it.
fn string(text: &str) -> (usize, u64) {
    let mut dumped = 2;
    let mut rest = text[1..].char_indices();
    while let Some((at, character)) = rest.next() {
        dumped += match character {
            '"' => return (at + 2, dumped),
            '\\' => match rest.next() {
                Some((_, 'u')) => {
                    let hex: String = rest.by_ref().take(4).map(|(_, digit)| digit).collect();
                    // One half of a pair is as long as any other character that is escaped.
                    u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32).map_or(6, escaped)
                }
                Some((_, '/')) => 1,
                _ => 2,
            },
            other => escaped(other),
        };
    }
    (text.len(), dumped)
}

/// How many bytes `json.dumps` makes of a character.
fn escaped(character: char) -> u64 {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        ' '..='~' => 1,
        '\u{10000}'.. => 12,
        _ => 6,
    }
}

/// How long Python's `repr` of a JSON number is.
fn number(text: &str) -> u64 {
    if !text.contains(['.', 'e', 'E']) {
        return if text == "-0" { 1 } else { text.len() as u64 };
    }
    let number: f64 = text.parse().unwrap_or_default();
    let sign = u64::from(number.is_sign_negative());
    if number.is_infinite() {
        return sign + "Infinity".len() as u64;
    }
    // The shortest digits that mean the number, as Python has them: `d.ddde±x`.
    let shortest = format!("{:e}", number.abs());
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits = digits.bytes().filter(u8::is_ascii_digit).count() as i64;
    let exponent: i64 = exponent.parse().unwrap_or_default();
    let length = match exponent {
        0..16 if digits > exponent + 1 => digits + 1,
        0..16 => exponent + 1 + 2,
        -4..0 => 1 - exponent + digits,
        _ => digits + i64::from(digits > 1) + 2 + if exponent.abs() < 100 { 2 } else { 3 },
    };
    sign + length.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts, and how long Python 3.11 makes them: `len(json.dumps(json.loads(text)))`.
    #[test]
    fn sizes_are_those_of_pythons_text() {
        for (text, size) in CASES {
            assert_eq!(dumped_size(&Value::parse(*text).unwrap()), *size, "{text}");
        }
    }

    const CASES: &[(&str, u64)] = &[
        (r#"null"#, 4),
        (r#"true"#, 4),
        (r#"[]"#, 2),
        (r#"{}"#, 2),
        (r#""""#, 2),
        (r#"[1,2,3]"#, 9),
        ("[ 1 ,\n 2 ]", 6),
        (r#"{"a":1,"b":[true,false,null]}"#, 34),
        (r#""é""#, 8),
        (r#""\u00e9""#, 8),
        (r#""😀""#, 14),
        (r#""\ud83d\ude00""#, 14),
        (r#""a\/b""#, 5),
        (r#""\n\t\"\\""#, 10),
        (r#""\u0041\u0000\u001f""#, 15),
        ("\"\u{7f}\"", 8),
        (r#"{"é":"\u007f"}"#, 20),
        (r#"-0"#, 1),
        (r#"-0.0"#, 4),
        (r#"0.0"#, 3),
        (r#"1.0"#, 3),
        (r#"1.50"#, 3),
        (r#"100"#, 3),
        (r#"1E2"#, 5),
        (r#"1e15"#, 18),
        (r#"1e16"#, 5),
        (r#"1e17"#, 5),
        (r#"123456789012345678"#, 18),
        (r#"12345678901234567.0"#, 22),
        (r#"1.5e16"#, 7),
        (r#"1.25e-4"#, 8),
        (r#"0.0001"#, 6),
        (r#"0.00001"#, 5),
        (r#"1e-5"#, 5),
        (r#"1.5e-7"#, 7),
        (r#"1e100"#, 6),
        (r#"1.5e-300"#, 8),
        (r#"1e400"#, 8),
        (r#"-1e400"#, 9),
        (r#"5e-324"#, 6),
        (r#"1.7976931348623157e308"#, 23),
        (r#"0.1"#, 3),
        (r#"-123.456"#, 8),
        (r#"9007199254740993.0"#, 18),
        (r#"[1e5,-2.5e-3]"#, 19),
        (r#"123456789012345678901234567890"#, 30),
        (r#""\u2028""#, 8),
        (r#""\ud83d\ude00\u0022""#, 16),
    ];
}
