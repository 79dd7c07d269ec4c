//! The child of the proof: it pushes, clears, deletes and starts attempts until it is killed, and tells
//! before and after each what it does.

use std::path::Path;

use excom::core::db::{Scope, StartMode};
use excom::{Attempt, Caller, Engine};

use super::model::Operation;
use super::{KEYS, THREADS, xcom};
use crate::child::tell;
use crate::place::Place;
use crate::random::Random;
use crate::{Result, home};

/// Works until it is killed.
///
/// # Errors
/// Whatever fails: nothing should.
pub fn child(place: &Place, folder: &Path, round: u64) -> Result<()> {
    let engine = excom::embedded::open(&place.settings(folder)?)?;
    tell("ready")?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let engine = &engine;
                scope.spawn(move || {
                    let outcome = Pusher::new(engine, round, thread).run();
                    if let Err(error) = &outcome {
                        // At once: the other threads go on until they are killed.
                        drop(tell(&format!("error {error}")));
                    }
                    outcome
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })
}

struct Pusher<'a> {
    engine: &'a Engine,
    thread: usize,
    random: Random,
    caller: Caller,
    counter: u64,
}

impl<'a> Pusher<'a> {
    fn new(engine: &'a Engine, round: u64, thread: usize) -> Self {
        let counter = round << 32 | (thread as u64) << 28;
        Self { engine, thread, random: Random::new(counter), caller: Caller::user("pusher"), counter }
    }

    fn run(&mut self) -> Result<()> {
        loop {
            let operation = self.choose();
            tell(&format!("begin {} {operation}", self.thread))?;
            pollster::block_on(self.act(&operation))?;
            tell(&format!("end {}", self.thread))?;
        }
    }

    fn choose(&mut self) -> Operation {
        let key = self.random.below(KEYS as u64) as usize;
        match self.random.below(100) {
            0..6 => Operation::Delete(key),
            6..10 => Operation::Clear(key),
            10..13 => Operation::Start(self.engine.clock().attempt_id()),
            _ => {
                self.counter += 1;
                let size = match self.random.below(50) {
                    // More than a frame.
                    0 => 1_200_000 + self.random.below(500_000),
                    1..13 => 5_000 + self.random.below(60_000),
                    _ => 40 + self.random.below(3_000),
                };
                let (version, counter) = (self.engine.clock().version(), self.counter);
                Operation::Push { key, version, counter, size: size as usize }
            }
        }
    }

    async fn act(&mut self, operation: &Operation) -> Result<()> {
        let user = Caller::user("pusher");
        match operation {
            Operation::Push { key, version, counter, size } => {
                let value = home::value(*counter, *size)?;
                let key = xcom(self.thread, *key)?;
                self.engine.push_version(&self.caller, &key, *version, value.into()).await?;
            }
            Operation::Start(id) => {
                let attempt = Attempt { ti: xcom(self.thread, 0)?.ti, id: *id };
                self.engine.start_attempt(&attempt, 1, StartMode::Fresh).await?;
                self.caller = Caller::Attempt(attempt);
            }
            Operation::Clear(key) => {
                self.engine.clear(&self.caller, &Scope::Key(xcom(self.thread, *key)?)).await?;
            }
            Operation::Delete(key) => {
                self.engine.delete(&user, &Scope::Key(xcom(self.thread, *key)?)).await?;
            }
        }
        Ok(())
    }
}
