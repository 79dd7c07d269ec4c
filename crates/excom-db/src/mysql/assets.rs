//! Assets and their events: the statements that write and read them.

use excom_core::asset::{Asset, AssetEvent, AssetEventFilter, AssetNamed, EventsOf, NewAssetEvent};
use excom_core::attempt::Attempt;
use excom_core::{TaskInstanceKey, Value};
use jiff::Timestamp;
use mysql_async::Row;

use super::Tables;
use super::connection::{Connection, named};
use super::failure::{Failure, damaged};
use super::read::with;
use super::row;
use super::write::{self, step};

type Result<T> = std::result::Result<T, Failure>;

/// Whether an attempt has noted some.
const NOTED: &str = "SELECT id FROM excom_asset_event
    WHERE run = :run AND task = :task AND map_index = :map_index AND number = :number LIMIT 1";

/// What names and aliases are found by, which are too long for an index.
macro_rules! digest {
    ($($text:literal),+) => {
        concat!("UNHEX(SHA2(CONCAT_WS(CHAR(0), ", digest!(@ $($text),+), "), 256))")
    };
    (@ $text:literal) => { $text };
    (@ $first:literal, $second:literal) => { concat!($first, ", ", $second) };
}

/// An asset by its key.
const KNOW: &str = concat!(
    "INSERT INTO excom_asset (seen, digest, name, uri, extra) VALUES (:made, ",
    digest!(":name", ":uri"),
    ", :name, :uri, :extra) ON DUPLICATE KEY UPDATE seen = GREATEST(seen, VALUES(seen))"
);

const NOTE: &str = concat!(
    "INSERT INTO excom_asset_event (asset, made, run, task, map_index, number, partition_key, extra)
     SELECT id, :made, :run, :task, :map_index, :number, :partition_key, :extra FROM excom_asset WHERE digest = ",
    digest!(":name", ":uri")
);

/// The event that was noted last on this connection.
const LAST: &str = "SELECT LAST_INSERT_ID()";

const ALIAS: &str = concat!(
    "INSERT IGNORE INTO excom_asset_alias (digest, made, event, asset) SELECT ",
    digest!(":alias"),
    ", made, id, asset FROM excom_asset_event WHERE id = :event"
);

/// What is old, in the order in which events are noted.
const FORGET: [&str; 3] = [
    "DELETE FROM excom_asset WHERE seen < :before",
    "DELETE FROM excom_asset_event WHERE made < :before",
    "DELETE FROM excom_asset_alias WHERE made < :before",
];

/// One by its key.
const BY_KEY: &str = concat!(
    "SELECT id, name, uri, extra FROM excom_asset WHERE digest = ",
    digest!(":name", ":uri"),
    " LIMIT :limit"
);

/// Few have the same name.
const BY_NAME: &str = "SELECT id, name, uri, extra FROM excom_asset WHERE name = :name
    ORDER BY seen DESC, id DESC LIMIT :limit";

/// Few have the same URI.
const BY_URI: &str = "SELECT id, name, uri, extra FROM excom_asset WHERE uri = :uri
    ORDER BY seen DESC, id DESC LIMIT :limit";

