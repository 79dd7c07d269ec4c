//! The way to the server: connected when it is first needed, made again when it broke, and tried again while what
//! is wrong may pass.

use std::future::Future;
use std::sync::Arc;

use excom_core::{Error, ErrorKind, ObjectName, Result};
use redis::{Cmd, RedisError, RedisResult, ServerErrorKind, Value};

use super::durability::{self, Durability, Guarantee};
use super::lane::{Lanes, Synced};
use super::wire::{self, Wire};
use super::{Redis, failure};

/// A connection, and what the server behind it guarantees.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) wire: Wire,
    durability: Arc<Durability>,
    /// For writes, when they must wait for the disk.
    lanes: Option<Arc<Lanes>>,
}

/// The answers to commands, from a server that keeps values so.
pub(super) struct Sent {
    pub(super) answers: Vec<RedisResult<Value>>,
    pub(super) durability: Arc<Durability>,
}

impl Wire {
    /// How safe the least safe server keeps values.
    pub(super) async fn durability(&mut self) -> RedisResult<Durability> {
        let mut least: Option<Durability> = None;
        for node in self.primaries().await? {
            let mut told = [Value::Nil, Value::Nil];
            let ask = [redis::cmd("INFO"), redis::cmd("CONFIG").arg("GET").arg("appendfsync").take()];
            for (command, told) in ask.into_iter().zip(&mut told) {
                match self.ask(node.as_ref(), command).await {
                    Ok(answer) => *told = answer,
                    Err(error) if failure::passes(&error) || failure::ends_connection(&error) => {
                        return Err(error);
                    }
                    // Not permitted, or renamed: it cannot be known.
                    Err(_) => {}
                }
            }
            if durability::loading(&told[0]) {
                // Until it has read its append-only file, it says that it writes none.
                return Err(RedisError::from((
                    redis::ErrorKind::Server(ServerErrorKind::BusyLoading),
                    "it starts",
                )));
            }
            let found = Durability::read(&told[0], &told[1]);
            if least.as_ref().is_none_or(|least| found.rank() < least.rank()) {
                least = Some(found);
            }
        }
        Ok(least.unwrap_or_default())
    }
}

impl Redis {
    /// Runs commands, again while what is wrong may pass, within the time set.
    pub(super) async fn attempt<T, F, R>(&self, doing: &str, run: F) -> Result<T>
    where
        F: Fn(Link) -> R,
        R: Future<Output = RedisResult<T>>,
    {
        let limit = self.0.options.timeout;
        let tried = self.0.reactor.run(async { tokio::time::timeout(limit, self.tried(doing, run)).await });
        tried.await.unwrap_or_else(|_| {
            // It may hang, so the next call shall not find it. Who holds the lock is making a new one.
            if let Ok(mut link) = self.0.link.try_lock() {
                *link = None;
            }
            Err(Error::new(ErrorKind::Unavailable, format!("cannot {doing} in {self} within {limit:?}"))
                .hint("try again; check that the server runs and can be reached, or raise the timeout"))
        })
    }

    /// The same for what takes many steps, each within the time set.
    pub(super) async fn attempt_steps<T, F, R>(&self, doing: &str, run: F) -> Result<T>
    where
        F: Fn(Link) -> R,
        R: Future<Output = RedisResult<T>>,
    {
        self.0.reactor.run(self.tried(doing, run)).await
    }

    async fn tried<T, F, R>(&self, doing: &str, run: F) -> Result<T>
    where
        F: Fn(Link) -> R,
        R: Future<Output = RedisResult<T>>,
    {
        let mut tries = 0;
        loop {
            let error = match self.tried_once(&run).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if tries >= self.0.options.retries || !failure::passes(&error) {
                return Err(failure::told(&error, doing, self));
            }
            tokio::time::sleep(wire::pause(tries)).await;
            tries += 1;
        }
    }

    async fn tried_once<T, F, R>(&self, run: &F) -> RedisResult<T>
    where
        F: Fn(Link) -> R,
        R: Future<Output = RedisResult<T>>,
    {
        let link = self.link().await?;
        let durability = Arc::clone(&link.durability);
        let result = run(link).await;
        if let Err(error) = &result
            && failure::ends_connection(error)
        {
            self.forget(&durability).await;
        }
        result
    }

    /// Drops the connection that this was found out about, unless there is a new one since.
    async fn forget(&self, durability: &Arc<Durability>) {
        let mut current = self.0.link.lock().await;
        if current.as_ref().is_some_and(|link| Arc::ptr_eq(&link.durability, durability)) {
            *current = None;
        }
    }

