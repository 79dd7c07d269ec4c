//! Measures Excom against `goals.toml`: ours and the reference in turn, five rounds, in one process.
//!
//! Run it with `cargo xtask bench [GROUP or ROW…] [--json] [--quick]`. A row's ratio is the median over the rounds of
//! that round's ratio; its spread is the least and the greatest. `--quick` is a look at rows that take long, with a
//! tenth of their entries.

mod backends;
mod databases;
mod engine;
mod flow;
mod goals;
mod payload;
mod report;
mod server;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

/// What one row needs: where to put files.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> std::io::Result<Self> {
        // Beside the build, because /tmp may be memory.
        let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
        std::fs::create_dir_all(&base)?;
        Ok(Self { folder: tempfile::tempdir_in(base)? })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn main() -> ExitCode {
    let (mut json, mut quick) = (false, false);
    let mut groups = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--quick" => quick = true,
            group => groups.push(group.to_owned()),
        }
    }
    match run(&groups, json, quick) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(groups: &[String], json: bool, quick: bool) -> Result<bool, Box<dyn std::error::Error>> {
    let goals = goals::load()?;
    let chosen =
        |goal: &goals::Goal| groups.is_empty() || groups.contains(&goal.group) || groups.contains(&goal.name);
    if let Some(unknown) =
        groups.iter().find(|name| !goals.iter().any(|g| g.group == **name || g.name == **name))
    {
        let mut names: Vec<&str> = goals.iter().map(|goal| goal.group.as_str()).collect();
        names.dedup();
        return Err(
            format!("there is no group or row `{unknown}`; the groups are {}", names.join(", ")).into()
        );
    }
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    for goal in goals.iter().filter(|goal| chosen(goal)) {
        let measured = match (engine::measure(goal)?, goal.group.as_str()) {
            (None, "flow") => flow::measure(goal)?,
            (None, "backends") => backends::measure(goal)?,
            (None, "databases") => databases::measure(goal, quick)?,
            (None, "server") => server::measure(goal, quick)?,
            (measured, _) => measured,
        };
        match measured {
            Some(measured) => {
                for row in measured {
                    if !json {
                        report::line(&row);
                    }
                    rows.push(row);
                }
            }
            None => missing.push(goal.name.as_str()),
        }
    }
    report::keep(&rows)?;
    if json {
        report::json(&rows)?;
    } else {
        report::summary(&rows, &missing);
    }
    Ok(rows.iter().all(|row| row.met))
}
