//! The engines of a scenario that has a server to itself. Each program of tests has its `Alone`, with the `Server` and the
//! `Db` that it is about.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use excom_core::{Engine, Result, memory};

use super::{Alone, Db, Options, Server};

impl Deref for Alone {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Alone {
    pub(crate) fn engine(url: &str) -> Result<Engine> {
        Self::patient(url, Options::default().patience)
    }

    /// One whose calls may take so long.
    pub(crate) fn patient(url: &str, patience: Duration) -> Result<Engine> {
        let db = pollster::block_on(Db::open(url, &Options { patience, ..Options::default() }))?;
        Ok(Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build())
    }
}
