//! Writes that wait until the server has synced its append-only file.
//!
//! `WAITAOF` holds up the connection that it is sent on, up to a second with `appendfsync everysec`. So writes have
//! a connection of their own, and what arrives while one waits is sent together when it is done and shares the
//! next wait: a commit of a group.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::cluster_routing::Slot;
use redis::{Cmd, FromRedisValue as _, RedisError, RedisResult, Value};
use tokio::sync::oneshot;

use super::wire::Wire;

/// Waiting writes by slot: what is sent together must go to one node.
pub(super) struct Lanes {
    wire: Wire,
    /// How long the server may take to sync.
    patience: Duration,
    lanes: Mutex<HashMap<Option<Slot>, Arc<Lane>>>,
}

#[derive(Default)]
struct Lane {
    waiting: Mutex<Vec<(Cmd, oneshot::Sender<RedisResult<Synced>>)>>,
    lead: tokio::sync::Mutex<()>,
}

/// The answer to a write, and whether it is on disk.
#[derive(Debug, Clone)]
pub(super) struct Synced {
    pub(super) answer: Value,
    /// Why it is not.
    pub(super) unsynced: Option<RedisError>,
}

impl Lanes {
    pub(super) fn new(wire: Wire, patience: Duration) -> Self {
        Self { wire, patience, lanes: Mutex::default() }
    }

    /// Sends a write, and answers when it is on disk.
    pub(super) async fn write(&self, key: &str, command: Cmd) -> RedisResult<Synced> {
        let slot = matches!(self.wire, Wire::Cluster(_)).then(|| Slot::for_key(key));
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(lanes.entry(slot).or_default())
        };
        let (answer, mut answered) = oneshot::channel();
        lane.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((command, answer));
        let lead = lane.lead.lock().await;
        if let Ok(answer) = answered.try_recv() {
            return answer;
        }
        let waiting = std::mem::take(&mut *lane.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        // Whoever has given up since does not want it written any more.
        let (commands, answers): (Vec<_>, Vec<_>) =
            waiting.into_iter().filter(|(_, answer)| !answer.is_closed()).unzip();
        let result = self.send(key, commands).await;
        for (place, answer) in answers.into_iter().enumerate() {
            drop(answer.send(match &result {
                Ok(all) => Ok(all[place].clone()),
                Err(error) => Err(error.clone()),
            }));
        }
        drop(lead);
        // Closed when a leader before gave up with this write in its hands: it may have been sent or not.
        answered.try_recv().unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the write was interrupted").into())
        })
    }

    async fn send(&self, key: &str, mut commands: Vec<Cmd>) -> RedisResult<Vec<Synced>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut wait = redis::cmd("WAITAOF");
        wait.arg(1).arg(0).arg(u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX).max(1));
        commands.push(wait);
        let mut answers = self.wire.clone().send(key, commands).await?;
        let waited = answers.pop().unwrap_or(Value::Nil).extract_error();
        let unsynced = match waited.and_then(|waited| Ok(Vec::<i64>::from_redis_value(waited)?)) {
            Ok(synced) if synced.first().is_some_and(|local| *local >= 1) => None,
            Ok(_) => {
                Some(io::Error::new(io::ErrorKind::TimedOut, "it was not synced to disk in time").into())
            }
            Err(error) => Some(error),
        };
        Ok(answers.into_iter().map(|answer| Synced { answer, unsynced: unsynced.clone() }).collect())
    }
}
