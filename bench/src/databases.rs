//! The group `databases`: the engine on a PostgreSQL server with the settings that it comes with.

mod many;
mod prune;
mod size;
pub(crate) mod traffic;

use std::sync::Arc;

use excom_core::Engine;
use excom_db::postgres::{Db, Options};
use excom_testkit::postgres::Postgres;

use crate::engine::{Result, Rounds};
use crate::goals::Goal;
use crate::payload::Kind;
use crate::report::{Beside, Row};
use crate::system::SystemClock;

/// The database of a server that has only one.
pub(crate) const DATABASE: &str = "postgres";

/// The figures of a row, and what stands beside it.
type Figures = (Rounds, Vec<(String, Beside)>);

/// Measures a row of this group; none when it is of another group.
pub(crate) fn measure(goal: &Goal, quick: bool) -> Result<Option<Vec<Row>>> {
    if let Err(why) = Postgres::available() {
        return Ok(Some(vec![Row::missing(goal, why)]));
    }
    let row = |kind: Kind| -> Result<Option<Row>> {
        let row = |unit, rounds| Row::new(goal, kind.name(), unit, rounds, ratio);
        let with = |unit, (rounds, beside): Figures| row(unit, rounds).beside(beside);
        Ok(Some(match goal.name.as_str() {
            "pg-pull-1k-16" => row("/s", traffic::pull(kind, quick)?),
            "pg-push-1k-16" => row("/s", traffic::push(kind, quick)?),
            "pg-size-standard" => with("bytes", size::standard(kind)?),
            "pg-size-exclusive" => with("bytes", size::exclusive(kind)?),
            "prune-1m" => with("s", prune::prune(kind, quick)?),
            "pg-flat-pull" => row("us", many::flat(kind, quick)?),
            _ => return Ok(None),
        }))
    };
    Kind::BOTH.into_iter().map(row).collect()
}

fn ratio(ours: f64, reference: Option<f64>) -> f64 {
    ours / reference.unwrap_or(1.0)
}

/// An engine on the server, as it comes.
pub(crate) fn open(server: &Postgres) -> Result<Engine> {
    engine_on(server, DATABASE)
}

fn engine_on(server: &Postgres, database: &str) -> Result<Engine> {
    let db = pollster::block_on(Db::open(&server.url(database), &Options::default()))?;
    Ok(Engine::builder(Arc::new(db), Arc::new(SystemClock)).build())
}
