//! Names that are in the database for certain, remembered: what callers push together lies only under such names. So those
//! that are new are told to it first, all at once, in a transaction that holds nothing else. Name rows are never removed.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use excom_core::XComKey;
use foldhash::fast::RandomState;

use super::connection::{Connections, Statement, types};

/// Past this many, the memory is emptied and filled again by use.
const REMEMBERED: usize = 100_000;

/// As all learn them, but in no run.
const LEARN: Statement<'_> =
    Statement { sql: "SELECT excom.learn('{}', '{}', $1)", types: types![TEXT_ARRAY] };

#[derive(Debug, Default)]
pub(super) struct Names(RwLock<HashSet<Arc<str>, RandomState>>);

impl Names {
    /// Sees to it that the names of keys are in the database, as far as that can be done now.
    pub(super) async fn make_known(
        &self,
        connections: &Connections,
        keys: impl Iterator<Item = &XComKey> + Clone,
    ) {
        let unknown = self.unknown(keys);
        if unknown.is_empty() || connections.shared(true, &LEARN, &[&unknown]).await.is_err() {
            // Who pushes alone is told what is the matter.
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() + unknown.len() > REMEMBERED {
            known.clear();
        }
        known.extend(unknown.into_iter().map(Arc::from));
    }

    fn unknown<'a>(&self, keys: impl Iterator<Item = &'a XComKey>) -> Vec<&'a str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let names = keys.flat_map(|key| [&*key.ti.dag_id, &*key.ti.task_id, &*key.key]);
        names.filter(|name| !known.contains(*name)).collect()
    }
}
