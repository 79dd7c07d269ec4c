//! Dates as text: Python's `strftime`, pendulum's `format`, and the patterns of locales that Babel reads.
//! Names are English.

use minijinja::Error;

use super::DateTime;
use super::datetime::weekday_name;
use crate::template::args::fail;
use crate::template::run::LARGEST;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn month(date: &DateTime) -> &'static str {
    MONTHS.get(usize::try_from(date.civil.month() - 1).unwrap_or(0)).copied().unwrap_or_default()
}

fn weekday(date: &DateTime) -> &'static str {
    weekday_name(date.civil.weekday())
}

/// The hour from 1 to 12.
fn twelve(date: &DateTime) -> i8 {
    (date.civil.hour() + 11) % 12 + 1
}

fn half(date: &DateTime) -> &'static str {
    if date.civil.hour() < 12 { "AM" } else { "PM" }
}

/// `date.strftime(format)`, in the C locale.
pub(in crate::template) fn strftime(format: &str, date: &DateTime) -> Result<String, Error> {
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut directive = characters.next();
        let flag = directive.filter(|flag| matches!(flag, '-' | '_' | '0' | '^'));
        if flag.is_some() {
            directive = characters.next();
        }
        let Some(directive) = directive else {
            out.push('%');
            break;
        };
        let text = one(directive, date)?;
        match flag {
            Some('-') => out.push_str(unpadded(&text)),
            Some('_') => {
                let short = unpadded(&text);
                (short.len()..text.len()).for_each(|_| out.push(' '));
                out.push_str(short);
            }
            Some('^') => out.push_str(&text.to_uppercase()),
            _ => out.push_str(&text),
        }
        if out.len() > LARGEST {
            return Err(fail("the text of a date is too long"));
        }
    }
    Ok(out)
}

/// Without zeros or spaces before the first digit that counts.
fn unpadded(text: &str) -> &str {
    let short = text.trim_start_matches(['0', ' ']);
    match short.is_empty() && !text.is_empty() {
        true => &text[text.len() - 1..],
        false => short,
    }
}

fn one(directive: char, date: &DateTime) -> Result<String, Error> {
    let (civil, day) = (date.civil, date.civil.date());
    let sunday = i32::from(day.weekday().to_sunday_zero_offset());
    let monday = i32::from(day.weekday().to_monday_zero_offset());
    let in_year = i32::from(day.day_of_year());
    let iso = day.iso_week_date();
    Ok(match directive {
        '%' => "%".to_owned(),
        'Y' => civil.year().to_string(),
        'y' => format!("{:02}", civil.year().rem_euclid(100)),
        'C' => format!("{:02}", civil.year() / 100),
        'm' => format!("{:02}", civil.month()),
        'd' => format!("{:02}", civil.day()),
        'e' => format!("{:2}", civil.day()),
        'H' => format!("{:02}", civil.hour()),
        'k' => format!("{:2}", civil.hour()),
        'I' => format!("{:02}", twelve(date)),
        'l' => format!("{:2}", twelve(date)),
        'M' => format!("{:02}", civil.minute()),
        'S' => format!("{:02}", civil.second()),
        'f' => format!("{:06}", civil.subsec_nanosecond() / 1000),
        'p' => half(date).to_owned(),
        'P' => half(date).to_lowercase(),
        'A' => weekday(date).to_owned(),
        'a' => weekday(date)[..3].to_owned(),
        'B' => month(date).to_owned(),
        'b' | 'h' => month(date)[..3].to_owned(),
        'j' => format!("{in_year:03}"),
        'u' => (monday + 1).to_string(),
        'w' => sunday.to_string(),
        'U' => format!("{:02}", (in_year + 6 - sunday) / 7),
        'W' => format!("{:02}", (in_year + 6 - monday) / 7),
        'V' => format!("{:02}", iso.week()),
        'G' => iso.year().to_string(),
        'g' => format!("{:02}", iso.year().rem_euclid(100)),
        'z' => date.offset_text("").unwrap_or_default(),
        'Z' => date.zone_name().unwrap_or_default(),
        's' => date.zoned()?.timestamp().as_second().to_string(),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        'c' => strftime("%a %b %e %H:%M:%S %Y", date)?,
        'D' | 'x' => strftime("%m/%d/%y", date)?,
        'F' => strftime("%Y-%m-%d", date)?,
        'R' => strftime("%H:%M", date)?,
        'T' | 'X' => strftime("%H:%M:%S", date)?,
        'r' => strftime("%I:%M:%S %p", date)?,
        other => format!("%{other}"),
    })
}