/// The events of an alias are looked at, and then each of their assets by its number.
const BY_ALIAS: &str = concat!(
    "SELECT id, name, uri, extra FROM excom_asset
     WHERE id IN (SELECT asset FROM excom_asset_alias WHERE digest = ",
    digest!(":alias"),
    ") ORDER BY name, uri LIMIT :limit"
);

/// Events of something, in an order: they lie in it in an index, and what is around each is found by its number.
macro_rules! events {
    ($of:expr, $direction:literal) => {
        concat!(
            "SELECT e.id, e.made, a.id, a.name, a.uri, a.extra, e.extra, e.partition_key, d.text, r.run_id, t.text,
                 e.map_index
             FROM (SELECT ",
            $of,
            " AND made BETWEEN :first AND :last ORDER BY made ",
            $direction,
            ", id ",
            $direction,
            " LIMIT :limit) o
                 JOIN excom_asset_event e ON e.id = o.id JOIN excom_asset a ON a.id = e.asset
                 JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
                 JOIN excom_name t ON t.id = e.task
             ORDER BY e.made ",
            $direction,
            ", e.id ",
            $direction
        )
    };
}

/// Those of an asset.
macro_rules! of_asset {
    () => {
        "id FROM excom_asset_event WHERE asset = :asset"
    };
}

/// Those of an alias.
macro_rules! of_alias {
    () => {
        concat!("event AS id FROM excom_asset_alias WHERE digest = ", digest!(":alias"))
    };
}

impl Connection {
    async fn note_asset_events(
        &mut self,
        attempt: &Attempt,
        events: &[NewAssetEvent],
        at: i64,
    ) -> Result<()> {
        let (own, number) = self.noting(attempt).await?;
        let own = with(write::ti(own), "number", number);
        if self.one(NOTED, own.clone()).await?.is_some() {
            return Ok(());
        }
        // In one order for all who write; what is said first of an asset counts.
        let mut assets: Vec<&NewAssetEvent> = events.iter().collect();
        assets.sort_by_key(|event| (&event.name, &event.uri));
        for event in assets {
            let asset = named! {
                "name" => &*event.name,
                "uri" => &*event.uri,
                "extra" => event.asset_extra.as_str(),
                "made" => at,
            };
            self.change(KNOW, asset).await?;
        }
        for event in events {
            let noted = with(with(own.clone(), "name", &*event.name), "uri", &*event.uri);
            let noted = with(with(noted, "extra", event.extra.as_str()), "made", at);
            self.change(NOTE, with(noted, "partition_key", event.partition_key.as_deref())).await?;
            if event.aliases.is_empty() {
                continue;
            }
            let id =
                self.one(LAST, named! {}).await?.ok_or_else(|| damaged("an event without its number"))?;
            let id = row::int(&id, 0)?;
            for alias in &event.aliases {
                self.change(ALIAS, named! { "alias" => &**alias, "event" => id }).await?;
            }
        }
        Ok(())
    }

    /// Events made before go, and assets whose newest one that is; returns how many events.
    pub(super) async fn forget_asset_events(&mut self, before: i64) -> Result<u64> {
        let mut gone = [0; 3];
        for (gone, table) in gone.iter_mut().zip(FORGET) {
            *gone = self.change(table, named! { "before" => before }).await?;
        }
        let [_, events, _] = gone;
        Ok(events)
    }
}

impl Tables {
    pub(super) async fn note_asset_events(
        &self,
        attempt: &Attempt,
        events: &[NewAssetEvent],
        at: Timestamp,
    ) -> Result<()> {
        let at = at.as_millisecond();
        step!(self, write, connection.note_asset_events(attempt, events, at)).await
    }

    pub(super) async fn assets(&self, named: &AssetNamed, limit: u32) -> Result<Vec<Asset>> {
        let asset = |found: &Row| asset(found, 0);
        let (sql, parameters) = match named {
            AssetNamed::Key(name, uri) => {
                (BY_KEY, named! { "name" => &**name, "uri" => &**uri, "limit" => limit })
            }
            AssetNamed::Name(name) => (BY_NAME, named! { "name" => &**name, "limit" => limit }),
            AssetNamed::Uri(uri) => (BY_URI, named! { "uri" => &**uri, "limit" => limit }),
            AssetNamed::Alias(alias) => (BY_ALIAS, named! { "alias" => &**alias, "limit" => limit }),
        };
        self.rows(sql, parameters, asset).await
    }

    pub(super) async fn asset_events(
        &self,
        filter: &AssetEventFilter,
        limit: u32,
    ) -> Result<Vec<AssetEvent>> {
        let (first, last) = filter.bounds();
        let bounds = named! { "first" => first, "last" => last, "limit" => limit };
        let (sql, parameters) = match (&filter.of, filter.newest_first) {
            (EventsOf::Asset(id), false) => (events!(of_asset!(), "ASC"), with(bounds, "asset", *id)),
            (EventsOf::Asset(id), true) => (events!(of_asset!(), "DESC"), with(bounds, "asset", *id)),
            (EventsOf::Alias(alias), false) => (events!(of_alias!(), "ASC"), with(bounds, "alias", &**alias)),
            (EventsOf::Alias(alias), true) => (events!(of_alias!(), "DESC"), with(bounds, "alias", &**alias)),
        };
        self.rows(sql, parameters, event).await
    }
}

fn asset(found: &Row, at: usize) -> Result<Asset> {
    Ok(Asset {
        id: row::int(found, at)?,
        name: row::text(found, at + 1)?,
        uri: row::text(found, at + 2)?,
        extra: Value::parse(row::str(found, at + 3)?.to_owned())?,
    })
}

fn event(found: &Row) -> Result<AssetEvent> {
    Ok(AssetEvent {
        id: row::int(found, 0)?,
        at: row::time(found, 1)?,
        asset: asset(found, 2)?,
        extra: Value::parse(row::str(found, 6)?.to_owned())?,
        partition_key: row::optional_str(found, 7)?.map(Into::into),
        by: TaskInstanceKey::new(
            row::text(found, 8)?,
            row::text(found, 9)?,
            row::text(found, 10)?,
            row::int4(found, 11)?,
        )?,
    })
}
