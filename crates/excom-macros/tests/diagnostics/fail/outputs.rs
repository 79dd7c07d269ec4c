extern crate excom_flow as excom;

use excom::prelude::*;

#[derive(Outputs)]
enum Either {
    One,
}

#[derive(Outputs)]
struct Pair(u8, u8);

#[derive(Outputs)]
struct Generic<T> {
    value: T,
}

#[derive(Serialize, Outputs)]
struct Flat {
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Serialize)]
struct Inner {}

#[derive(Serialize, Deserialize, Outputs)]
struct Choice {
    table_name: String,
}

#[task(multiple_outputs)]
fn choose() -> Choice {
    Choice { table_name: String::new() }
}

#[dag]
fn mistyped(dag: &Dag) {
    let _ = choose(dag).table();
}

fn main() {}
