//! Text for people: tables, sizes, numbers, and names that cannot disturb a terminal.

use std::fmt::Write as _;

use jiff::Timestamp;

/// A size such as `12 bytes` or `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    // A size that would print as 1024.0 belongs to the next unit.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A number with its thousands apart: `1,203,441`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 XCom`, `2 XComs`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", self::number(number))
}

/// A time to the second, UTC.
pub(crate) fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// How long something took, such as `1.204s` or `2m 3s`.
pub(crate) fn duration(from: Timestamp, to: Timestamp) -> String {
    let took = to.duration_since(from);
    let seconds = took.as_secs();
    match seconds {
        0..60 => format!("{}.{:03}s", seconds, took.subsec_millis()),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// The beginning of a text, for a list.
pub(crate) fn beginning(text: &str) -> String {
    const CHARACTERS: usize = 60;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A word for a shell, in single quotes.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", tame(&word.replace('\'', r"'\''")))
}

/// A name or preview with its control characters escaped, which could otherwise move the cursor or
/// change a terminal's settings.
pub(crate) fn tame(text: &str) -> String {
    let wild = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.chars().any(wild) {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut tamed, c| {
        if wild(c) {
            let _ = write!(tamed, "{}", c.escape_default());
        } else {
            tamed.push(c);
        }
        tamed
    })
}

/// Rows under headings, each column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: Vec<&'static str>) -> Self {
        Self { headings, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| tame(&cell)).collect());
    }

    /// The heading, and then a line for each row.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = move |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, width) in cells.zip(&widths) {
                let padding = width.saturating_sub(cell.chars().count()) + 2;
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', padding));
            }
            line.truncate(line.trim_end().len());
            line
        };
        let heading = line(&mut self.headings.iter().copied());
        let rows: Vec<String> =
            self.rows.iter().map(|row| line(&mut row.iter().map(String::as_str))).collect();
        std::iter::once(heading).chain(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers() {
        assert_eq!(size(1023), "1,023 bytes");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_203_441), "1,203,441");
        assert_eq!(count(1, "XCom"), "1 XCom");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_is_no_text() {
        assert_eq!(tame("ключ ok"), "ключ ok");
        assert_eq!(tame("\x1b[2Jx\u{9b}\u{202e}\n"), "\\u{1b}[2Jx\\u{9b}\\u{202e}\\n");
    }

    #[test]
    fn durations_get_coarser() {
        let told = |millis| duration(Timestamp::UNIX_EPOCH, Timestamp::from_millisecond(millis).unwrap());
        assert_eq!([told(0), told(1_204), told(59_999)], ["0.000s", "1.204s", "59.999s"]);
        assert_eq!([told(123_000), told(7_260_000)], ["2m 3s", "2h 1m"]);
    }

    #[test]
    fn long_texts_begin_and_words_are_quoted() {
        assert_eq!(beginning(&"é".repeat(60)), "é".repeat(60));
        assert_eq!(beginning(&"é".repeat(61)), format!("{}…", "é".repeat(60)));
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn tables_align() {
        let mut table = Table::new(vec!["key", "size"]);
        table.row(["é".repeat(5), "1".into()]);
        table.row(["a".into(), "22".into()]);
        let lines: Vec<String> = table.lines().collect();
        assert_eq!(lines, ["key    size", "ééééé  1", "a      22"]);
    }
}
