//! Assets and their events: the statements that write and read them.

use excom_core::asset::{Asset, AssetEvent, AssetEventFilter, AssetNamed, EventsOf, NewAssetEvent};
use excom_core::attempt::Attempt;
use excom_core::{TaskInstanceKey, Value};
use jiff::Timestamp;
use rusqlite::{Row, params};

use super::failure::Failure;
use super::read::View;
use super::row;
use super::write::Ti;
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

impl Transaction<'_> {
    pub(super) fn note_asset_events(
        &self,
        attempt: &Attempt,
        events: &[NewAssetEvent],
        at: Timestamp,
    ) -> Result<()> {
        let number = self.fence(attempt)?.number;
        let Ti { run, task, map_index } = self.ti(&attempt.ti, at)?;
        let noted = self
            .connection
            .prepare_cached(
                "SELECT 1 FROM excom_asset_event WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND number = ?4",
            )?
            .exists((run, task, map_index, number))?;
        if noted {
            return Ok(());
        }
        let at = at.as_millisecond();
        for event in events {
            let asset: i64 = self
                .connection
                .prepare_cached(
                    "INSERT INTO excom_asset (name, uri, extra, seen) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET seen = max(seen, excluded.seen) RETURNING id",
                )?
                .query_row(params![&*event.name, &*event.uri, event.asset_extra.as_str(), at], |found| {
                    found.get(0)
                })?;
            self.execute(
                "INSERT INTO excom_asset_event (asset, at, run, task, map_index, number, partition_key, extra)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    asset,
                    at,
                    run,
                    task,
                    map_index,
                    number,
                    event.partition_key.as_deref(),
                    event.extra.as_str()
                ],
            )?;
            let id = self.connection.last_insert_rowid();
            for alias in &event.aliases {
                self.execute(
                    "INSERT INTO excom_asset_alias (alias, at, event, asset) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO NOTHING",
                    (&**alias, at, id, asset),
                )?;
            }
        }
        Ok(())
    }

    /// Events made before go, and assets whose newest one that is; returns how many events.
    pub(super) fn forget_asset_events(&self, before: i64) -> Result<u64> {
        self.execute(
            "DELETE FROM excom_asset_alias WHERE event IN (SELECT id FROM excom_asset_event WHERE at < ?1)",
            [before],
        )?;
        self.execute("DELETE FROM excom_asset WHERE seen < ?1", [before])?;
        Ok(self.execute("DELETE FROM excom_asset_event WHERE at < ?1", [before])? as u64)
    }

    /// The events of a run go with it.
    pub(super) fn drop_asset_events(&self, run: i64) -> Result<()> {
        self.execute(
            "DELETE FROM excom_asset_alias WHERE event IN (SELECT id FROM excom_asset_event WHERE run = ?1)",
            [run],
        )?;
        self.execute("DELETE FROM excom_asset_event WHERE run = ?1", [run]).map(drop)
    }
}

/// The statement about assets of which something is so.
macro_rules! assets {
    ($which:literal) => {
        concat!("SELECT id, name, uri, extra FROM excom_asset a WHERE ", $which)
    };
}

/// The statement about events of something, in an order.
macro_rules! events {
    ($of:literal, $order:literal) => {
        concat!(
            "SELECT e.id, e.at, a.id, a.name, a.uri, a.extra, e.extra, e.partition_key, d.text, r.run_id, t.text,
                 e.map_index
             FROM ",
            $of,
            " JOIN excom_asset a ON a.id = e.asset JOIN excom_dag_run r ON r.id = e.run
             JOIN excom_name d ON d.id = r.dag JOIN excom_name t ON t.id = e.task ORDER BY ",
            $order,
            " LIMIT ?4"
        )
    };
}

impl View<'_> {
    pub(super) fn assets(&self, named: &AssetNamed, limit: u32) -> Result<Vec<Asset>> {
        match named {
            AssetNamed::Key(name, uri) => {
                self.rows(assets!("name = ?1 AND uri = ?2 LIMIT ?3"), (&**name, &**uri, limit), |row| {
                    asset(row, 0)
                })
            }
            AssetNamed::Name(name) => self.rows(
                assets!("name = ?1 ORDER BY seen DESC, id DESC LIMIT ?2"),
                (&**name, limit),
                |row| asset(row, 0),
            ),
            AssetNamed::Uri(uri) => {
                self.rows(assets!("uri = ?1 ORDER BY seen DESC, id DESC LIMIT ?2"), (&**uri, limit), |row| {
                    asset(row, 0)
                })
            }
            AssetNamed::Alias(alias) => self.rows(
                assets!(
                    "id IN (SELECT asset FROM excom_asset_alias WHERE alias = ?1) ORDER BY name, uri LIMIT ?2"
                ),
                (&**alias, limit),
                |row| asset(row, 0),
            ),
        }
    }

    pub(super) fn asset_events(&self, filter: &AssetEventFilter, limit: u32) -> Result<Vec<AssetEvent>> {
        let (first, last) = filter.bounds();
        match &filter.of {
            EventsOf::Asset(id) => {
                let sql = match filter.newest_first {
                    false => events!(
                        "(SELECT * FROM excom_asset_event WHERE asset = ?1 AND at BETWEEN ?2 AND ?3) e",
                        "e.at, e.id"
                    ),
                    true => events!(
                        "(SELECT * FROM excom_asset_event WHERE asset = ?1 AND at BETWEEN ?2 AND ?3) e",
                        "e.at DESC, e.id DESC"
                    ),
                };
                self.rows(sql, (id, first, last, limit), event)
            }
            EventsOf::Alias(alias) => {
                let sql = match filter.newest_first {
                    false => events!(
                        "(SELECT event, at FROM excom_asset_alias WHERE alias = ?1 AND at BETWEEN ?2 AND ?3) l JOIN excom_asset_event e ON e.id = l.event",
                        "l.at, l.event"
                    ),
                    true => events!(
                        "(SELECT event, at FROM excom_asset_alias WHERE alias = ?1 AND at BETWEEN ?2 AND ?3) l JOIN excom_asset_event e ON e.id = l.event",
                        "l.at DESC, l.event DESC"
                    ),
                };
                self.rows(sql, (&**alias, first, last, limit), event)
            }
        }
    }
}

fn asset(found: &Row<'_>, at: usize) -> Result<Asset> {
    Ok(Asset {
        id: found.get(at)?,
        name: row::text(found, at + 1)?,
        uri: row::text(found, at + 2)?,
        extra: Value::parse(found.get::<_, String>(at + 3)?)?,
    })
}

fn event(found: &Row<'_>) -> Result<AssetEvent> {
    Ok(AssetEvent {
        id: found.get(0)?,
        at: row::time(found.get(1)?),
        asset: asset(found, 2)?,
        extra: Value::parse(found.get::<_, String>(6)?)?,
        partition_key: found.get::<_, Option<String>>(7)?.map(Into::into),
        by: TaskInstanceKey::new(
            row::text(found, 8)?,
            row::text(found, 9)?,
            row::text(found, 10)?,
            found.get(11)?,
        )?,
    })
}
