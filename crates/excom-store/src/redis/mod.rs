//! A value store in Redis or Valkey.
//!
//! # Where
//!
//! `redis://user:password@host:port/db`, `rediss://` for TLS; `valkey://` and `valkeys://` mean the same. Several
//! hosts (`redis://a:7000,b:7000`) or `?cluster=true` are a cluster. An object lies under
//! `PREFIX:{DAG/RUN}:TASK/MAP/KEY/VERSION`, so that the values of a run are in one slot of a cluster.
//!
//! # What it costs
//!
//! | call | round trips |
//! | --- | --- |
//! | `create` | 1 up to a chunk of 1 MiB; more: 1 for each chunk, and 1 that makes them the object |
//! | `get` | 1 up to a chunk; more: 2, and the chunks two ahead |
//! | `get_many` | 1 `MGET` for all objects of one chunk (in a cluster, one for each slot, at the same time); then, at the same time, as `get` for those that are missing or larger |
//! | `delete` | 1 |
//! | `list` | a `SCAN` of all keys of the server, whatever the limit, and of each primary of a cluster |
//!
//! # What is safe
//!
//! A store that holds the only copy of values needs `appendonly yes` with `appendfsync always`, or with `everysec`
//! and Redis 7.2 or newer, where each write waits for its sync (`WAITAOF`), and `maxmemory-policy noeviction`. What
//! the server says is looked at with every new connection; less is refused unless [`RedisOptions::accept_loss`] is
//! set. This is about the primary's disk: replicas follow later, so a failover to one may lose what was written
//! just before it; the value is then `Lost`, never wrong.
//!
//! Writes that wait share their wait: what arrives meanwhile is sent together. In a cluster they do so by slot, and
//! slots of one node wait in turn, so `appendfsync always` is the better choice there.

mod address;
mod chunks;
mod direct;
mod durability;
mod failure;
mod key;
mod lane;
mod link;
mod object;
mod wire;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use excom_core::{ByteStream, Error, ErrorKind, ObjectName, Result, ValueStore};
use excom_reactor::Reactor;
use futures_util::future::{join, join_all};
use futures_util::stream::{self, StreamExt as _};
use redis::{Cmd, FromRedisValue as _, RedisError, Value};

pub use self::durability::{Durability, Guarantee};

use self::address::Address;
use self::chunks::Chunks;
use self::key::Keys;
use self::link::Link;
use self::object::{CHUNK_BYTES, HEAD, Head, Writer};
use self::wire::Wiring;

/// How many chunks are asked for before they are wanted.
const CHUNKS_AHEAD: usize = 2;

/// How many keys a step of a list looks at.
const SCAN_KEYS: usize = 1000;

/// What a [`Redis`] store is set to.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Its id in the configuration.
    pub id: String,
    /// What every key begins with: letters, digits, `_`, `-`, `.` and `:`.
    pub prefix: String,
    /// Objects expire after so long; never by default.
    pub time_to_live: Option<Duration>,
    /// Values may be lost: the server need not be durable, and no write waits for its disk.
    pub accept_loss: bool,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a command may take, with all its tries.
    pub timeout: Duration,
    /// How often a command is tried again when the server is away, loading or changing its roles.
    pub retries: u32,
    /// The certificate, in PEM, of who signed the server's; the system's roots by default.
    pub root_certificate: Option<Vec<u8>>,
    /// What the client shows to a server that asks for a certificate.
    pub client_certificate: Option<ClientCertificate>,
}

/// A certificate of the client and its key, both in PEM.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// Without the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            id: "redis".to_owned(),
            prefix: "excom".to_owned(),
            time_to_live: None,
            accept_loss: false,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            retries: 6,
            root_certificate: None,
            client_certificate: None,
        }
    }
}

