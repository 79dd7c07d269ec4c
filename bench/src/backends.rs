//! The group `backends`: values outside the metadata database.

mod large;
mod redis;

use std::path::Path;
use std::sync::Arc;

use excom_core::engine::Settings;
use excom_core::seal::SealKeys;
use excom_core::{Engine, ValueStore};
use excom_db::sqlite::{Db, Options};
use excom_store::{Offload, OffloadOptions};

use crate::engine::Result;
use crate::goals::Goal;
use crate::report::Row;
use crate::system::SystemClock;

/// Measures a row of this group; none when it is of another group.
pub(crate) fn measure(goal: &Goal) -> Result<Option<Vec<Row>>> {
    if let Some(rows) = redis::measure(goal)? {
        return Ok(Some(rows));
    }
    large::measure(goal)
}

/// An engine on SQLite whose values over a threshold are in a store.
fn open(
    folder: &Path,
    store: Arc<dyn ValueStore>,
    options: OffloadOptions,
    settings: Settings,
) -> Result<Engine> {
    std::fs::create_dir_all(folder)?;
    let db = Db::open(&folder.join("excom.db"), Options::default())?;
    let keys = SealKeys::new("k1", [1; 32]);
    let backend = Offload::new(store, keys.clone(), options);
    let engine = Engine::builder(Arc::new(db), Arc::new(SystemClock)).backend(Arc::new(backend));
    Ok(engine.keys(keys).settings(settings).build())
}
