//! Branching and trigger rules: which tasks run is chosen while the run is on, and the task behind them runs whatever
//! was chosen.
//!
//! ```text
//! measure ─ choose ─┬─ heating ─┬─ tell
//!                   └─ cooling ─┘
//! ```
//!
//! Run it with `cargo run --example branching`; `-- --degrees 31` takes the other branch.

use excom::prelude::*;

#[task]
fn measure(degrees: f64) -> f64 {
    degrees
}

/// Of the tasks directly behind a branch only those that it names run; the others are skipped.
#[task(branch)]
fn choose(degrees: f64) -> String {
    if degrees < 20.0 { "heating" } else { "cooling" }.to_owned()
}

#[task]
fn heating(degrees: f64) -> String {
    format!("heating for {:.1} degrees", 20.0 - degrees)
}

#[task]
fn cooling(degrees: f64) -> String {
    format!("cooling for {:.1} degrees", degrees - 20.0)
}

/// By the usual rule it would be skipped with the branch that was not taken. What that did not push is `None`.
#[task(trigger_rule = "none_failed_min_one_success")]
fn tell(heating: Option<String>, cooling: Option<String>) -> Option<String> {
    heating.or(cooling)
}

/// Heats or cools.
#[dag]
fn branching(dag: &Dag, #[param(default = 12.5)] degrees: Param<f64>) {
    let degrees = measure(dag, degrees);
    let choice = choose(dag, degrees);
    let (heating, cooling) = (heating(dag, degrees), cooling(dag, degrees));
    dag.task(heating).after(choice);
    dag.task(cooling).after(choice);
    tell(dag, heating, cooling);
}

excom::main!(branching, show = "tell");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_names_a_task_of_the_dag() {
        let graph = branching().graph().unwrap();
        for degrees in [-5.0, 20.0, 35.0] {
            assert!(graph.task(&choose::call(degrees)).is_some());
        }
    }

    #[test]
    fn what_was_not_chosen_is_none() {
        assert_eq!(tell::call(None, Some("cooling".into())), Some("cooling".into()));
    }
}
