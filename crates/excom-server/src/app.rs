//! What all routes share.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use excom_core::{Engine, Result};

use crate::auth::{Issued, Keys, Role, Tokens};
use crate::{execution, health, own};

/// What a server is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The longest sequence that a task may push for others to be mapped over, as Airflow's `[core] max_map_length`.
    pub max_map_length: u64,
    /// The most bytes of a request's body.
    pub body_limit: u64,
    /// How long a client may take to send a request's head.
    pub head_timeout: Duration,
    /// How long requests that are under way may take to end when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_map_length: 1024,
            body_limit: 64 << 20,
            head_timeout: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// The engine with everything that routes need beside it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    pub(crate) engine: Engine,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) options: Arc<Options>,
}

impl App {
    /// An engine behind tokens that keys sign.
    pub fn new(engine: Engine, keys: Keys, options: Options) -> Self {
        let tokens = Arc::new(Tokens::new(keys, Arc::clone(engine.clock())));
        Self { engine, tokens, options: Arc::new(options) }
    }

    /// A token for a person, or a program that acts for one.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when there is no key that signs.
    pub fn person_token(&self, name: &str, role: Role, lifetime: Duration) -> Result<Issued> {
        self.tokens.person(name, role, lifetime)
    }

    /// All routes.
    pub fn router(&self) -> Router {
        let limit = usize::try_from(self.options.body_limit).unwrap_or(usize::MAX);
        Router::new()
            .nest("/execution", execution::router(self))
            .nest("/api/excom/v1", own::router())
            .merge(health::router())
            .layer(DefaultBodyLimit::max(limit))
            .with_state(self.clone())
    }
}
