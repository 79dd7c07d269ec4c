//! Assets and their events: the statements that write and read them.

use excom_core::asset::{Asset, AssetEvent, AssetEventFilter, AssetNamed, EventsOf, NewAssetEvent};
use excom_core::attempt::{Attempt, Caller};
use excom_core::{Result, TaskInstanceKey, Value};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::Failure;
use super::row;
use super::write::Fenced;

/// The events of an attempt and their assets, each by its key.
const NOTE: Statement<'_> = Statement {
    sql: "SELECT excom.note_asset_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    types: types![
        TEXT, TEXT, TEXT, INT4, UUID, INT8, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY,
        INT4_ARRAY, TEXT_ARRAY
    ],
};

/// One by its key.
const BY_KEY: Statement<'_> = Statement {
    sql: "SELECT id, name, uri, extra FROM excom.asset WHERE digest = excom.digest_of($1, $2) LIMIT $3",
    types: types![TEXT, TEXT, INT8],
};

/// Few have the same name.
const BY_NAME: Statement<'_> = Statement {
    sql: "SELECT id, name, uri, extra FROM excom.asset WHERE name = $1 ORDER BY seen DESC, id DESC LIMIT $2",
    types: types![TEXT, INT8],
};

/// Few have the same URI.
const BY_URI: Statement<'_> = Statement {
    sql: "SELECT id, name, uri, extra FROM excom.asset WHERE uri = $1 ORDER BY seen DESC, id DESC LIMIT $2",
    types: types![TEXT, INT8],
};

/// The events of an alias are looked at, and then each of their assets by its number.
const BY_ALIAS: Statement<'_> = Statement {
    sql: "SELECT id, name, uri, extra FROM excom.asset
          WHERE id IN (SELECT asset FROM excom.asset_alias WHERE digest = excom.digest_of($1))
          ORDER BY name COLLATE \"C\", uri COLLATE \"C\" LIMIT $2",
    types: types![TEXT, INT8],
};

/// Events of something, in an order: they lie in it in an index, and what is around each is found by its number.
macro_rules! events {
    ($type:ident, $of:literal, $direction:literal) => {
        Statement {
            sql: concat!(
                "SELECT e.id, e.at, a.id, a.name, a.uri, a.extra, e.extra, e.partition_key, d.text, r.run_id, t.text,
                     e.map_index
                 FROM ",
                $of,
                " AND o.at BETWEEN $2 AND $3 ORDER BY o.at ",
                $direction,
                ", id ",
                $direction,
                " LIMIT $4) o
                     JOIN excom.asset_event e ON e.id = o.id JOIN excom.asset a ON a.id = e.asset
                     JOIN excom.dag_run r ON r.id = e.run JOIN excom.name d ON d.id = r.dag
                     JOIN excom.name t ON t.id = e.task
                 ORDER BY e.at ",
                $direction,
                ", e.id ",
                $direction
            ),
            types: types![$type, INT8, INT8, INT8],
        }
    };
}

const OLDEST_OF_ASSET: Statement<'_> =
    events!(INT8, "(SELECT id FROM excom.asset_event o WHERE asset = $1", "ASC");

const NEWEST_OF_ASSET: Statement<'_> =
    events!(INT8, "(SELECT id FROM excom.asset_event o WHERE asset = $1", "DESC");

const OLDEST_OF_ALIAS: Statement<'_> =
    events!(TEXT, "(SELECT event AS id FROM excom.asset_alias o WHERE digest = excom.digest_of($1)", "ASC");

const NEWEST_OF_ALIAS: Statement<'_> =
    events!(TEXT, "(SELECT event AS id FROM excom.asset_alias o WHERE digest = excom.digest_of($1)", "DESC");

impl Tables {
    pub(super) async fn note_asset_events(
        &self,
        attempt: &Attempt,
        events: &[NewAssetEvent],
        at: Timestamp,
    ) -> Result<()> {
        let fenced = Fenced::attempt(attempt);
        let [dag, run, task, map_index, id] = fenced.parameters();
        let texts = |of: fn(&NewAssetEvent) -> &str| events.iter().map(of).collect::<Vec<_>>();
        let partition_keys: Vec<_> = events.iter().map(|event| event.partition_key.as_deref()).collect();
        let (mut places, mut aliases) = (Vec::new(), Vec::new());
        for (place, event) in (1_i32..).zip(events) {
            for alias in &event.aliases {
                places.push(place);
                aliases.push(&**alias);
            }
        }
        let parameters: [Parameter<'_>; 13] = [
            dag,
            run,
            task,
            map_index,
            id,
            &at.as_millisecond(),
            &texts(|event| &event.name),
            &texts(|event| &event.uri),
            &texts(|event| event.asset_extra.as_str()),
            &texts(|event| event.extra.as_str()),
            &partition_keys,
            &places,
            &aliases,
        ];
        match self.connections.write(&NOTE, &parameters).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.refused(failure, &Caller::Attempt(attempt.clone())).await),
        }
    }

    pub(super) async fn assets(&self, named: &AssetNamed, limit: u32) -> Result<Vec<Asset>, Failure> {
        let limit = i64::from(limit);
        let asset = |found: &Row| asset(found, 0);
        match named {
            AssetNamed::Key(name, uri) => self.rows(&BY_KEY, &[&&**name, &&**uri, &limit], asset).await,
            AssetNamed::Name(name) => self.rows(&BY_NAME, &[&&**name, &limit], asset).await,
            AssetNamed::Uri(uri) => self.rows(&BY_URI, &[&&**uri, &limit], asset).await,
            AssetNamed::Alias(alias) => self.rows(&BY_ALIAS, &[&&**alias, &limit], asset).await,
        }
    }

    pub(super) async fn asset_events(
        &self,
        filter: &AssetEventFilter,
        limit: u32,
    ) -> Result<Vec<AssetEvent>, Failure> {
        let ((first, last), limit) = (filter.bounds(), i64::from(limit));
        match &filter.of {
            EventsOf::Asset(id) => {
                let statement = if filter.newest_first { &NEWEST_OF_ASSET } else { &OLDEST_OF_ASSET };
                self.rows(statement, &[id, &first, &last, &limit], event).await
            }
            EventsOf::Alias(alias) => {
                let statement = if filter.newest_first { &NEWEST_OF_ALIAS } else { &OLDEST_OF_ALIAS };
                self.rows(statement, &[&&**alias, &first, &last, &limit], event).await
            }
        }
    }
}

fn asset(found: &Row, at: usize) -> Result<Asset, Failure> {
    Ok(Asset {
        id: found.try_get(at)?,
        name: row::text(found, at + 1)?,
        uri: row::text(found, at + 2)?,
        extra: Value::parse(found.try_get::<_, String>(at + 3)?)?,
    })
}

fn event(found: &Row) -> Result<AssetEvent, Failure> {
    Ok(AssetEvent {
        id: found.try_get(0)?,
        at: row::time(found.try_get(1)?),
        asset: asset(found, 2)?,
        extra: Value::parse(found.try_get::<_, String>(6)?)?,
        partition_key: found.try_get::<_, Option<&str>>(7)?.map(Into::into),
        by: TaskInstanceKey::new(
            row::text(found, 8)?,
            row::text(found, 9)?,
            row::text(found, 10)?,
            found.try_get(11)?,
        )?,
    })
}
