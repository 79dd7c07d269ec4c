//! `excom xcom refusals`: what tasks did that would have been refused, while that was only observed.

use clap::ArgMatches;
use excom::core::db::RefusalCount;
use serde_json::json;

use crate::context::{self, Context};
use crate::output::{Output, Style};
use crate::stop::Stop;
use crate::text::{self, Table};

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let limit = matches.get_one::<u32>("limit").copied().unwrap_or(100);
    let (engine, _) = context.reader()?;
    let refusals = engine.refusals(limit).await?;
    context::close(&engine, output).await;
    if output.json() {
        return output.document(&json!({"items": refusals}));
    }
    if refusals.is_empty() {
        output.say("nothing is known that would have been refused");
        if !*context.settings()?.xcom.observe {
            output.say("  it is counted while [xcom] observe is true");
        }
        return Ok(());
    }
    for (i, line) in table(&refusals).lines().enumerate() {
        if i == 0 {
            output.line(&output.styled(Style::Heading, &line))?;
        } else {
            output.line(&line)?;
        }
    }
    Ok(())
}

fn table(refusals: &[RefusalCount]) -> Table {
    let mut table = Table::new(vec!["task", "what", "rule", "times", "first", "last"]);
    for row in refusals {
        table.row([
            format!("{}/{}", row.dag_id, row.task_id),
            row.target.clone(),
            row.rule.to_string(),
            text::number(row.count),
            text::time(row.first),
            text::time(row.last),
        ]);
    }
    table
}
