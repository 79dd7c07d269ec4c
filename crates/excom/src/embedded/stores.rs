//! The backends that settings name: the one that keeps new values, and those that read what was kept before.
//!
//! A reference names its store by an id, never by its place. The database remembers the place of each id, so the
//! id of a place stays the same, and a place that is no longer in the settings can be named to whoever misses it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use excom_core::backend::Object;
use excom_core::seal::SealKeys;
use excom_core::store::Side;
use excom_core::value::ContentHash;
use excom_core::{Error, ErrorKind, MetadataDb, Payload, Result, ValueStore, XComBackend};
use excom_store::{Files, Offload, OffloadOptions, Process, ProcessOptions};

use super::{Home, remember};
#[cfg(feature = "object-storage")]
use crate::config::ObjectFormat;
use crate::config::{Backend, MOST_INLINE, Origin, Settings, Threshold, Url};

/// What the names of marks begin with under which a database remembers its stores.
const STORES: &str = "store/";

/// The backends of a home.
pub(super) struct Stores {
    pub(super) current: Arc<dyn XComBackend>,
    pub(super) others: Vec<Arc<dyn XComBackend>>,
    pub(super) elsewhere: Arc<dyn XComBackend>,
}

impl Stores {
    /// Opens what the settings name. Stores that need a network are not asked yet.
    ///
    /// # Errors
    /// `Configuration` when a place is wrong, or the one of the selected backend is not given.
    pub(super) fn open(
        db: &Arc<dyn MetadataDb>,
        settings: &Settings,
        keys: &SealKeys,
        read_only: bool,
    ) -> Result<Self> {
        let mut others = Opening::new(&**db, settings, keys, read_only)?.all()?;
        let selected = *settings.core.xcom_backend;
        let place = others.iter().position(|(backend, _)| *backend == selected);
        let place = place.ok_or_else(|| without_place(settings, selected))?;
        let (_, current) = others.remove(place);
        let others = others.into_iter().map(|(_, backend)| backend).collect();
        let looked = Mutex::new(Looked { settings: settings.clone(), opened: Vec::new() });
        let elsewhere = Elsewhere { db: db.clone(), keys: keys.clone(), read_only, looked };
        Ok(Self { current, others, elsewhere: Arc::new(elsewhere) })
    }
}

struct Opening<'a> {
    db: &'a dyn MetadataDb,
    settings: &'a Settings,
    keys: &'a SealKeys,
    read_only: bool,
    /// The places that the database remembers, with their ids.
    known: Vec<(String, String)>,
}

impl<'a> Opening<'a> {
    fn new(
        db: &'a dyn MetadataDb,
        settings: &'a Settings,
        keys: &'a SealKeys,
        read_only: bool,
    ) -> Result<Self> {
        let marks = pollster::block_on(db.marks(STORES))?.into_iter();
        let known = marks.map(|(name, place)| (place, name.trim_start_matches(STORES).to_owned())).collect();
        Ok(Self { db, settings, keys, read_only, known })
    }

    /// Every place that the settings name, for the backend that would use it first.
    fn all(&self) -> Result<Vec<(Backend, Arc<dyn XComBackend>)>> {
        let settings = self.settings;
        let files = Arc::new(Files::open(&Home::of(settings).values())?);
        let mut all = vec![(Backend::Database, self.over(Backend::Database, files))];
        let path = &settings.common_io.xcom_objectstorage_path;
        let url = &settings.redis.url;
        let named = [(path.as_ref(), path.origin()), (url.as_ref(), url.origin())];
        let also = &settings.xcom.also_read;
        let named = named.into_iter().filter_map(|(url, origin)| Some((url?, origin)));
        for (url, origin) in named.chain(also.iter().map(|url| (url, also.origin()))) {
            let backend = backend_of(url);
            // A place of another backend that this program was built without is none that it needs.
            if !built_with(backend) && backend != *settings.core.xcom_backend {
                continue;
            }
            match self.backends(backend, url) {
                Ok(opened) => all.extend(opened.into_iter().map(|opened| (backend, opened))),
                Err(error) => return Err(error.hint(format!("the place comes from {origin}"))),
            }
        }
        let command = &settings.xcom.backend_command;
        if !command.is_empty() {
            let store = self.id_of(&command.join(" "), "process")?;
            let options = ProcessOptions {
                store,
                threshold: settings.xcom.inline_limit.0,
                timeout: settings.xcom.backend_timeout.0,
                ..ProcessOptions::default()
            };
            all.push((Backend::Process, Arc::new(Process::new(command.to_vec(), options)) as _));
        }
        Ok(all)
    }

