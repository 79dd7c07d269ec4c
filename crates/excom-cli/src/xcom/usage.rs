//! `excom xcom usage`: how much the values of a run, or of a DAG, have together, and may have.

use clap::ArgMatches;
use serde_json::json;

use crate::context::Context;
use crate::identity;
use crate::output::{Output, Style};
use crate::run::not_known;
use crate::stop::Stop;
use crate::text;

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let (dag_id, run_id) = identity::dag_or_run(matches, context.environment())?;
    let (door, empty) = context.looking()?;
    let used = door.usage(&dag_id, run_id.as_deref()).await?;
    door.close(output).await;
    let Some(used) = used else {
        return Err(not_known(&dag_id, run_id.as_deref(), empty).into());
    };
    if output.json() {
        return output.document(&json!({
            "dag_id": dag_id, "run_id": run_id, "entries": used.entries, "bytes": used.bytes, "quota": used.quota,
        }));
    }
    let quota = used.quota.map_or_else(
        || format!("off ([xcom] {})", if run_id.is_some() { "quota_run" } else { "quota_dag" }),
        |quota| format!("{}, {} left", text::size(quota), text::size(quota.saturating_sub(used.bytes))),
    );
    let facts = [
        ("dag", Some(dag_id)),
        ("run", run_id),
        ("XComs", Some(text::number(used.entries))),
        ("values", Some(text::size(used.bytes))),
        ("quota", Some(quota)),
    ];
    for (name, told) in facts.into_iter().filter_map(|(name, told)| told.map(|told| (name, told))) {
        let name = output.styled(Style::Heading, &format!("{name:<9}"));
        output.line(&format!("{name}{}", text::tame(&told)))?;
    }
    Ok(())
}
