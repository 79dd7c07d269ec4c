//! Assets: events that an attempt made, and what is known of them.

use super::Engine;
use crate::Result;
use crate::asset::{Asset, AssetEvent, AssetEventFilter, AssetNamed, NewAssetEvent};
use crate::attempt::{Attempt, Caller};

impl Engine {
    /// Notes the events that an attempt made, all of them or none, once: when some of this attempt are noted already it
    /// is a repetition, and nothing changes. To be called before the attempt is told to have ended well.
    ///
    /// # Errors
    /// As [`NewAssetEvent::check`]; [`ErrorKind::Superseded`](crate::ErrorKind::Superseded),
    /// [`ErrorKind::NotStarted`](crate::ErrorKind::NotStarted);
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) where Airflow keeps them; when the database cannot be
    /// written.
    pub async fn note_asset_events(&self, attempt: &Attempt, events: &[NewAssetEvent]) -> Result<()> {
        events.iter().try_for_each(NewAssetEvent::check)?;
        if events.is_empty() {
            return Ok(());
        }
        self.0.db.note_asset_events(attempt, events, self.0.clock.now()).await
    }

    /// Assets that are known, at most so many: of an alias in the order of their names, of anything else those with the
    /// newest event first.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) where Airflow keeps them; when the database cannot be
    /// read.
    pub async fn assets(&self, _caller: &Caller, named: &AssetNamed, limit: u32) -> Result<Vec<Asset>> {
        self.0.db.assets(named, limit).await
    }

    /// Events in the order of their time, at most so many.
    ///
    /// # Errors
    /// As [`Engine::assets`].
    pub async fn asset_events(
        &self,
        _caller: &Caller,
        filter: &AssetEventFilter,
        limit: u32,
    ) -> Result<Vec<AssetEvent>> {
        self.0.db.asset_events(filter, limit).await
    }
}
