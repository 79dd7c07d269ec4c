//! A metadata database together with a backend: every scenario that concerns values, wherever these are.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use super::histories::histories_over;
use super::{Empty, Harness, THRESHOLD};
use crate::XComBackend;

type Scenario = for<'a> fn(&'a Harness) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! table {
    (values { $($scenario:ident)* } others $_:tt) => {
        [$((stringify!($scenario), |h| Box::pin(super::$scenario(h)))),*]
    };
}

const SCENARIOS: &[(&str, Scenario)] = &crate::conformance_scenarios!([table]);

/// How many random histories there are, and of how many steps at most: every one costs a server hundreds of calls.
const HISTORIES: (u32, usize) = (3, 30);

/// Runs the scenarios that concern values on a database with a backend. It is asked for an empty database and a
/// backend that has nothing yet for each scenario, by a name of letters, digits and `_` that no other scenario has:
/// a prefix on a server that all of them share. The backend offloads every value, or those over [`THRESHOLD`] bytes.
///
/// # Panics
/// When a scenario does not hold, behind all others, with its name.
pub fn combination(make: impl Fn(&str) -> (Empty, Arc<dyn XComBackend>)) {
    let harness = |name: &str| {
        let (empty, backend) = make(name);
        assert!(backend.store().is_some(), "{backend} keeps values in the database, so this proves nothing");
        assert!(backend.inline_limit() <= THRESHOLD, "{backend} is to offload values over {THRESHOLD} bytes");
        Harness::over(empty, backend)
    };
    let mut failed = Vec::new();
    for (name, scenario) in SCENARIOS {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let harness = harness(name);
            super::run(scenario(&harness));
        }));
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{} of {} scenarios do not hold: {failed:?}", failed.len(), SCENARIOS.len());
    let number = Cell::new(0);
    let next = || harness(&format!("history_{}", number.replace(number.get() + 1)));
    histories_over(next, HISTORIES.0, HISTORIES.1);
}
