extern crate excom_flow as excom;

use excom::prelude::*;

#[dag(name = "weather")]
fn unknown(dag: &Dag) {}

#[dag(id = weather)]
fn unquoted(dag: &Dag) {}

#[dag]
fn without() {}

#[dag]
fn by_value(dag: Dag) {}

#[dag]
async fn waits(dag: &Dag) {}

#[dag]
fn returns(dag: &Dag) -> u8 {
    1
}

#[dag]
fn plain(dag: &Dag, floor: f64) {}

#[dag]
fn defaults(dag: &Dag, #[param(defualt = 1)] floor: Param<f64>) {}

#[dag]
fn no_default(dag: &Dag, #[param(default)] floor: Param<f64>) {}

#[dag]
fn wrong_default(_dag: &Dag, #[param(default = "warm")] _floor: Param<f64>) {}

fn main() {}