    fn over(&self, backend: Backend, store: Arc<dyn ValueStore>) -> Arc<dyn XComBackend> {
        let xcom = &self.settings.xcom;
        let threshold = match (backend, *self.settings.common_io.xcom_objectstorage_threshold) {
            // Airflow compares with "at least", this with "over".
            (Backend::ObjectStorage, Some(Threshold::From(bytes))) => bytes.saturating_sub(1),
            (Backend::ObjectStorage, Some(Threshold::Never)) => xcom.hard_limit.0.min(MOST_INLINE.0),
            _ => xcom.inline_limit.0,
        };
        let name = backend.to_string();
        let (compress_from, encrypt) = (xcom.compress_from.0, *self.settings.seal.encrypt);
        let options = OffloadOptions { name, threshold, compress_from, encrypt };
        Arc::new(Offload::new(store, self.keys.clone(), options))
    }

    fn backends(&self, backend: Backend, url: &Url) -> Result<Vec<Arc<dyn XComBackend>>> {
        match backend {
            Backend::Redis => Ok(vec![self.over(backend, self.redis(url)?)]),
            _ => self.object_storage(url),
        }
    }

    /// Both formats of a place, the selected one first. They are two stores: an object of one is none of the other.
    #[cfg(feature = "object-storage")]
    fn object_storage(&self, url: &Url) -> Result<Vec<Arc<dyn XComBackend>>> {
        use excom_airflow::objects::{AirflowObjects, Options};

        let open = || excom_store::ObjectStorage::open(url.secret(), self.settings.environment.0.clone());
        let store = open()?;
        let place = store.to_string();
        let store = Arc::new(store.with_id(self.id_of(&place, url.scheme())?));
        let mut formats = vec![self.over(Backend::ObjectStorage, store)];

        let selected = *self.settings.xcom.object_format == ObjectFormat::Airflow;
        let place = format!("{place} in Airflow's format");
        // Most deployments never have objects in Airflow's format.
        if selected || self.known(&place).is_some() {
            let store = open()?.with_id(self.id_of(&place, "airflow")?);
            let threshold = match *self.settings.common_io.xcom_objectstorage_threshold {
                Some(Threshold::From(bytes)) => i64::try_from(bytes).unwrap_or(i64::MAX),
                Some(Threshold::Never) => -1,
                None => {
                    i64::try_from(self.settings.xcom.inline_limit.0.saturating_add(1)).unwrap_or(i64::MAX)
                }
            };
            let compression = *self.settings.common_io.xcom_objectstorage_compression;
            // What Python writes is hardly ever shorter, so a size tells nearly all.
            let inline_limit = u64::try_from(threshold).map_or(Options::default().inline_limit, |at_least| {
                at_least.saturating_sub(1).min(MOST_INLINE.0)
            });
            let options = Options { threshold, compression, inline_limit, ..Options::default() };
            let objects = AirflowObjects::new(Arc::new(store), url.secret().parse()?, options);
            formats.insert(usize::from(!selected), Arc::new(objects));
        }
        Ok(formats)
    }

    #[cfg(not(feature = "object-storage"))]
    fn object_storage(&self, url: &Url) -> Result<Vec<Arc<dyn XComBackend>>> {
        Err(built_without(url, "object-storage"))
    }

    #[cfg(feature = "redis")]
    fn redis(&self, url: &Url) -> Result<Arc<dyn ValueStore>> {
        let redis = &self.settings.redis;
        let mut options = excom_store::RedisOptions {
            time_to_live: redis.ttl.map(|age| age.0),
            accept_loss: *redis.accept_loss,
            timeout: redis.timeout.0,
            ..excom_store::RedisOptions::default()
        };
        options.id = self.id_of(&excom_store::Redis::place(url.secret())?, "redis")?;
        Ok(Arc::new(excom_store::Redis::open(url.secret(), options)?))
    }

    #[cfg(not(feature = "redis"))]
    fn redis(&self, url: &Url) -> Result<Arc<dyn ValueStore>> {
        Err(built_without(url, "redis"))
    }

    /// The id that the database remembers of a place.
    fn known(&self, place: &str) -> Option<&str> {
        self.known.iter().find(|(known, _)| known == place).map(|(_, id)| id.as_str())
    }

    /// The id of a place: the one that it had before, or a new one, which the database remembers.
    fn id_of(&self, place: &str, kind: &str) -> Result<String> {
        if let Some(id) = self.known(place) {
            return Ok(id.to_owned());
        }
        let id = format!("{kind}-{:016x}", ContentHash::of(place.as_bytes()).0);
        remember(self.db, &format!("{STORES}{id}"), place, self.read_only)?;
        Ok(id)
    }
}