/// Objects in Redis or Valkey. See the [module](self) for what it costs and what is safe.
///
/// It connects when it is first used. A connection that broke is made again, and a command that met it is tried
/// again; a push knows its own object then, so it is neither lost nor refused as existing.
///
/// ```no_run
/// use excom_store::{Redis, RedisOptions};
///
/// let store = Redis::open("rediss://airflow:secret@redis.example:6379/0", RedisOptions::default())?;
/// assert_eq!(store.to_string(), "redis(rediss://airflow@redis.example:6379/0)");
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    address: Address,
    options: RedisOptions,
    keys: Keys,
    wiring: Wiring,
    // Held while one connects; all others want the same connection.
    link: tokio::sync::Mutex<Option<Link>>,
    // Behind the connections, whose tasks run on it.
    reactor: Reactor,
}

impl Redis {
    /// How a store at a URL is shown, which tells two places apart.
    ///
    /// # Errors
    /// `Configuration` when the URL is malformed.
    pub fn place(url: &str) -> Result<String> {
        Address::read(url).map(|address| shown(&address))
    }

    /// A store at a URL; nothing is connected yet.
    ///
    /// # Errors
    /// `Configuration` when the URL or an option is malformed; the message does not show the password.
    pub fn open(url: &str, options: RedisOptions) -> Result<Self> {
        let address = Address::read(url)?;
        let keys = Keys::new(&options.prefix)?;
        if options.time_to_live.is_some_and(|time| time.as_millis() == 0) {
            return Err(Error::new(ErrorKind::Configuration, "the time to live of a Redis store is 0")
                .hint("give a time of at least a millisecond, or none to keep values"));
        }
        let wiring = Wiring::new(&address, &options)?;
        let reactor = Reactor::start("excom-redis")?;
        Ok(Self(Arc::new(Inner {
            address,
            options,
            keys,
            wiring,
            link: tokio::sync::Mutex::new(None),
            reactor,
        })))
    }

