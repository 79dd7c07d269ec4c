//! Two versions of a DAG, and what the change between them breaks, said before the new one is deployed.
//!
//! Run it with `cargo run --example contracts`. A DAG program says the same about its own DAG with
//! `contracts diff`, compared with the version that ran last.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use excom::contract::{self, diff};

/// The DAG that runs now.
mod deployed {
    use excom::prelude::*;

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Order {
        id: u32,
        price: f64,
        note: Option<String>,
    }

    #[task]
    fn fetch(day: String) -> Vec<Order> {
        vec![Order { id: 1, price: 9.5, note: Some(day) }]
    }

    #[task]
    fn total(orders: Vec<Order>) -> f64 {
        orders.iter().map(|order| order.price).sum()
    }

    #[dag(id = "orders")]
    pub fn orders(dag: &Dag, #[param(default = "today")] day: Param<String>) {
        total(dag, fetch(dag, day));
    }
}

/// The DAG that is to replace it: ids are larger, prices have a currency, and orders have no notes any more.
mod next {
    use excom::prelude::*;

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Order {
        id: u64,
        price: f64,
        currency: Currency,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    enum Currency {
        Euro,
        Dollar,
    }

    #[task]
    fn fetch(day: String, shop: String) -> Vec<Order> {
        let currency = if shop.is_empty() { Currency::Dollar } else { Currency::Euro };
        vec![Order { id: day.len() as u64, price: 9.5, currency }]
    }

    #[task(retries = 2)]
    fn total(orders: Vec<Order>) -> f64 {
        orders.iter().filter(|order| matches!(order.currency, Currency::Euro)).map(|order| order.price).sum()
    }

    #[dag(id = "orders")]
    pub fn orders(
        dag: &Dag,
        #[param(default = "today")] day: Param<String>,
        #[param(doc = "whose orders")] shop: Param<String>,
    ) {
        total(dag, fetch(dag, day, shop));
    }
}

fn main() -> excom::Result<()> {
    let (deployed, next) = (deployed::orders().contract()?, next::orders().contract()?);
    print!("{}\n{}", contract::describe(&deployed), contract::describe_changes(&diff(&deployed, &next)));
    Ok(())
}
