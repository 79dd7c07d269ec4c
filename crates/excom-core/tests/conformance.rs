//! The in-memory implementations pass the suites that every implementation passes.
#![cfg(feature = "conformance")]

use std::sync::Arc;

use excom_core::conformance::Empty;
use excom_core::{ValueStore, memory};

fn empty() -> Empty {
    Arc::new(memory::Db::new()).into()
}

excom_core::metadata_db_conformance!(empty);

#[test]
fn the_store_in_memory_is_a_value_store() {
    let store: Arc<dyn ValueStore> = Arc::new(memory::Store::new());
    excom_core::conformance::value_store(&store);
}
