extern crate excom_flow as excom;

use excom::prelude::*;

#[derive(Serialize, Deserialize)]
struct Day;

#[task]
fn read() -> Vec<Day> {
    Vec::new()
}

#[task]
fn hottest(days: Vec<Day>, floor: f64) -> Option<f64> {
    let _ = (days, floor);
    None
}

#[task]
fn load(peak: f64) {
    let _ = peak;
}

#[dag]
fn weather(dag: &Dag, floor: Param<f64>) {
    let days = read(dag);
    let _ = hottest(dag, floor, 30.0);
    let _ = hottest(dag, days, days);
    let _ = hottest(dag, days, "warm");
    load(dag, hottest(dag, days, 30.0));
}

fn main() {}
