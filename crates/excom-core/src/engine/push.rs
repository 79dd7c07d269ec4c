//! Push: checked, stored, and made the entry in one fenced step, alone or with the end of an attempt.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::offload::Sized;
use super::quota::{Metered, Taken};
use super::{Engine, Step, credential, disguise};
use crate::attempt::{Attempt, Caller, TaskState};
use crate::backend::Placement;
use crate::db::{Push, Pushed, version_taken};
use crate::entry::{Stored, Version, Writer};
use crate::json::Shape;
use crate::value::{ContentHash, Payload, Value};
use crate::{Error, ErrorKind, Result, XComKey};

/// How often versions are drawn for pushes that happen together.
const DRAWS: u32 = 8;

/// What a push returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Receipt {
    /// The version that the value has.
    pub version: Version,
    /// Size of the value's JSON text in bytes; of a secret, that of what is stored for it.
    pub size: u64,
    /// What kind of value it is, and its length.
    #[serde(flatten)]
    pub shape: Shape,
    /// Whether the bytes are outside the metadata database.
    pub offloaded: bool,
    /// Whether it is a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// Whether the same version had been pushed before, so that nothing changed.
    pub already: bool,
    /// What the pusher should know, such as a value over the soft limit.
    pub warnings: Vec<String>,
}

impl Receipt {
    /// The receipt of a push that was accepted somewhere that tells nothing about it.
    pub fn of(value: &Value, version: Version) -> Self {
        let (size, shape) = (value.size(), value.shape());
        let secret = value.is_secret();
        Self { version, size, shape, offloaded: false, secret, already: false, warnings: Vec::new() }
    }
}

/// A push that was checked, with its bytes where they belong outside of the database.
struct Prepared {
    push: Push,
    /// Whether the version was known already, so that nothing was stored.
    stored: Pushed,
    /// What the value looks like.
    looks: Looks,
    /// The value itself when it is a secret, to be sealed again under another version.
    secret: Option<Value>,
    /// What it takes of its quotas, if there are any.
    taken: Option<Arc<Taken>>,
}

/// What a value looks like that it was perhaps not meant to be.
#[derive(Default)]
pub(super) struct Looks {
    /// Something in disguise, if it is large.
    disguise: Option<String>,
    /// A credential.
    credential: Option<String>,
}

impl Looks {
    /// From the beginning of its text.
    pub(super) fn at(key: &XComKey, head: &[u8], size: u64, shape: Shape) -> Self {
        Self { disguise: disguise::look(head, size, shape), credential: credential::look(&key.key, head) }
    }
}

impl Engine {
    /// Pushes a value with a version of its own.
    ///
    /// # Errors
    /// - [`ErrorKind::TooLarge`] over the hard limit, [`ErrorKind::InvalidValue`] for a stream that is
    ///   not JSON, [`ErrorKind::Forbidden`] by an access rule;
    /// - [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`] by the fence;
    /// - whatever the store or the database reports. Then nothing was pushed, and what was stored on
    ///   the way is collected.
    pub async fn push(&self, caller: &Caller, key: &XComKey, value: Payload) -> Result<Receipt> {
        self.push_drawn(caller, key, value, false).await
    }

