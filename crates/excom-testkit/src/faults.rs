//! The proof of faults: large values in Redis and in S3, and everything between them and the engine going wrong.
//!
//! In a storm threads push and pull through a proxy that spoils what passes, and the Redis is killed and
//! started again. Then a process that pushes is killed again and again, as in the [proof of crashes](crate::crash).
//! Behind each of both the place must have exactly the objects that the database knows.

mod model;
mod storm;

use std::fmt;
use std::path::Path;
use std::time::Duration;

pub use storm::Storms;

use crate::place::Place;
use crate::proxy::Proxy;
use crate::redis::{Program, Redis};
use crate::s3::S3;
use crate::{Result, crash};

/// How long the proof is, for each place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// How many storms.
    pub storms: u64,
    /// How long each blows.
    pub storm: Duration,
    /// How often a pushing process is killed.
    pub kills: u64,
}

impl Length {
    /// The long form.
    pub const LONG: Self = Self { storms: 20, storm: Duration::from_secs(6), kills: 500 };
}

/// What the proof found in one place.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which place.
    pub place: &'static str,
    /// What the storms came to.
    pub storms: Storms,
    /// What the kills came to.
    pub kills: crash::Report,
    /// Uploads in parts that nobody completed or aborted, where there are any: the place drops them by a rule of
    /// its own.
    pub unfinished_uploads: usize,
}

/// What the proof found.
#[derive(Debug, Clone, Default)]
pub struct Report(pub Vec<Found>);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, found) in self.0.iter().enumerate() {
            let line = if index == 0 { "" } else { "\n" };
            write!(f, "{line}{}: {}\n{}", found.place, found.storms, found.kills)?;
            if found.unfinished_uploads > 0 {
                write!(f, "\n{} uploads in parts were left unfinished", found.unfinished_uploads)?;
            }
        }
        Ok(())
    }
}

/// Proves it for Redis and S3.
///
/// # Errors
/// What was broken, or why a server cannot be had.
pub fn prove(program: &Path, length: Length, seed: u64) -> Result<Report> {
    Ok(Report(vec![redis(program, length, seed)?, s3(program, length, seed)?]))
}

/// Proves it for Redis, which is killed too.
///
/// # Errors
/// As [`prove`].
pub fn redis(program: &Path, length: Length, seed: u64) -> Result<Found> {
    let mut server = Redis::start(&Program::redis()?, "")?;
    let proxy = Proxy::start(server.port(), false, seed)?;
    let (through, direct) = (Place::redis(proxy.port()), Place::redis(server.port()));
    let mut kill = || {
        server.kill();
        server.restart()
    };
    // Each of some steps has the time of a call: look, write the chunks of the largest value, publish, ask.
    let bound = Duration::from_secs(20);
    let storms = storm::blow(
        &storm::Sea { through: &through, direct: &direct, proxy: &proxy, bound },
        length,
        seed,
        Some(&mut kill),
    )?;
    let kills = crash::prove_in(&through, &|| proxy.settle(), program, length.kills, seed)?;
    Ok(Found { place: "redis", storms, kills, unfinished_uploads: 0 })
}

/// Proves it for S3. Its server keeps nothing, so only the way to it breaks.
///
/// # Errors
/// As [`prove`].
pub fn s3(program: &Path, length: Length, seed: u64) -> Result<Found> {
    S3::available()?;
    let server = S3::start()?;
    let proxy = Proxy::start(server.port(), true, seed)?;
    let through = Place::s3(server.options_through(proxy.port()));
    let direct = Place::s3(server.options());
    // Each of some requests is repeated for at most 30 seconds.
    let bound = Duration::from_secs(120);
    let sea = storm::Sea { through: &through, direct: &direct, proxy: &proxy, bound };
    let storms = storm::blow(&sea, length, seed, None)?;
    let kills = crash::prove_in(&through, &|| proxy.settle(), program, length.kills, seed)?;
    Ok(Found { place: "s3", storms, kills, unfinished_uploads: server.unfinished()? })
}
