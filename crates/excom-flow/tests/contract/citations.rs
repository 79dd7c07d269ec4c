//! `COMPATIBILITY.md` promises nothing without a test: every test that it names exists, and every line
//! that compares names one.

use std::path::{Path, PathBuf};

/// The short names of folders that the page uses.
const PLACES: [(&str, &str); 19] = [
    ("flow/", "crates/excom-flow/tests/flow/"),
    ("contract/", "crates/excom-flow/tests/contract/"),
    ("corpus/", "crates/excom-flow/tests/corpus/"),
    ("flow-src/", "crates/excom-flow/src/"),
    ("suite/", "crates/excom-core/src/conformance/"),
    ("core/", "crates/excom-core/src/"),
    ("db/", "crates/excom-db/tests/"),
    ("command/", "crates/excom-cli/tests/command/"),
    ("airflow/", "crates/excom-airflow/tests/python/"),
    ("airflow-src/", "crates/excom-airflow/src/"),
    ("objects/", "crates/excom-airflow/tests/objects/"),
    ("process/", "crates/excom-airflow/tests/process/"),
    ("connections/", "crates/excom-airflow/tests/connections/"),
    ("contracts/", "crates/excom-flow/tests/contracts/"),
    ("settings/", "crates/excom/src/config/"),
    ("program/", "crates/excom-testkit/tests/program/"),
    ("http/", "crates/excom-server/tests/http/"),
    ("server-src/", "crates/excom-server/src/"),
    ("serve/", "crates/excom-cli/tests/serve/"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("COMPATIBILITY.md")).unwrap()
}

/// The cells of a line of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inside = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inside.split('|').map(str::trim).collect())
}

/// The tests that a cell names, as file and function.
fn citations(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect()
}

#[test]
fn every_test_that_the_page_names_exists() {
    let mut named = 0;
    for (file, test) in page().lines().filter_map(cells).flatten().flat_map(citations) {
        let (short, folder) = PLACES.iter().find(|(short, _)| file.starts_with(short)).unwrap_or_else(|| {
            panic!("`{file}::{test}` is in no place that the page explains");
        });
        let path = root().join(folder).join(&file[short.len()..]);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        let (before, _) = text.split_once(&format!("fn {test}(")).unwrap_or_else(|| panic!("{file}::{test}"));
        let above: Vec<&str> = before.lines().rev().take(3).collect();
        let is_test = above.iter().any(|line| {
            let line = line.trim();
            line == "#[test]" || line.starts_with("#[tokio::test")
        });
        let is_scenario = *short == "suite/" && before.ends_with("pub async ");
        assert!(is_test || is_scenario, "{file}::{test} is no test");
        assert!(!above.iter().any(|line| line.contains("#[ignore")), "{file}::{test} is ignored");
        named += 1;
    }
    assert!(named > 100, "only {named} tests are named: the page is not read as it is written");
}

#[test]
fn every_line_that_compares_names_a_test() {
    let mut compared = 0;
    for line in page().lines() {
        let Some(cells) = cells(line) else { continue };
        let [.., status, shown] = cells[..] else { continue };
        if status.starts_with("same") || status.starts_with("differs") {
            assert!(!citations(shown).is_empty(), "{line}");
            compared += 1;
        } else {
            assert!(
                !line.contains("::") && (shown.is_empty() || status.is_empty() || is_head(status)),
                "{line}"
            );
        }
    }
    assert!(compared > 100, "only {compared} lines compare: the page is not read as it is written");
}

/// Heads of tables, the lines under them, and the list of places.
fn is_head(status: &str) -> bool {
    status.starts_with("---") || status == "short" || status.starts_with('`')
}

#[test]
fn every_short_name_of_a_folder_is_explained() {
    let page = page();
    for (short, folder) in PLACES {
        assert!(page.contains(&format!("| `{short}` | `{folder}`")), "{short}");
    }
}
