//! `excom prune`: retention, for homes that no long-running program looks after.

use crate::context::{self, Context};
use crate::output::Output;
use crate::stop::Stop;
use crate::text;

pub(crate) async fn run(context: &Context, output: &mut Output) -> Result<(), Stop> {
    let (engine, _) = context.reader()?;
    let removed = engine.prune().await?;
    context::close(&engine, output).await;
    if output.json() {
        return output.document(&removed);
    }
    let counts = [
        (removed.entries, "expired XCom"),
        (removed.past_bytes, "earlier value"),
        (removed.past_entries, "earlier version"),
        (removed.reads, "ledger row"),
        (removed.runs, "empty run"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| text::count(*count, what))
        .collect();
    if told.is_empty() {
        output.line("nothing is past its time")
    } else {
        output.line(&format!("removed {}", told.join(", ")))
    }
}
