//! Templates and SQL: the file `templates/warm_days.sql` is a template with the day and the parameters of the run.
//! What other tasks pushed is bound to its statements and never pasted into them. What the template became is kept
//! for each try, and shown at the end.
//!
//! Run it with `cargo run --features sql-sqlite --example templates`.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::path::Path;
use std::sync::Arc;

use excom::config::Settings;
use excom::prelude::*;
use excom::{BoxError, Caller, PullOptions, RunOptions, Runner, TaskInstanceKey, UNMAPPED, Value, embedded};

/// Where the template is.
const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/templates");

#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    station: String,
    celsius: f64,
}

/// One of the stations has a name that would be a statement, if anybody read it as SQL.
#[task]
fn measure() -> Vec<Reading> {
    let stations = [("attic", 34.0), ("x'); DROP TABLE readings; --", 31.5), ("cellar", 12.5)];
    stations.map(|(station, celsius)| Reading { station: station.into(), celsius }).into()
}

/// The rows of a statement are dicts, so they become any type that serde makes of these.
#[task]
fn tell(warm: Vec<Reading>, top: u32) -> String {
    let told = warm.iter().map(|reading| format!("\n  {} °C at {}", reading.celsius, reading.station));
    format!("the warmest, {top} at most:{}", told.collect::<String>())
}

/// Finds the warmest stations of a week.
#[dag]
fn warm_days(
    dag: &Dag,
    #[param(default = "sqlite::memory:")] url: Param<String>,
    #[param(default = 30.0)] floor: Param<f64>,
    #[param(default = 2)] top: Param<u32>,
) {
    let warm = dag
        .sql("warm", url, Field::file("warm_days.sql"))
        .parameter("readings", measure(dag))
        .parameter("floor", floor);
    tell(dag, warm.output_as(), top);
}

/// Runs it for two days in one database, and shows what became of the template on the second.
fn main() -> std::result::Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let (told, rendered) = tokio::runtime::Runtime::new()?.block_on(two_days(folder.path()))?;
    println!("{told}\n\nThe fields of task `warm` were rendered to:");
    for (name, value) in rendered {
        println!("\n{name}\n{value}");
    }
    Ok(())
}

async fn two_days(folder: &Path) -> std::result::Result<(String, Vec<(String, String)>), BoxError> {
    let engine = embedded::open(&Settings::at(folder))?;
    let definition = warm_days().template_searchpath(TEMPLATES);
    // Made when it is not there yet.
    let url = format!("sqlite:{}?mode=rwc", folder.join("readings.db").display());
    let mut run_id: Arc<str> = "".into();
    for day in ["2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"] {
        let options = RunOptions::new().logical_date(day.parse()?).param("url", url.as_str());
        let report = Runner::new(engine.clone()).run(&definition, options.param("top", "3")).await?;
        run_id = report.run_id;
    }
    let ti = |task| TaskInstanceKey::new("warm_days", &*run_id, task, UNMAPPED);
    let (me, result) = (Caller::user("example"), [ti("tell")?.return_value()]);
    let told: String = engine.pull(&me, &result, PullOptions::default()).await?.remove(0).value()?.get()?;
    let rendered = engine.rendered(&me, &ti("warm")?).await?.ok_or("the fields are kept")?;
    let text = |value: &Value| value.get::<String>().unwrap_or_else(|_| value.as_str().to_owned());
    Ok((told, rendered.fields.iter().map(|(name, value)| (name.clone(), text(value))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_rendered_and_values_are_bound() {
        let folder = tempfile::tempdir().unwrap();
        let (told, rendered) =
            tokio::runtime::Runtime::new().unwrap().block_on(two_days(folder.path())).unwrap();
        assert_eq!(told.lines().count(), 4, "{told}");
        assert_eq!(told.matches("at x'); DROP TABLE readings; --").count(), 1, "{told}");
        let field = |name: &str| &rendered.iter().find(|(known, _)| known == name).unwrap().1;
        let statement = field("statement");
        assert!(statement.contains("BETWEEN '2026-11-15' AND '2026-11-21'"), "{statement}");
        assert!(statement.contains("LIMIT 3;") && !statement.contains("attic"), "{statement}");
        assert!(field("parameter.readings").contains("attic"));
    }
}
