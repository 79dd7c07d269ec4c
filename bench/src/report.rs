//! What is printed, and what is kept.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::goals::Goal;

/// What stands beside a row.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Beside {
    Figure(f64),
    /// Why there is no figure.
    Missing(String),
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Figure(figure) => write!(f, "{figure:.2}"),
            Self::Missing(why) => write!(f, "not to be had: {why}"),
        }
    }
}

/// A measured row.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) ours: f64,
    pub(crate) reference: Option<f64>,
    pub(crate) ratio: f64,
    pub(crate) goal: String,
    pub(crate) met: bool,
    pub(crate) spread: [f64; 2],
    /// What ours and the reference are in.
    pub(crate) unit: String,
    /// What the ratio is.
    pub(crate) what: String,
    /// What else was measured, for comparison.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) beside: Vec<(String, Beside)>,
    /// Ours and the reference, round by round.
    pub(crate) rounds: Vec<(f64, Option<f64>)>,
}

impl Row {
    /// A row from its rounds: (ours, reference). `of` combines them.
    pub(crate) fn new(
        goal: &Goal,
        kind: &str,
        unit: &str,
        rounds: Vec<(f64, Option<f64>)>,
        of: impl Fn(f64, Option<f64>) -> f64,
    ) -> Self {
        let ratios: Vec<f64> = rounds.iter().map(|(ours, reference)| of(*ours, *reference)).collect();
        let ratio = median(&ratios);
        let bounds = ratios.iter().fold([f64::MAX, f64::MIN], |[low, high], r| [low.min(*r), high.max(*r)]);
        Self {
            name: format!("{}/{kind}", goal.name),
            ours: median(&rounds.iter().map(|r| r.0).collect::<Vec<_>>()),
            reference: rounds[0].1.map(|_| median(&rounds.iter().filter_map(|r| r.1).collect::<Vec<_>>())),
            ratio,
            goal: goal.bound(),
            met: goal.met_by(ratio),
            spread: bounds,
            unit: unit.to_owned(),
            what: goal.ratio.clone(),
            beside: Vec::new(),
            rounds,
        }
    }

    /// A row that cannot be measured here.
    pub(crate) fn missing(goal: &Goal, why: String) -> Self {
        Self {
            name: goal.name.clone(),
            ours: f64::NAN,
            reference: None,
            ratio: f64::NAN,
            goal: goal.bound(),
            met: false,
            spread: [f64::NAN; 2],
            unit: String::new(),
            what: goal.ratio.clone(),
            beside: vec![("the row".to_owned(), Beside::Missing(why))],
            rounds: Vec::new(),
        }
    }

    /// The row with something to compare it with.
    pub(crate) fn beside(mut self, beside: Vec<(String, Beside)>) -> Self {
        self.beside.extend(beside);
        self
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn print(text: &str) {
    // Nobody listens any more: there is nobody to tell.
    let _ = writeln!(std::io::stdout(), "{text}");
}

pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
}

pub(crate) fn line(row: &Row) {
    let reference = row.reference.map_or("-".to_owned(), |r| format!("{r:.2}"));
    let met = if row.met { "met" } else { "NOT MET" };
    print(&format!(
        "{:<42} ours {:>10.2} {:<6} reference {:>10}  ratio {:>8.3} [{:.3} to {:.3}]  goal {:<8} {met}",
        row.name, row.ours, row.unit, reference, row.ratio, row.spread[0], row.spread[1], row.goal
    ));
    for (what, beside) in &row.beside {
        print(&format!("    beside: {what}: {beside}"));
    }
}

pub(crate) fn summary(rows: &[Row], missing: &[&str]) {
    let met = rows.iter().filter(|row| row.met).count();
    print(&format!("\n{met} of {} rows met", rows.len()));
    if !missing.is_empty() {
        print(&format!("not measured yet: {}", missing.join(", ")));
    }
}

pub(crate) fn json(rows: &[Row]) -> Result<(), Box<dyn std::error::Error>> {
    print(&serde_json::to_string_pretty(rows)?);
    Ok(())
}

/// Raw results stay beside the build, one file a run.
pub(crate) fn keep(rows: &[Row]) -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let name = format!("{}.json", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S"));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), serde_json::to_vec_pretty(rows)?)?;
    Ok(())
}