    async fn link(&self) -> RedisResult<Link> {
        let mut current = self.0.link.lock().await;
        if let Some(link) = &*current {
            return Ok(link.clone());
        }
        let mut wire = self.0.wiring.connect().await?;
        let durability = wire.durability().await?;
        let lanes = match durability.guarantee() {
            Guarantee::Waits if !self.0.options.accept_loss => {
                // The server answers before the client has given up.
                let patience = self.0.options.timeout / 2;
                Some(Arc::new(Lanes::new(self.0.wiring.connect().await?, patience)))
            }
            _ => None,
        };
        Ok(current.insert(Link { wire, durability: Arc::new(durability), lanes }).clone())
    }

    /// Takes note of what a server guarantees now: with something else, a new connection is made.
    pub(super) async fn looked_at(&self, durability: &Durability) {
        let mut current = self.0.link.lock().await;
        if current.as_ref().is_some_and(|link| *link.durability != *durability) {
            *current = None;
        }
    }

    /// Why nothing may be stored here.
    pub(super) fn refusal(&self, durability: &Durability) -> Option<Error> {
        let risks = durability.risks();
        (!self.0.options.accept_loss && !risks.is_empty()).then(|| {
            Error::new(ErrorKind::Configuration, format!("{self} may lose values: {}", risks.join("; ")))
                .hint(
                    "set appendonly yes, appendfsync always (or everysec with Redis 7.2 or newer) and \
                     maxmemory-policy noeviction, and let the user run info and config|get",
                )
                .hint("or set accept_loss, when every value can be made again")
        })
    }

    /// Sends commands for keys of an object.
    pub(super) async fn send(
        &self,
        doing: &str,
        name: &ObjectName,
        object: &str,
        commands: Vec<Cmd>,
    ) -> Result<Sent> {
        self.attempt(&format!("{doing} {name}"), |mut link| {
            let commands = commands.clone();
            async move {
                let answers = link.wire.send(object, commands).await?;
                let answers: Vec<_> = answers.into_iter().map(Value::extract_error).collect();
                if let Some(error) = answers.iter().filter_map(|answer| answer.as_ref().err()).find(passes) {
                    return Err(error.clone());
                }
                Ok(Sent { answers, durability: link.durability })
            }
        })
        .await
    }

    /// Writes a chunk of what nobody reads yet.
    pub(super) async fn write_chunk(
        &self,
        name: &ObjectName,
        object: &str,
        commands: Vec<Cmd>,
    ) -> Result<()> {
        let doing = format!("write {name}");
        let written = self.attempt(&doing, |mut link| {
            let commands = commands.clone();
            async move {
                if let Some(refused) = self.refusal(&link.durability) {
                    // The next write looks again: somebody may set it right.
                    self.forget(&link.durability).await;
                    return Ok(Err(refused));
                }
                let answers = link.wire.send(object, commands).await?;
                answers.into_iter().try_for_each(|answer| answer.extract_error().map(drop))?;
                Ok(Ok(()))
            }
        });
        written.await?
    }

    /// Writes what makes an object, and waits for the disk where the server does not.
    pub(super) async fn write(&self, name: &ObjectName, object: &str, command: Cmd) -> Result<Synced> {
        let doing = format!("write {name}");
        let written = self.attempt(&doing, |mut link| {
            let command = command.clone();
            async move {
                if let Some(refused) = self.refusal(&link.durability) {
                    // The next write looks again: somebody may set it right.
                    self.forget(&link.durability).await;
                    return Ok(Err(refused));
                }
                let mut written = match &link.lanes {
                    Some(lanes) => lanes.write(object, command).await?,
                    None => {
                        let answer = link.wire.send(object, [command]).await?.pop();
                        Synced { answer: answer.unwrap_or(Value::Nil), unsynced: None }
                    }
                };
                written.answer = written.answer.extract_error()?;
                Ok(Ok(written))
            }
        });
        written.await?
    }

    /// Waits until all that was written before is on disk, where the server does not do so itself.
    pub(super) async fn wait(
        &self,
        name: &ObjectName,
        object: &str,
        touch: Cmd,
    ) -> Result<Option<RedisError>> {
        let doing = format!("write {name}");
        let waited = self.attempt(&doing, |link| {
            let touch = touch.clone();
            async move {
                match &link.lanes {
                    Some(lanes) => Ok(lanes.write(object, touch).await?.unsynced),
                    None => Ok(None),
                }
            }
        });
        waited.await
    }
}

fn passes(error: &&RedisError) -> bool {
    failure::passes(error)
}
