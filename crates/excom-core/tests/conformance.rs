//! The in-memory implementations pass the suites that every implementation passes.
#![cfg(feature = "conformance")]

use std::sync::Arc;

use excom_core::backend::Database;
use excom_core::conformance::Empty;
use excom_core::{ValueStore, XComBackend, memory};

fn empty() -> Empty {
    Arc::new(memory::Db::new()).into()
}

excom_core::metadata_db_conformance!(empty);

#[test]
fn the_store_in_memory_is_a_value_store() {
    let store: Arc<dyn ValueStore> = Arc::new(memory::Store::new());
    excom_core::conformance::value_store(&store);
}

#[test]
fn the_backends_are_backends() {
    let offloading = memory::Backend::new(Arc::new(memory::Store::new()), 200);
    let all: [Arc<dyn XComBackend>; 2] = [Arc::new(offloading), Arc::new(Database::new(1 << 20))];
    for backend in &all {
        excom_core::conformance::backend(backend);
    }
}

/// Every value in the store, as in the combinations with other stores.
#[test]
fn all_in_memory_is_a_combination() {
    excom_core::conformance::combination(|_| {
        let backend = memory::Backend::new(Arc::new(memory::Store::new()), 0);
        (empty(), Arc::new(backend))
    });
}
