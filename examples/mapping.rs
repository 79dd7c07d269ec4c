//! Mapping: a task, and a group of tasks, that run once for each element of a list which is known only when the
//! run is on.
//!
//! ```text
//! orders ─┬─ price[] ───────────────┬─ report
//!         └─ parcel[] ( pack ─ send )┘
//! ```
//!
//! Run it with `cargo run --example mapping`; `-- --count 5` makes more of everything.

use excom::prelude::*;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    id: u64,
    pieces: u64,
}

#[task]
fn orders(count: u64) -> Vec<Order> {
    (1..=count).map(|id| Order { id, pieces: id * 2 }).collect()
}

/// A mapped task takes one element. Each instance is tried again by itself.
#[task(retries = 2, retry_delay = "1s")]
fn price(order: Order, each: f64) -> f64 {
    order.pieces as f64 * each
}

#[task]
fn pack(order: Order) -> String {
    format!("parcel {} with {} pieces", order.id, order.pieces)
}

/// Of no more than one piece nothing is sent: that leaves a gap, and the others keep their map indexes.
#[task]
fn send(parcel: String, order: Order) -> Option<String> {
    (order.pieces > 2).then(|| format!("{parcel} is on its way"))
}

/// All values of a mapped task are a list again. Where an instance pushed nothing there is `None`.
#[task]
fn report(prices: Vec<f64>, sent: Vec<Option<String>>) -> String {
    let total: f64 = prices.iter().sum();
    let sent: Vec<String> =
        sent.into_iter().map(|sent| sent.unwrap_or_else(|| "not worth a parcel".into())).collect();
    format!("{total} in all\n{}", sent.join("\n"))
}

/// Prices and sends orders.
#[dag]
fn mapping(dag: &Dag, #[param(default = 3)] count: Param<u64>) {
    let orders = orders(dag, count);
    let prices = price(dag, expand(orders), 2.5);
    let sent = dag.expand_group("parcel", expand(orders), |dag, order: XComArg<Order>| {
        send(dag, pack(dag, order), order)
    });
    report(dag, prices, sent.output);
}

excom::main!(mapping, show = "report");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_element_is_priced_like_any_value() {
        assert_eq!(price::call(Order { id: 1, pieces: 4 }, 2.5), 10.0);
    }

    #[test]
    fn what_is_mapped_is_known_before_anything_runs() {
        let graph = mapping().graph().unwrap();
        let mapped: Vec<&str> =
            graph.tasks().iter().filter(|task| task.is_mapped()).map(|task| task.id()).collect();
        assert_eq!(mapped, ["price", "parcel.pack", "parcel.send"]);
    }
}
