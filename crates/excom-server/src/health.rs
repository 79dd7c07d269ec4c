//! Whether the process lives, and whether pushes and pulls would work. Anybody may ask that, as often as it pleases them: so it
//! is looked for once for all who ask at a time, and what is found holds for a while.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use excom_core::{Engine, Error, ErrorKind, Result};
use futures_util::future::join;
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, timeout};

use crate::app::App;
use crate::gate::{Gate, pass};
use crate::readiness::{LIVE, live, not_ready};
use crate::refusal::document;

/// How old a look may be for who asks whether the server is ready; and for a scrape, which waits for none.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const SCRAPE_EVERY: Duration = Duration::from_secs(30);

/// How long the store, and then the database, may take to answer.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// The last look, or the one that is under way.
#[derive(Debug)]
pub(crate) struct LastLook {
    worked: Mutex<Worked>,
    look: Mutex<Option<Look>>,
}

/// Which parts did what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Worked {
    pub(crate) database: bool,
    pub(crate) store: bool,
}

/// A look, and what comes of it.
#[derive(Debug, Clone)]
struct Look {
    begun: Instant,
    found: watch::Receiver<Option<Found>>,
}

/// The document that says that pushes and pulls would work, or the reasons why not.
type Found = std::result::Result<Json, Vec<Json>>;

impl LastLook {
    /// That of an engine that was just opened, and so works.
    pub(crate) fn new() -> Self {
        Self { worked: Mutex::new(Worked { database: true, store: true }), look: Mutex::new(None) }
    }

    fn worked(&self) -> MutexGuard<'_, Worked> {
        self.worked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look no older than that, or the one that is under way; a new one goes on also when nobody waits for it any more.
fn look(app: &App, every: Duration) -> Look {
    let mut last = app.last_look.look.lock().unwrap_or_else(PoisonError::into_inner);
    let is_fresh = |look: &&Look| {
        // Whoever looks lets go of the sender in the end, whatever happens.
        let is_under_way = look.found.has_changed().is_ok();
        is_under_way || look.begun.elapsed() < every && look.found.borrow().is_some()
    };
    if let Some(look) = last.as_ref().filter(is_fresh) {
        return look.clone();
    }
    let (sender, found) = watch::channel(None);
    let app = app.clone();
    drop(tokio::spawn(async move {
        let (worked, found) = within(&app.engine).await;
        *app.last_look.worked() = worked;
        sender.send_replace(Some(found));
    }));
    last.insert(Look { begun: Instant::now(), found }).clone()
}

/// Asks the store and the database for little: what is wrong inside of them keeps nobody from pushing, and is the doctor's.
async fn within(engine: &Engine) -> (Worked, Found) {
    let (backend, db) = (engine.backend(), engine.db());
    let (store, database) = join(in_time(&backend, backend.check()), in_time(&db, db.check())).await;
    let worked = Worked { database: database.is_ok(), store: store.is_ok() };
    let found = match (store, database) {
        (Ok(()), Ok(database)) => {
            Ok(json!({"status": "ready", "database": database, "backend": backend.to_string()}))
        }
        (store, database) => {
            Err(store.err().iter().chain(database.err().iter()).map(reason).collect::<Vec<_>>())
        }
    };
    (worked, found)
}

/// What somebody answers, unless that takes too long.
async fn in_time<T>(who: impl fmt::Display, answer: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(LONGEST_LOOK, answer).await.unwrap_or_else(|_| {
        let message = format!("{who} has not answered for {} seconds", LONGEST_LOOK.as_secs());
        Err(Error::new(ErrorKind::Unavailable, message).hint("`excom doctor` looks at it for longer"))
    })
}

fn reason(error: &Error) -> Json {
    json!({"code": error.code(), "message": error.to_string(), "hints": error.hints()})
}

/// What worked when it was last looked. When that is long ago it is looked again, beside: nobody waits, and
/// the next one is told.
pub(crate) fn worked(app: &App) -> Worked {
    drop(look(app, SCRAPE_EVERY));
    *app.last_look.worked()
}

pub(crate) fn router(app: &App) -> Router<App> {
    Router::new()
        .route(LIVE, get(live))
        .route("/health/ready", get(ready))
        .route_layer(from_fn_with_state(Gate::open(app), pass))
}

/// Whether pushes and pulls would work, or why not.
async fn ready(State(app): State<App>) -> Response {
    let mut look = look(&app, LOOK_EVERY);
    match look.found.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(Ok(ready))) => document(StatusCode::OK, ready),
        Ok(Some(Err(reasons))) => not_ready(reasons),
        Ok(None) | Err(_) => not_ready(&[reason(&Error::new(ErrorKind::Other, "it could not be looked"))]),
    }
}
