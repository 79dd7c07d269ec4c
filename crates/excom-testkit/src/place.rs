//! Where the large values of a proof are: files in its home, a Redis, or object storage; as the environment that a
//! process of it is given.

use std::collections::BTreeSet;
use std::path::Path;

use excom::ValueStore;
use excom::config::{Environment, Settings, Sources};
use excom_store::{ObjectStorage, Redis, RedisOptions};

use crate::{Result, home, s3};

/// How long one call of Redis may take.
pub const REDIS_TIMEOUT: &str = "2s";

/// A place of large values.
#[derive(Debug, Clone, Default)]
pub struct Place(Vec<(String, String)>);

impl Place {
    /// The files of the home.
    pub fn files() -> Self {
        Self::default()
    }

    /// A Redis on a port of 127.0.0.1.
    pub fn redis(port: u16) -> Self {
        let url = format!("redis://127.0.0.1:{port}/0");
        let set = [("CORE__XCOM_BACKEND", "redis"), ("REDIS__URL", &*url), ("REDIS__TIMEOUT", REDIS_TIMEOUT)];
        Self::of(set, Vec::new())
    }

    /// The bucket of an S3 whose clients are set so.
    pub fn s3(options: Vec<(String, String)>) -> Self {
        let path = format!("s3://{}/proof", s3::BUCKET);
        // Not compressed, the largest values are uploaded in parts.
        let set = [
            ("CORE__XCOM_BACKEND", "object_storage"),
            ("COMMON_IO__XCOM_OBJECTSTORAGE_PATH", &*path),
            ("XCOM__COMPRESS_FROM", "1GiB"),
        ];
        Self::of(set, options)
    }

    fn of(set: [(&str, &str); 3], mut environment: Vec<(String, String)>) -> Self {
        let set = set.map(|(name, text)| (format!("EXCOM__{name}"), text.to_owned()));
        environment.extend(set);
        Self(environment)
    }

    /// Whether it is a service, and no folder.
    pub fn is_service(&self) -> bool {
        !self.0.is_empty()
    }

    /// As arguments of a child, `NAME=TEXT`.
    pub fn arguments(&self) -> Vec<String> {
        self.0.iter().map(|(name, text)| format!("{name}={text}")).collect()
    }

    /// Reads what [`Place::arguments`] wrote.
    pub fn parse(arguments: &[&str]) -> Self {
        let pairs = arguments.iter().filter_map(|argument| argument.split_once('='));
        Self(pairs.map(|(name, text)| (name.to_owned(), text.to_owned())).collect())
    }

    /// The settings of a proof with its home in a folder.
    ///
    /// # Errors
    /// When the settings do not know these names any more.
    pub fn settings(&self, folder: &Path) -> excom::Result<Settings> {
        if !self.is_service() {
            return home::settings(folder);
        }
        let sources = Sources {
            environment: Environment::from_iter(self.0.clone()),
            home: Some(folder.to_owned()),
            set: vec![("xcom.inline_limit".to_owned(), "4KiB".to_owned())],
            folder: folder.to_owned(),
            ..Sources::default()
        };
        Settings::load(&sources)
    }

    /// The names of all objects, looked up without the engine.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn objects(&self, folder: &Path) -> Result<BTreeSet<String>> {
        let get = |name: &str| self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str());
        let store: Box<dyn ValueStore> =
            match (get("EXCOM__REDIS__URL"), get("EXCOM__COMMON_IO__XCOM_OBJECTSTORAGE_PATH")) {
                (Some(url), _) => Box::new(Redis::open(url, RedisOptions::default())?),
                (_, Some(path)) => Box::new(ObjectStorage::open(path, self.0.clone())?),
                _ => return Ok(home::value_files(&home::settings(folder)?)?),
            };
        let names = pollster::block_on(store.list(None, usize::MAX))?;
        Ok(names.iter().map(ToString::to_string).collect())
    }
}