/// pendulum's `format`: `YYYY-MM-DD HH:mm:ss`, with text in brackets.
pub(super) fn pendulum(format: &str, date: &DateTime) -> Result<String, Error> {
    // Longer tokens come before those that they begin with.
    const TOKENS: [&str; 33] = [
        "YYYY", "YY", "Y", "Qo", "Q", "MMMM", "MMM", "MM", "Mo", "M", "DDDD", "DDD", "DD", "Do", "D", "dddd",
        "ddd", "dd", "d", "E", "HH", "H", "hh", "h", "mm", "m", "ss", "s", "SSSSSS", "SSS", "A", "ZZ", "Z",
    ];
    let (mut out, mut rest) = (String::new(), format);
    while let Some(first) = rest.chars().next() {
        if let Some(text) = rest.strip_prefix('[')
            && let Some((literal, after)) = text.split_once(']')
        {
            out.push_str(literal);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("zz").or_else(|| rest.strip_prefix('z')) {
            out.push_str(&date.zone_name().unwrap_or_default());
            rest = after;
        } else if let Some(after) = rest.strip_prefix('X') {
            out.push_str(&date.zoned()?.timestamp().as_second().to_string());
            rest = after;
        } else if let Some(token) = TOKENS.iter().find(|token| rest.starts_with(**token)) {
            out.push_str(&pendulum_token(token, date));
            rest = &rest[token.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(out)
}

fn ordinal(number: i64) -> String {
    let ending = match (number % 10, number % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn pendulum_token(token: &str, date: &DateTime) -> String {
    let (civil, day) = (date.civil, date.civil.date());
    let quarter = (i64::from(civil.month()) - 1) / 3 + 1;
    let micros = civil.subsec_nanosecond() / 1000;
    match token {
        "YYYY" => format!("{:04}", civil.year()),
        "YY" => format!("{:02}", civil.year().rem_euclid(100)),
        "Y" => civil.year().to_string(),
        "Qo" => ordinal(quarter),
        "Q" => quarter.to_string(),
        "MMMM" => month(date).to_owned(),
        "MMM" => month(date)[..3].to_owned(),
        "MM" => format!("{:02}", civil.month()),
        "Mo" => ordinal(civil.month().into()),
        "M" => civil.month().to_string(),
        "DDDD" => format!("{:03}", day.day_of_year()),
        "DDD" => day.day_of_year().to_string(),
        "DD" => format!("{:02}", civil.day()),
        "Do" => ordinal(civil.day().into()),
        "D" => civil.day().to_string(),
        "dddd" => weekday(date).to_owned(),
        "ddd" => weekday(date)[..3].to_owned(),
        "dd" => weekday(date)[..2].to_owned(),
        "d" | "E" => day.weekday().to_monday_one_offset().to_string(),
        "HH" => format!("{:02}", civil.hour()),
        "H" => civil.hour().to_string(),
        "hh" => format!("{:02}", twelve(date)),
        "h" => twelve(date).to_string(),
        "mm" => format!("{:02}", civil.minute()),
        "m" => civil.minute().to_string(),
        "ss" => format!("{:02}", civil.second()),
        "s" => civil.second().to_string(),
        "SSSSSS" => format!("{micros:06}"),
        "SSS" => format!("{:03}", micros / 1000),
        "A" => half(date).to_owned(),
        "ZZ" => date.offset_text("").unwrap_or_default(),
        _ => date.offset_text(":").unwrap_or_default(),
    }
}

/// A date in a pattern of Unicode's locale data, as Babel reads it: `EEEE dd MMMM yyyy`.
pub(in crate::template) fn babel(pattern: &str, date: &DateTime) -> Result<String, Error> {
    let mut out = String::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\'' {
            // Text stands between quotes, and two of them are one.
            if characters.next_if_eq(&'\'').is_some() {
                out.push('\'');
                continue;
            }
            while let Some(inside) = characters.next() {
                if inside == '\'' && characters.next_if_eq(&'\'').is_none() {
                    break;
                }
                out.push(inside);
            }
            continue;
        }
        if !character.is_ascii_alphabetic() {
            out.push(character);
            continue;
        }
        let mut length = 1;
        while characters.next_if_eq(&character).is_some() {
            length += 1;
        }
        out.push_str(&babel_field(character, length, date)?);
    }
    Ok(out)
}

fn babel_field(field: char, length: usize, date: &DateTime) -> Result<String, Error> {
    let civil = date.civil;
    let number = |number: i64| format!("{number:0length$}");
    Ok(match (field, length) {
        ('y', 2) => format!("{:02}", civil.year().rem_euclid(100)),
        ('y', 1..=9) => number(civil.year().into()),
        ('M' | 'L', 1..=2) => number(civil.month().into()),
        ('M' | 'L', 3) => month(date)[..3].to_owned(),
        ('M' | 'L', 4) => month(date).to_owned(),
        ('d', 1..=2) => number(civil.day().into()),
        ('D', 1..=3) => number(civil.date().day_of_year().into()),
        ('E', 1..=3) => weekday(date)[..3].to_owned(),
        ('E', 4) => weekday(date).to_owned(),
        ('a', _) => half(date).to_owned(),
        ('H', 1..=2) => number(civil.hour().into()),
        ('h', 1..=2) => number(twelve(date).into()),
        ('m', 1..=2) => number(civil.minute().into()),
        ('s', 1..=2) => number(civil.second().into()),
        ('Q', 1..=2) => number((i64::from(civil.month()) - 1) / 3 + 1),
        _ => {
            let pattern: String = std::iter::repeat_n(field, length.min(9)).collect();
            return Err(fail(format!("`{pattern}` is not one of the date patterns that Excom knows")));
        }
    })
}
