//! The folder passes the suite that every value store passes, by itself and under the engine.

use std::sync::Arc;

use excom_core::ValueStore;
use excom_store::Files;

#[test]
fn a_folder_is_a_value_store() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ValueStore> = Arc::new(Files::open(&folder.path().join("values")).unwrap());
    excom_core::conformance::value_store(&store);
    let left = std::fs::read_dir(folder.path().join("values")).unwrap().count();
    assert_eq!(left, 0, "empty folders go with the last object");
}
