//! The backend that stores new values, and those that read what was stored before it.

use std::fmt;
use std::sync::Arc;

use crate::backend::XComBackend;
use crate::store::Side;
use crate::{Error, Result, TaskInstanceKey};

/// The backends of a deployment.
#[derive(Debug)]
pub(super) struct Backends {
    current: Arc<dyn XComBackend>,
    others: Vec<Arc<dyn XComBackend>>,
    elsewhere: Option<Arc<dyn XComBackend>>,
}

impl Backends {
    pub(super) fn new(
        current: Arc<dyn XComBackend>,
        others: Vec<Arc<dyn XComBackend>>,
        elsewhere: Option<Arc<dyn XComBackend>>,
    ) -> Self {
        Self { current, others, elsewhere }
    }

    /// The one that stores new values.
    pub(super) fn current(&self) -> &Arc<dyn XComBackend> {
        &self.current
    }

    /// All, the current one first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<dyn XComBackend>> {
        std::iter::once(&self.current).chain(&self.others)
    }

    /// The one for stores that none of them has.
    pub(super) fn elsewhere(&self) -> Option<&Arc<dyn XComBackend>> {
        self.elsewhere.as_ref()
    }

    /// The one that reads and purges what is in a store. Of a store that nobody has, the current one tells so.
    pub(super) fn of(&self, store: &str) -> &Arc<dyn XComBackend> {
        let (store, _) = Side::split(store);
        let has = self.all().find(|backend| backend.store() == Some(store));
        has.or(self.elsewhere.as_ref()).unwrap_or(&self.current)
    }

    /// Tells all of them that a task instance's XComs were cleared; one that fails keeps it from no other.
    pub(super) async fn clear(&self, ti: &TaskInstanceKey) -> Result<()> {
        let mut told = Ok(());
        for backend in self.all() {
            let failed = |error: Error| {
                let what = format!("the backend `{}` was not told that {ti} was cleared", backend.name());
                Error::new(error.kind(), what).because(error)
            };
            told = told.and(backend.clear(ti).await.map_err(failed));
        }
        told
    }
}

impl fmt::Display for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current.fmt(f)
    }
}
