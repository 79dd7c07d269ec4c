//! The backend: values as Airflow's objects in any value store.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use excom_core::backend::{Object, Placement};
use excom_core::engine::INLINE_HARD_LIMIT;
use excom_core::{
    Error, ErrorKind, Payload, Result, TaskInstanceKey, Value, ValueStore, XComBackend, XComKey,
};

use super::location::object_name;
use super::threshold::dumped_size;
use super::{BasePath, Compression, codec};

/// What references know the layout by, before the compression.
const CODEC: &str = "airflow:";

/// The codec of objects in a compression.
fn layout(compression: Compression) -> String {
    format!("{CODEC}{compression}")
}

/// What [`AirflowObjects`] is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// From how many bytes of Python's JSON text on a value becomes an object: always for 0, never for a
    /// negative number. `[common.io] xcom_objectstorage_threshold`.
    pub threshold: i64,
    /// How new objects are compressed. `[common.io] xcom_objectstorage_compression`.
    pub compression: Compression,
    /// The most bytes of a value that are kept in the metadata database. Larger values become objects
    /// whatever the threshold is, and are refused where it is negative.
    pub inline_limit: u64,
    /// The most bytes of a value that are read from an object.
    pub limit: u64,
}

impl Default for Options {
    /// As Airflow: no objects, no compression. At most 1 MiB in the database, at most 1 GiB in an object.
    fn default() -> Self {
        let (inline_limit, limit) = (INLINE_HARD_LIMIT, 1 << 30);
        Self { threshold: -1, compression: Compression::None, inline_limit, limit }
    }
}

/// Small values in the metadata database, the others as objects that Airflow's own backend reads.
///
/// The store's root is the folder that Airflow knows as the base path. Objects are as they are for
/// Airflow: neither sealed nor encrypted. Size and checksum in the entry find damage out.
///
/// ```
/// use std::sync::Arc;
///
/// use excom_airflow::objects::{AirflowObjects, Options};
/// use excom_core::{Caller, Engine, Value, XComKey, memory};
///
/// # pollster::block_on(async {
/// let store = Arc::new(memory::Store::new());
/// let options = Options { threshold: 1000, ..Options::default() };
/// let backend = AirflowObjects::new(store, "s3://aws@bucket/xcom".parse()?, options);
/// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
///     .backend(Arc::new(backend))
///     .build();
///
/// let key = XComKey::new("weather", "manual__1", "measure", -1, "return_value")?;
/// let pushed = engine.push(&Caller::user("ana"), &key, Value::of(&vec![7; 400])?.into()).await?;
/// // 801 bytes here; Python puts a space behind each comma.
/// assert_eq!((pushed.size, pushed.offloaded), (801, true));
/// # Ok::<(), excom_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct AirflowObjects {
    store: Arc<dyn ValueStore>,
    base: BasePath,
    options: Options,
    /// How new objects are laid out.
    codec: String,
}

impl AirflowObjects {
    /// A backend over the store in which Airflow's base path is the root.
    pub fn new(store: Arc<dyn ValueStore>, base: BasePath, options: Options) -> Self {
        let codec = layout(options.compression);
        Self { store, base, options, codec }
    }

    /// What Airflow's database holds for an object: its full URL as a JSON string.
    ///
    /// # Errors
    /// `Configuration` for an object of another backend, `InvalidName` for ids that cannot be folders.
    pub fn reference(&self, object: &Object<'_>) -> Result<Value> {
        let name = object_name(object.key, object.version, self.compression(object)?)?;
        Value::of(&self.base.url(&name))
    }

    /// The value behind what Airflow's database holds: the value itself, or the object that it refers to,
    /// when [`BasePath::locate`] takes it for a reference of the task instance.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the object is gone, never the reference as a value; those of the store.
    /// Damage comes with the stream, as [`ErrorKind::Corrupt`].
    pub async fn resolve(&self, ti: &TaskInstanceKey, value: Value) -> Result<Payload> {
        let found = value.get::<String>().ok().and_then(|text| self.base.locate(ti, &text).ok());
        let Some((name, compression)) = found else { return Ok(value.into()) };
        let stored = self.store.get(&name).await?;
        Ok(Payload::Stream(codec::decode(stored, compression, self.options.limit, name.as_str())))
    }

    /// How an object is compressed; fails for one of another store or layout.
    fn compression(&self, object: &Object<'_>) -> Result<Compression> {
        let compression = match object.codec {
            "" => Some(self.options.compression),
            codec => codec.strip_prefix(CODEC).and_then(|name| name.parse().ok()),
        };
        compression.filter(|_| object.store == self.store.id()).ok_or_else(|| {
            Error::new(
                ErrorKind::Configuration,
                format!(
                    "{} was stored in `{}` as `{}`; this backend reads Airflow's objects in `{}`",
                    object.key,
                    object.store,
                    object.codec,
                    self.store.id()
                ),
            )
            .hint("configure the store and the backend that the value was written with")
        })
    }
}

impl fmt::Display for AirflowObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { threshold, compression, .. } = self.options;
        write!(f, "airflow_objects({} as {}, from {threshold} bytes, {compression})", self.store, self.base)
    }
}

#[async_trait]
impl XComBackend for AirflowObjects {
    fn name(&self) -> &'static str {
        "airflow_objects"
    }

    fn store(&self) -> Option<&str> {
        Some(self.store.id())
    }

    fn placement(&self, _: &XComKey, value: Option<&Value>) -> Placement<'_> {
        let Options { threshold, inline_limit, .. } = self.options;
        let inline = match (u64::try_from(threshold), value) {
            (Err(_), _) => true,
            (Ok(threshold), Some(value)) => value.size() <= inline_limit && dumped_size(value) < threshold,
            (Ok(_), None) => false,
        };
        if inline { Placement::Inline } else { Placement::Offload(self.store.id()) }
    }

    fn inline_limit(&self) -> u64 {
        self.options.inline_limit
    }

    fn codec(&self) -> &str {
        &self.codec
    }

    async fn serialize_value(&self, object: &Object<'_>, value: Payload) -> Result<String> {
        let compression = self.compression(object)?;
        let name = object_name(object.key, object.version, compression)?;
        self.store.create(&name, codec::encode(value.into_stream(), compression)).await?;
        Ok(layout(compression))
    }

    async fn deserialize_value(&self, object: &Object<'_>) -> Result<Payload> {
        let compression = self.compression(object)?;
        let name = object_name(object.key, object.version, compression)?;
        let stored = self.store.get(&name).await?;
        Ok(Payload::Stream(codec::decode(stored, compression, self.options.limit, name.as_str())))
    }

    async fn purge(&self, object: &Object<'_>) -> Result<()> {
        let known = self.compression(object)?;
        // What is purged is known by key and version only, and may be older than the setting.
        let any = if object.codec.is_empty() { &Compression::ALL[..] } else { &[known] };
        for compression in any {
            // Ids that cannot be folders have no objects.
            let Ok(name) = object_name(object.key, object.version, *compression) else { return Ok(()) };
            self.store.delete(&name).await?;
        }
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        self.store.check().await
    }
}