    /// How safe the server keeps values, asked now.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn durability(&self) -> Result<Durability> {
        self.attempt("look at the settings", |mut link| async move { link.wire.durability().await }).await
    }

    /// The object's bytes, from an answer to `GET` or `MGET`.
    fn whole(&self, name: &ObjectName, found: Vec<u8>) -> Result<ByteStream> {
        let head = Head::decode(&found)
            .filter(|head| head.chunk_bytes == 0)
            .ok_or_else(|| self.corrupt(name, "its key holds bytes that no push wrote"))?;
        let bytes = Bytes::from(found).slice(Head::BYTES..);
        if bytes.len() as u64 != head.bytes {
            let why = format!("it has {} bytes and should have {}", bytes.len(), head.bytes);
            return Err(self.corrupt(name, &why));
        }
        Ok(Box::pin(stream::iter((!bytes.is_empty()).then_some(Ok(bytes)))))
    }

    /// The bytes of an object that lies in chunks.
    async fn chunked(&self, name: &ObjectName, object: &str) -> Result<ByteStream> {
        let sent =
            self.send("read", name, object, vec![hget(object, HEAD.to_owned()), exists(object)]).await?;
        let [head, there] = take(sent.answers);
        let found = match head {
            Ok(Value::BulkString(found)) => found,
            Ok(_) if matches!(there, Ok(Value::Int(0))) => return Err(self.lost(name, &sent.durability)),
            Ok(_) => return Err(self.corrupt(name, "its head is missing")),
            Err(error) if wrong_type(&error) => {
                return Err(self.corrupt(name, "its key holds another type than pushes write"));
            }
            Err(error) => return Err(self.told(&error, "read", name)),
        };
        let head = Head::decode(&found)
            .filter(|head| head.chunk_bytes > 0)
            .ok_or_else(|| self.corrupt(name, "its head is damaged"))?;
        let (this, name, object) = (self.clone(), name.clone(), object.to_owned());
        let chunks = stream::iter(0..head.chunks()).map(move |chunk| {
            let (this, name, object) = (this.clone(), name.clone(), object.clone());
            async move { this.chunk(&name, &object, &head, chunk).await }
        });
        Ok(self.0.reactor.stream(chunks.buffered(CHUNKS_AHEAD)))
    }

    async fn chunk(&self, name: &ObjectName, object: &str, head: &Head, chunk: u64) -> Result<Bytes> {
        let commands = vec![hget(object, head.writer.field(chunk)), hget(object, HEAD.to_owned())];
        let sent = self.send("read", name, object, commands).await?;
        let [found, now] = take(sent.answers);
        let found = found.map_err(|error| self.told(&error, "read", name))?;
        // Removed while it is read, it is gone; with its head still there, it is damaged.
        if !matches!(now, Ok(Value::BulkString(now)) if Head::decode(&now) == Some(*head)) {
            return Err(self.lost(name, &sent.durability));
        }
        match found {
            Value::BulkString(bytes) if bytes.len() as u64 == head.length(chunk) => Ok(bytes.into()),
            Value::BulkString(bytes) => {
                let (has, should) = (bytes.len(), head.length(chunk));
                Err(self.corrupt(name, &format!("chunk {chunk} has {has} bytes and should have {should}")))
            }
            _ => Err(self.corrupt(name, &format!("chunk {chunk} of {} is missing", head.chunks()))),
        }
    }

    /// Makes an object of what a command writes, unless there is one.
    async fn publish(&self, name: &ObjectName, object: &str, head: &Head, command: Cmd) -> Result<()> {
        let written = self.write(name, object, command).await?;
        if let Some(error) = written.unsynced {
            // Acknowledged it must be safe, so it may not be there. When that cannot be said, it is collected
            // later: no entry refers to it.
            drop(self.send("withdraw", name, object, vec![object::withdraw(object, head)]).await);
            return Err(self.told(&error, "write", name));
        }
        match written.answer {
            Value::Okay | Value::Int(1) => Ok(()),
            Value::Int(-1) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("what was written of {name} was removed from {self} before it was whole"),
            )
            .hint("try again")),
            _ => {
                // An earlier try of this call may have written it before its connection broke.
                let range = redis::cmd("GETRANGE").arg(object).arg(0).arg(Head::BYTES - 1).take();
                let sent =
                    self.send("read", name, object, vec![range, hget(object, HEAD.to_owned())]).await?;
                let mine = sent.answers.into_iter().flatten().any(|found| match found {
                    Value::BulkString(found) => Head::decode(&found) == Some(*head),
                    _ => false,
                });
                self.synced(name, object).await?;
                if mine {
                    return Ok(());
                }
                Err(Error::new(ErrorKind::Exists, format!("the object {name} exists in {self}")))
            }
        }
    }

    /// Waits until what was written before, by whomever, is on disk: who is told that an object exists may rely
    /// on it.
    async fn synced(&self, name: &ObjectName, object: &str) -> Result<()> {
        let touch = redis::cmd("SET").arg(key::sync(object)).arg("").arg("PX").arg(1).take();
        match self.wait(name, object, touch).await? {
            Some(error) => Err(self.told(&error, "write", name)),
            None => Ok(()),
        }
    }

    fn time_to_live(&self) -> u64 {
        let time = self.0.options.time_to_live.unwrap_or_default().as_millis();
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    fn told(&self, error: &RedisError, doing: &str, name: &ObjectName) -> Error {
        failure::told(error, &format!("{doing} {name}"), self)
    }

    fn corrupt(&self, name: &ObjectName, why: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("the object {name} in {self} is damaged: {why}"))
            .hint("find out who else writes below the prefix of the store; push the value again")
    }

    fn lost(&self, name: &ObjectName, durability: &Durability) -> Error {
        let mut causes = Vec::new();
        if let Some(time) = self.0.options.time_to_live {
            causes.push(format!("it expired (time_to_live is {time:?})"));
        }
        match durability.eviction.as_deref() {
            Some("noeviction") => {}
            Some(policy) => causes.push(format!("it was evicted (maxmemory-policy is {policy})")),
            None => causes.push("it was evicted (maxmemory-policy cannot be known)".to_owned()),
        }
        if durability.guarantee() == Guarantee::None {
            causes.push("the server lost its last writes when it ended (appendonly, appendfsync)".to_owned());
        }
        causes.push("it was deleted".to_owned());
        let causes = causes.join(", or ");
        Error::new(ErrorKind::Lost, format!("the object {name} is gone from {self}: {causes}"))
            .hint("look at time_to_live of the store, and at maxmemory-policy and appendonly of the server")
    }
}