    /// Pushes a value that is what its DAG returns, as [`push`](Self::push). The entry is marked so (Airflow's
    /// `dag_result`) until it is pushed again without, cleared, deleted or expired.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub async fn push_result(&self, caller: &Caller, key: &XComKey, value: Payload) -> Result<Receipt> {
        self.push_drawn(caller, key, value, true).await
    }

    async fn push_drawn(
        &self,
        caller: &Caller,
        key: &XComKey,
        value: Payload,
        result: bool,
    ) -> Result<Receipt> {
        let Prepared { mut push, looks, secret, taken, .. } = self.prepare(caller, key, None, value).await?;
        push.result = result;
        let making = self.making(taken.into_iter().collect()).await?;
        loop {
            let _writing = self.begins(Step::Push);
            match self.0.db.push(&push).await.inspect_err(|error| making.failed(error))? {
                Pushed::Written => return Ok(self.receipt(&push, Pushed::Written, looks)),
                Pushed::Already if self.redraw(&mut push, secret.as_ref())? => {}
                Pushed::Already => {
                    making.settle(false);
                    return Err(version_taken(&push.key, push.version));
                }
            }
        }
    }

    /// Pushes a value with a given version as idempotency token: pushing it again changes nothing,
    /// also after a newer version was pushed.
    ///
    /// # Errors
    /// As [`Engine::push`]; [`ErrorKind::Exists`] for another value under a version that was pushed before.
    pub async fn push_version(
        &self,
        caller: &Caller,
        key: &XComKey,
        version: Version,
        value: Payload,
    ) -> Result<Receipt> {
        let Prepared { push, stored, looks, taken, .. } =
            self.prepare(caller, key, Some(version), value).await?;
        if stored == Pushed::Written {
            let making = self.making(taken.into_iter().collect()).await?;
            let _writing = self.begins(Step::Push);
            match self.0.db.push(&push).await.inspect_err(|error| making.failed(error))? {
                Pushed::Written => return Ok(self.receipt(&push, Pushed::Written, looks)),
                Pushed::Already => making.settle(false),
            }
        }
        self.repeated(push, looks).await
    }

    /// Ends an attempt: pushes its last values and sets its state in one step, so either all of it
    /// happened or nothing. Saves a commit for each value that stays in the database.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use excom_core::{Engine, TaskInstanceKey, TaskState, Value, memory};
    ///
    /// # pollster::block_on(async {
    /// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let count = TaskInstanceKey::new("weather", "manual__1", "count", -1)?;
    /// let attempt = engine.start(&count, 1).await?;
    /// let rows = Value::of(&365)?;
    /// let receipts = engine.finish(&attempt, TaskState::Success, vec![(count.return_value(), rows.into())]).await?;
    /// assert_eq!(receipts[0].size, 3);
    /// assert_eq!(engine.task_instance(&count).await?.unwrap().state, TaskState::Success);
    /// # Ok::<(), excom_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`Engine::push`], of whichever value is at fault; then none was pushed, and the state is as before.
    pub async fn finish(
        &self,
        attempt: &Attempt,
        state: TaskState,
        values: Vec<(XComKey, Payload)>,
    ) -> Result<Vec<Receipt>> {
        let caller = Caller::Attempt(attempt.clone());
        let mut pushes = Vec::with_capacity(values.len());
        let (mut looks, mut secrets) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len()));
        let mut takes = Vec::new();
        for (key, value) in values {
            let prepared = self.prepare(&caller, &key, None, value).await?;
            pushes.push(prepared.push);
            looks.push(prepared.looks);
            secrets.push(prepared.secret);
            takes.extend(prepared.taken);
        }
        let making = self.making(takes).await?;
        let mut draws = DRAWS;
        let _writing = self.begins(Step::Push);
        while let Err(error) = self.0.db.finish_attempt(attempt, state, &pushes, self.0.clock.now()).await {
            draws -= 1;
            // Which version is taken is not told; those of inline values may be any.
            let mut redrawn = false;
            for (push, secret) in pushes.iter_mut().zip(&secrets) {
                redrawn |= self.redraw(push, secret.as_ref())?;
            }
            if error.kind() != ErrorKind::Exists || draws == 0 || !redrawn {
                making.failed(&error);
                return Err(error);
            }
        }
        let receipt = |(push, looks)| self.receipt(push, Pushed::Written, looks);
        Ok(pushes.iter().zip(looks).map(receipt).collect())
    }

    /// Checks a push and stores its bytes where they belong outside of the database. With a given version
    /// it tells [`Pushed::Already`] when that is known already.
    async fn prepare(
        &self,
        caller: &Caller,
        key: &XComKey,
        given: Option<Version>,
        value: Payload,
    ) -> Result<Prepared> {
        self.may_write(caller, key)?;
        let mut push = Push {
            key: key.clone(),
            version: given.unwrap_or_else(|| self.0.clock.version()),
            caller: caller.clone(),
            size: 0,
            hash: ContentHash(0),
            shape: Shape::Null,
            secret: false,
            result: false,
            preview: String::new(),
            stored: Stored::Inline(Value::null()),
            at: self.0.clock.now(),
        };
        let (value, secret) = match self.secret(key, value).await? {
            Ok(secret) => {
                let sealing = self.sealing_key().await?;
                (self.0.keys.seal_secret(&sealing, key, push.version, &secret)?.into(), Some(secret))
            }
            Err(value) => (value, None),
        };
        let sized = self.look_ahead(value, self.inline_limit(key)).await?;
        let whole = match &sized {
            Sized::Value(value) => Some(value),
            Sized::Long(_) => None,
        };
        if let Some(value) = whole {
            self.check_size(key, value.size())?;
        }
        let taken = self.taking(key, given);
        if let (Some(taken), Some(value)) = (&taken, whole) {
            taken.take(value.size()).await?;
        }
        let mut looks = match whole {
            Some(value) if secret.is_none() => Looks::at(key, value.bytes(), value.size(), value.shape()),
            _ => Looks::default(),
        };
        let stored = match (self.place(key, whole), sized) {
            (Placement::Inline, Sized::Value(value)) => {
                if value.size() > self.inline_limit(key) {
                    return Err(self.too_large_inline(key, value.size()));
                }
                push.size = value.size();
                push.hash = ContentHash::of(value.bytes());
                push.shape = value.shape();
                push.stored = Stored::Inline(value);
                Pushed::Written
            }
            (Placement::Inline, Sized::Long(_)) => {
                return Err(self.too_large_inline(key, self.inline_limit(key) + 1));
            }
            (Placement::Offload(store), sized) => {
                let store = store.to_owned();
                let sized = match (sized, &taken) {
                    (Sized::Long(stream), Some(taken)) => {
                        Sized::Long(Box::pin(Metered::new(stream, Arc::clone(taken))))
                    }
                    (sized, _) => sized,
                };
                self.offload(&mut push, &mut looks, &store, sized, secret.as_ref(), given).await?
            }
        };
        if let Some(secret) = &secret {
            push.secret = true;
            push.shape = secret.shape();
            push.preview.clear();
            looks = Looks::default();
        }
        Ok(Prepared { push, stored, looks, secret, taken })
    }

    /// Draws another version for a push whose own is taken, by another push in the same millisecond; false
    /// for an offloaded value, whose bytes are stored and sealed under the version that its intent made sure of.
    fn redraw(&self, push: &mut Push, secret: Option<&Value>) -> Result<bool> {
        let inline = matches!(push.stored, Stored::Inline(_));
        if inline {
            push.version = self.0.clock.version();
            if let Some(secret) = secret {
                self.enclose(push, secret)?;
            }
        }
        Ok(inline)
    }

    /// The receipt of a repeated push: what is stored under the version, as far as that is known. Another value under the
    /// same version is no repetition.
    async fn repeated(&self, mut push: Push, looks: Looks) -> Result<Receipt> {
        let entry = self.0.db.entries(std::slice::from_ref(&push.key)).await?.pop().flatten();
        let entry = match entry.filter(|entry| entry.version == push.version) {
            Some(entry) => Some(entry),
            None => self.0.db.past(&push.key, push.version).await?,
        };
        if let Some(entry) = entry {
            // Secrets are sealed anew each time; and what something else wrote over is not as it was pushed.
            let comparable = !entry.secret && !push.secret && entry.writer != Writer::Outside;
            if comparable && (entry.size, entry.hash) != (push.size, push.hash) {
                return Err(another_value(&push.key, push.version, entry.size, push.size));
            }
            push.size = entry.size;
            push.shape = entry.shape;
            push.secret = entry.secret;
            push.stored = entry.stored;
        }
        Ok(self.receipt(&push, Pushed::Already, looks))
    }

    fn receipt(&self, push: &Push, pushed: Pushed, looks: Looks) -> Receipt {
        let soft_limit = self.0.settings.soft_limit;
        let over = (push.size > soft_limit).then(|| format!("over the soft limit of {}", bytes(soft_limit)));
        let has = format!("{} has {}", push.key, bytes(push.size));
        let size = match (over, looks.disguise) {
            (Some(over), None) => Some(format!("{has}, {over}; consider pushing a pointer to the data")),
            (over, Some(looks_like)) => {
                let over = over.map(|over| format!(", {over}")).unwrap_or_default();
                Some(format!(
                    "{has}{over}, and looks like {looks_like}; \
                     write it to a file or an object and push a Pointer to it"
                ))
            }
            (None, None) => None,
        };
        let credential = looks.credential.map(|looks_like| {
            format!(
                "{} looks like a credential ({looks_like}): push it with xcom_push_secret, or add the key to \
                 [xcom] secret_keys",
                push.key
            )
        });
        Receipt {
            version: push.version,
            size: push.size,
            shape: push.shape,
            offloaded: matches!(push.stored, Stored::Offloaded(_)),
            secret: push.secret,
            already: pushed == Pushed::Already,
            warnings: size.into_iter().chain(credential).collect(),
        }
    }

    fn check_size(&self, key: &XComKey, size: u64) -> Result<()> {
        let limit = self.0.settings.hard_limit;
        if size > limit { Err(too_large(key, &bytes(size), limit)) } else { Ok(()) }
    }

    fn too_large_inline(&self, key: &XComKey, size: u64) -> Error {
        let limit = self.inline_limit(key);
        if self.stays_inline(key) {
            let what = format!(
                "{key} has {} or more; its key is among [xcom] inline_keys, which keeps at most {} in the \
                 metadata database",
                bytes(size),
                bytes(limit)
            );
            return Error::new(ErrorKind::TooLarge, what)
                .hint("push a smaller value, or take the key out of [xcom] inline_keys");
        }
        Error::new(
            ErrorKind::TooLarge,
            format!(
                "{key} has {} or more, the backend `{}` keeps at most {} in the metadata database",
                bytes(size),
                self.backend().name(),
                bytes(limit)
            ),
        )
        .hint("select a backend that offloads large values, or push a pointer to the data")
    }
}

pub(super) fn too_large(key: &XComKey, size: &str, limit: u64) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("{key} has {size}, the hard limit is {}; nothing was pushed", bytes(limit)),
    )
    .hint("push a pointer to the data (a path or URI) instead of the data")
    .hint("or raise [xcom] hard_limit")
}

/// A size for people.
pub(super) fn bytes(size: u64) -> String {
    match size {
        0..1024 => format!("{size} bytes"),
        1024..0x10_0000 => format!("{:.1} KiB ({size} bytes)", size as f64 / 1024.0),
        _ => format!("{:.1} MiB ({size} bytes)", size as f64 / 1_048_576.0),
    }
}

fn another_value(key: &XComKey, version: Version, there: u64, pushed: u64) -> Error {
    let (there, pushed) = (bytes(there), bytes(pushed));
    let message = format!(
        "version {version} of {key} was pushed before with another value: that has {there}, this one {pushed}; nothing \
         was written"
    );
    Error::new(ErrorKind::Exists, message).hint("a version names one value: push another with a new version")
}
