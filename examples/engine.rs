//! The engine without a DAG: push, pull, and what a pull answers when there is nothing.
//!
//! Run it with `cargo run --example engine`.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use excom::core::db::Scope;
use excom::{Caller, PullOptions, Result, TaskInstanceKey, Value, config::Settings, embedded};

fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = embedded::open(&Settings::at(folder.path()))?;
    // The engine needs no runtime: any executor can wait for it.
    pollster::block_on(async {
        let ti = TaskInstanceKey::new("weather", "manual__1", "count", -1)?;
        let rows = ti.xcom("rows")?;

        // An attempt speaks for its task instance, until another one starts.
        let first = engine.start(&ti, 1).await?;
        let zombie = Caller::Attempt(first);
        engine.push(&zombie, &rows, Value::of(&364)?.into()).await?;

        // The second try begins clear, and the first one writes nothing any more.
        let second = Caller::Attempt(engine.start(&ti, 2).await?);
        engine.push(&second, &rows, Value::of(&365)?.into()).await?;
        let refusal = engine.push(&zombie, &rows, Value::of(&0)?.into()).await.expect_err("it was replaced");
        println!("refused:  {refusal}");

        let ana = Caller::user("ana");
        let misspelt = ti.xcom("row")?;
        for answer in engine.pull(&ana, &[rows.clone(), misspelt], PullOptions::default()).await? {
            println!("{:<9} {answer}", format!("{}:", answer.code()));
            answer.hints().iter().for_each(|hint| println!("          {hint}"));
        }
        for past in engine.history(&ana, &rows, 10).await? {
            println!("history:  {} was {} by {}", past.info.preview, past.reason, past.by);
        }
        for reader in engine.readers(&ana, &rows).await? {
            println!("ledger:   {} read it {} time(s)", reader.reader, reader.count);
        }

        engine.delete(&ana, &Scope::TaskInstance(ti)).await?;
        engine.close().await
    })
}