/// Whether this program can use a backend's places.
fn built_with(backend: Backend) -> bool {
    match backend {
        Backend::Database | Backend::Process => true,
        Backend::ObjectStorage => cfg!(feature = "object-storage"),
        Backend::Redis => cfg!(feature = "redis"),
    }
}

/// Which backend keeps values in a place.
fn backend_of(url: &Url) -> Backend {
    match url.scheme() {
        "redis" | "rediss" | "valkey" | "valkeys" => Backend::Redis,
        _ => Backend::ObjectStorage,
    }
}

#[cfg(not(all(feature = "object-storage", feature = "redis")))]
fn built_without(url: &Url, feature: &str) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!("{url} needs the feature `{feature}`, which this program has not"),
    )
    .hint(format!("build it with the feature `{feature}` of the crate `excom`"))
}

fn without_place(settings: &Settings, selected: Backend) -> Error {
    let (setting, example) = match selected {
        Backend::Redis => ("[redis] url", "redis://localhost"),
        Backend::Process => ("[xcom] backend_command", "python3, backend.py"),
        _ => ("[common.io] xcom_objectstorage_path", "s3://bucket/prefix"),
    };
    let origin: &Origin = settings.core.xcom_backend.origin();
    let what =
        format!("[core] xcom_backend = \"{selected}\" (from {origin}) has no place: {setting} is not set");
    Error::new(ErrorKind::Configuration, what).hint(format!("set {setting}, such as \"{example}\""))
}

/// The place of a store that no backend of an engine has, as the database remembers it.
///
/// # Errors
/// When the database cannot be read.
pub async fn place_of_store(db: &dyn MetadataDb, store: &str) -> Result<Option<String>> {
    db.mark(&format!("{STORES}{store}")).await
}

/// Reads what is in stores that the settings did not name when the engine was opened. They may do so by now: a
/// backend is switched while programs go on.
#[derive(Debug)]
struct Elsewhere {
    db: Arc<dyn MetadataDb>,
    keys: SealKeys,
    read_only: bool,
    looked: Mutex<Looked>,
}

/// The settings that were looked at last, and what they named then.
#[derive(Debug)]
struct Looked {
    settings: Settings,
    opened: Vec<Arc<dyn XComBackend>>,
}

impl Elsewhere {
    /// The backend of an object's store, when the settings name it now.
    async fn find(&self, object: &Object<'_>) -> Result<Arc<dyn XComBackend>> {
        let (store, _) = Side::split(object.store);
        if let Some(found) = self.look(store)? {
            return Ok(found);
        }
        let place = place_of_store(&*self.db, store).await?;
        let place = place.unwrap_or_else(|| "a place that nobody remembers".to_owned());
        // An answer has no hints, so the message says what to do.
        let what = format!(
            "{} is in {place}, the store `{store}`, which is not in the settings; add its URL to [xcom] also_read",
            object.key
        );
        Err(Error::new(ErrorKind::Configuration, what))
    }

    fn look(&self, store: &str) -> Result<Option<Arc<dyn XComBackend>>> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let opened =
            |looked: &Looked| looked.opened.iter().find(|backend| backend.store() == Some(store)).cloned();
        if let Some(found) = opened(&looked) {
            return Ok(Some(found));
        }
        let Some(now) = looked.settings.again()? else { return Ok(None) };
        if now != looked.settings {
            let all = Opening::new(&*self.db, &now, &self.keys, self.read_only)?.all()?;
            // What was found before may be on its way to where the settings point now.
            looked.opened.splice(0..0, all.into_iter().map(|(_, backend)| backend));
            looked.settings = now;
        }
        Ok(opened(&looked))
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("elsewhere")
    }
}

#[async_trait]
impl XComBackend for Elsewhere {
    fn name(&self) -> &'static str {
        "elsewhere"
    }

    fn inline_limit(&self) -> u64 {
        0
    }

    async fn deserialize_value(&self, object: &Object<'_>) -> Result<Payload> {
        self.find(object).await?.deserialize_value(object).await
    }

    async fn deserialize_values(&self, objects: &[Object<'_>]) -> Vec<Result<Payload>> {
        let mut values = Vec::with_capacity(objects.len());
        for group in objects.chunk_by(|a, b| a.store == b.store) {
            match self.find(&group[0]).await {
                Ok(backend) => values.extend(backend.deserialize_values(group).await),
                Err(_) => {
                    for object in group {
                        values.push(self.deserialize_value(object).await);
                    }
                }
            }
        }
        values
    }

    async fn key_of(&self, object: &Object<'_>) -> Result<Option<String>> {
        self.find(object).await?.key_of(object).await
    }

    async fn purge(&self, object: &Object<'_>) -> Result<()> {
        self.find(object).await?.purge(object).await
    }
}