fn hget(object: &str, field: String) -> Cmd {
    redis::cmd("HGET").arg(object).arg(field).take()
}

fn exists(object: &str) -> Cmd {
    redis::cmd("EXISTS").arg(object).take()
}

fn wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

/// The answers to as many commands.
fn take<const N: usize>(answers: Vec<redis::RedisResult<Value>>) -> [redis::RedisResult<Value>; N] {
    let mut answers = answers.into_iter();
    std::array::from_fn(|_| answers.next().unwrap_or(Ok(Value::Nil)))
}

fn shown(address: &Address) -> String {
    format!("redis({address})")
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0.address))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[async_trait]
impl ValueStore for Redis {
    fn id(&self) -> &str {
        &self.0.options.id
    }

    async fn create(&self, name: &ObjectName, body: ByteStream) -> Result<u64> {
        let object = self.0.keys.object(name)?;
        let writer = Writer::new()?;
        let mut body = Chunks::of(body);
        let (first, last) = body.next().await?;
        if last {
            let head = Head { writer, bytes: first.len() as u64, chunk_bytes: 0 };
            let value = [&head.encode(), &first[..]].concat();
            let command = object::create_whole(&object, &value, self.time_to_live());
            drop((first, value));
            self.publish(name, &object, &head, command).await?;
            return Ok(head.bytes);
        }
        let part = key::part(&object);
        let (mut chunk, mut chunks) = (Some(first), 0);
        let mut bytes = 0;
        let written = loop {
            let Some(sending) = chunk.take() else { break Ok(()) };
            bytes += sending.len() as u64;
            let commands = object::write_chunk(&part, writer, chunks, &sending);
            drop(sending);
            chunks += 1;
            // The next is gathered while this one is on its way.
            match join(self.write_chunk(name, &object, commands.into()), body.next_but_none()).await {
                (Ok(()), Ok(next)) => chunk = next,
                (Err(error), _) | (_, Err(error)) => break Err(error),
            }
        };
        let head = Head { writer, bytes, chunk_bytes: CHUNK_BYTES as u64 };
        let result = match written {
            Ok(()) => {
                let command = object::publish(&object, &part, &head, self.time_to_live());
                self.publish(name, &object, &head, command).await
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(bytes),
            Err(error) => {
                // They would expire or be collected, but full memory is helped now. A server that is away is not
                // waited for once more.
                if error.kind() != ErrorKind::Unavailable {
                    let discard = vec![object::discard(&part, writer, chunks)];
                    drop(self.send("discard", name, &object, discard).await);
                }
                Err(error)
            }
        }
    }

    async fn get(&self, name: &ObjectName) -> Result<ByteStream> {
        let object = self.0.keys.object(name)?;
        let sent = self.send("read", name, &object, vec![redis::cmd("GET").arg(&object).take()]).await?;
        let [found] = take(sent.answers);
        match found {
            Ok(Value::BulkString(found)) => self.whole(name, found),
            Ok(_) => Err(self.lost(name, &sent.durability)),
            Err(error) if wrong_type(&error) => self.chunked(name, &object).await,
            Err(error) => Err(self.told(&error, "read", name)),
        }
    }

    async fn get_many(&self, names: &[ObjectName]) -> Vec<Result<ByteStream>> {
        let keys: Vec<_> = names.iter().filter_map(|name| self.0.keys.object(name).ok()).collect();
        if keys.len() != names.len() || names.len() < 2 {
            return join_all(names.iter().map(|name| self.get(name))).await;
        }
        let command = redis::cmd("MGET").arg(&keys).take();
        let found = self
            .attempt(&format!("read {} objects", names.len()), |mut link| {
                let command = command.clone();
                async move { Ok(Vec::<Option<Vec<u8>>>::from_redis_value(link.wire.spread(&command).await?)?) }
            })
            .await;
        // When one part of a cluster is away, each object has its own answer.
        let found = found.unwrap_or_else(|_| vec![None; names.len()]);
        // What is not there may be missing, or in chunks.
        let absent = names.iter().zip(&found).filter(|(_, found)| found.is_none());
        let mut others = join_all(absent.map(|(name, _)| self.get(name))).await.into_iter();
        let untold = || Err(Error::new(ErrorKind::Other, "the server told nothing of the object"));
        let found = names.iter().zip(found).map(|(name, found)| match found {
            Some(found) => self.whole(name, found),
            None => others.next().unwrap_or_else(untold),
        });
        found.collect()
    }

    async fn delete(&self, name: &ObjectName) -> Result<bool> {
        let object = self.0.keys.object(name)?;
        let command = redis::cmd("UNLINK").arg(&object).arg(key::part(&object)).take();
        let [removed] = take(self.send("remove", name, &object, vec![command]).await?.answers);
        match removed {
            Ok(removed) => Ok(removed != Value::Int(0)),
            Err(error) => Err(self.told(&error, "remove", name)),
        }
    }

    /// Looks at all keys of the server, whatever the limit; only the first names behind `after` are held in
    /// memory.
    async fn list(&self, after: Option<&ObjectName>, limit: usize) -> Result<Vec<ObjectName>> {
        let names = self.attempt_steps("list", |mut link| async move {
            let mut names = BTreeSet::new();
            for node in link.wire.primaries().await? {
                let mut cursor = 0_u64;
                loop {
                    let mut scan = redis::cmd("SCAN");
                    scan.arg(cursor).arg("MATCH").arg(self.0.keys.pattern()).arg("COUNT").arg(SCAN_KEYS);
                    let step = link.wire.ask(node.as_ref(), scan).await?;
                    let (next, keys) = <(u64, Vec<Vec<u8>>)>::from_redis_value(step)?;
                    let found = keys.iter().filter_map(|key| self.0.keys.name(key));
                    for name in found.filter(|name| after.is_none_or(|after| name > after)) {
                        names.insert(name);
                        if names.len() > limit {
                            names.pop_last();
                        }
                    }
                    if next == 0 {
                        break;
                    }
                    cursor = next;
                }
            }
            Ok(names)
        });
        Ok(names.await?.into_iter().collect())
    }

    /// Writes, reads and removes a key, and looks at what the server guarantees.
    async fn check(&self) -> Result<()> {
        let probe = format!("{}:{{check}}:{}", self.0.options.prefix, Writer::new()?);
        let mut set = redis::cmd("SET");
        set.arg(&probe).arg("x").arg("PX").arg(10_000);
        let script = redis::cmd("EVAL").arg("return redis.call('EXISTS', KEYS[1])").arg(1).arg(&probe).take();
        let commands =
            [set, redis::cmd("GET").arg(&probe).take(), script, redis::cmd("UNLINK").arg(&probe).take()];
        let checked = self.attempt("check", |mut link| {
            let (probe, commands) = (&probe, commands.clone());
            async move {
                let answers = link.wire.send(probe, commands).await?;
                answers.into_iter().try_for_each(|answer| answer.extract_error().map(drop))?;
                link.wire.durability().await
            }
        });
        let durability = checked.await?;
        self.looked_at(&durability).await;
        match self.refusal(&durability) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
