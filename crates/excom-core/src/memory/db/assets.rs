//! Assets and their events in memory.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use super::tables::Tables;
use crate::asset::{Asset, AssetEvent, AssetEventFilter, AssetNamed, EventsOf, NewAssetEvent};
use crate::attempt::Attempt;
use crate::{Result, TaskInstanceKey};

/// What is known of assets.
#[derive(Default)]
pub(super) struct Assets {
    /// Each with the time of its newest event.
    known: Vec<(Asset, Timestamp)>,
    /// In the order in which they were noted.
    events: Vec<Noted>,
    /// How many there have been, of both.
    count: i64,
}

struct Noted {
    event: AssetEvent,
    /// Of the attempt.
    number: u32,
    aliases: Vec<Arc<str>>,
}

impl Assets {
    fn next(&mut self) -> i64 {
        self.count += 1;
        self.count
    }

    /// The asset of an event, which is known from then on.
    fn seen(&mut self, event: &NewAssetEvent, at: Timestamp) -> Asset {
        let same = |(asset, _): &&mut (Asset, Timestamp)| asset.name == event.name && asset.uri == event.uri;
        if let Some((known, seen)) = self.known.iter_mut().find(same) {
            *seen = at.max(*seen);
            return known.clone();
        }
        let (id, extra) = (self.next(), event.asset_extra.clone());
        let asset = Asset { id, name: event.name.clone(), uri: event.uri.clone(), extra };
        self.known.push((asset.clone(), at));
        asset
    }

    /// Forgets events, and assets whose newest event was before; returns how many events.
    pub(super) fn forget_before(&mut self, before: Timestamp) -> u64 {
        let events = self.events.len();
        self.events.retain(|noted| noted.event.at >= before);
        self.known.retain(|(_, seen)| *seen >= before);
        (events - self.events.len()) as u64
    }

    /// Forgets the events of a run.
    pub(super) fn forget_run(&mut self, dag_id: &str, run_id: &str) {
        let of_run = |by: &TaskInstanceKey| *by.dag_id == *dag_id && *by.run_id == *run_id;
        self.events.retain(|noted| !of_run(&noted.event.by));
    }
}

impl Tables {
    pub(super) fn note_asset_events(
        &mut self,
        attempt: &Attempt,
        events: &[NewAssetEvent],
        at: Timestamp,
    ) -> Result<()> {
        let number = self.fence_attempt(attempt)?.number;
        let assets = &mut self.assets;
        if assets.events.iter().any(|noted| noted.event.by == attempt.ti && noted.number == number) {
            return Ok(());
        }
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        for new in events {
            let asset = assets.seen(new, at);
            let event = AssetEvent {
                id: assets.next(),
                at,
                asset,
                extra: new.extra.clone(),
                partition_key: new.partition_key.clone(),
                by: attempt.ti.clone(),
            };
            assets.events.push(Noted { event, number, aliases: new.aliases.clone() });
        }
        Ok(())
    }

    pub(super) fn known_assets(&self, named: &AssetNamed, limit: u32) -> Vec<Asset> {
        let Assets { known, events, .. } = &self.assets;
        let aliased = |asset: &Asset, alias| {
            events.iter().any(|noted| noted.event.asset.id == asset.id && noted.aliases.contains(alias))
        };
        let is_named = |asset: &Asset| match named {
            AssetNamed::Key(name, uri) => asset.name == *name && asset.uri == *uri,
            AssetNamed::Name(name) => asset.name == *name,
            AssetNamed::Uri(uri) => asset.uri == *uri,
            AssetNamed::Alias(alias) => aliased(asset, alias),
        };
        let mut found: Vec<&(Asset, Timestamp)> = known.iter().filter(|(asset, _)| is_named(asset)).collect();
        match named {
            AssetNamed::Alias(_) => found.sort_by(|(a, _), (b, _)| (&a.name, &a.uri).cmp(&(&b.name, &b.uri))),
            _ => found.sort_by_key(|(asset, seen)| Reverse((*seen, asset.id))),
        }
        found.into_iter().take(limit as usize).map(|(asset, _)| asset.clone()).collect()
    }

    pub(super) fn asset_events(&self, filter: &AssetEventFilter, limit: u32) -> Vec<AssetEvent> {
        let (first, last) = filter.bounds();
        let fits = |noted: &&Noted| {
            (first..=last).contains(&noted.event.at.as_millisecond())
                && match &filter.of {
                    EventsOf::Asset(id) => noted.event.asset.id == *id,
                    EventsOf::Alias(alias) => noted.aliases.contains(alias),
                }
        };
        let mut found: Vec<&AssetEvent> =
            self.assets.events.iter().filter(fits).map(|noted| &noted.event).collect();
        found.sort_by_key(|event| (event.at, event.id));
        if filter.newest_first {
            found.reverse();
        }
        found.into_iter().take(limit as usize).cloned().collect()
    }
}
