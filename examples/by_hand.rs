//! XComs by hand: several keys from one task, a default, and a task that looks why there is nothing.
//!
//! Run it with `cargo run --example by_hand`.

use excom::prelude::*;

/// What a task pushes beside its return value are XComs like that one.
#[task]
fn measure(ti: &TaskInstance) -> Result<Vec<f64>> {
    let days = vec![21.5, 34.0, 28.25];
    ti.xcom_push("station", "attic")?;
    ti.xcom_push("unit", "°C")?;
    Ok(days)
}

/// Has nothing to say today: it is skipped, not failed.
#[task]
fn forecast() -> Result<f64> {
    Err(excom::Skip::because("no model ran").into())
}

/// Pulls by task and key, with a default where there may be nothing.
#[task]
fn describe(days: Vec<f64>, ti: &TaskInstance) -> Result<String> {
    let station: String = ti.xcom_pull("measure").key("station").get()?;
    let unit: String = ti.xcom_pull("measure").key("unit").default("K").get()?;
    let warmest = days.into_iter().fold(f64::MIN, f64::max);
    let mut text = format!("{station}: at most {warmest} {unit}");
    for (key, answer) in ti.xcom_pull(["measure", "forecast"]).key("return_value").answers()? {
        text.push_str(&format!("\n{}: {answer}", key.ti.task_id));
    }
    Ok(text)
}

#[dag]
fn by_hand(dag: &Dag) {
    let days = measure(dag);
    forecast(dag);
    describe(dag, days);
}

excom::main!(by_hand, show = "describe");
