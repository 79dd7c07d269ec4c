//! The goals: what is measured, against what, and the bound.

use std::path::PathBuf;

use serde::Deserialize;

/// A row of `goals.toml`.
#[derive(Debug, Deserialize)]
pub(crate) struct Goal {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) ratio: String,
    pub(crate) at_most: Option<f64>,
    pub(crate) at_least: Option<f64>,
}

impl Goal {
    pub(crate) fn bound(&self) -> String {
        match (self.at_most, self.at_least) {
            (Some(most), _) => format!("<= {most}"),
            (None, Some(least)) => format!(">= {least}"),
            (None, None) => "none".to_owned(),
        }
    }

    pub(crate) fn met_by(&self, ratio: f64) -> bool {
        self.at_most.is_none_or(|most| ratio <= most) && self.at_least.is_none_or(|least| ratio >= least)
    }
}

#[derive(Deserialize)]
struct File {
    goal: Vec<Goal>,
}

pub(crate) fn load() -> Result<Vec<Goal>, Box<dyn std::error::Error>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goals.toml");
    Ok(toml::from_str::<File>(&std::fs::read_to_string(path)?)?.goal)
}
