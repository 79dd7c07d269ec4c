//! Objects below a prefix of a bucket.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use excom_core::{ByteStream, Error, ErrorKind, ObjectName, Result, ValueStore};
use excom_reactor::Reactor;
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};

use super::failure::{Doing, Told};
use super::upload::{MOST_PARTS, PART_BYTES, Parts, Upload};

/// Names that begin so are probes; no part of an [`ObjectName`] does.
const PROBE: &str = ".excom-check-";

/// A client, the prefix of all names, and what drives its sockets.
pub(super) struct Bucket {
    client: Arc<dyn ObjectStore>,
    told: Told,
    reactor: Reactor,
    /// The name of what it writes to see whether that works: one for each process, so that a look which is given up leaves one
    /// object at most.
    probe: String,
}

impl Bucket {
    pub(super) fn new(client: Arc<dyn ObjectStore>, told: Told) -> Result<Self> {
        let random = getrandom::u64().map_err(|error| {
            Error::new(ErrorKind::Other, "the system gives no random numbers").because(error.to_string())
        })?;
        Ok(Self {
            client,
            told,
            reactor: Reactor::start("excom-object")?,
            probe: format!("{PROBE}{random:016x}"),
        })
    }

    /// Where an object lies. Its name is safe as it is, so nothing is escaped again.
    fn path(&self, name: &str) -> Result<Path> {
        let prefix = &self.told.location().prefix;
        let whole = if prefix.is_root() { name.to_owned() } else { format!("{prefix}/{name}") };
        Path::parse(whole).map_err(|error| {
            Error::new(ErrorKind::InvalidName, format!("{name} cannot be the name of an object"))
                .because(error)
        })
    }

    /// The name of an object that was listed; none for probes.
    fn name(&self, path: &Path) -> Option<ObjectName> {
        let name = path.as_ref().strip_prefix(self.told.location().prefix.as_ref())?;
        let name = name.strip_prefix('/').unwrap_or(name);
        (!name.starts_with('.')).then(|| ObjectName::listed(name))
    }

    async fn exists(&self, path: &Path) -> object_store::Result<bool> {
        match self.client.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, name: &str, path: &Path, body: PutPayload) -> Result<()> {
        let put = self.client.put_opts(path, body, PutMode::Create.into()).await;
        let Err(error) = put else { return Ok(()) };
        let failed = self.told.failed(Doing::Write, name, &error);
        // Stores also say so of a name that is just being written, which may come to nothing.
        if failed.kind() == ErrorKind::Exists && !self.exists(path).await.unwrap_or(true) {
            let message = format!("cannot write {name} to {}: it is being written", self.told.location());
            return Err(Error::new(ErrorKind::Unavailable, message).hint("try again"));
        }
        Err(failed)
    }

    async fn refuse_existing(&self, name: &ObjectName, path: &Path) -> Result<()> {
        let location = self.told.location();
        match self.exists(path).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::new(ErrorKind::Exists, format!("the object {name} exists in {location}"))),
            Err(error) => Err(self.told.failed(Doing::Write, name.as_str(), &error)),
        }
    }

    /// Uploads an object in parts: the two that were read already, and the rest.
    async fn upload(
        &self,
        name: &ObjectName,
        path: &Path,
        read: [PutPayload; 2],
        rest: &mut Parts,
    ) -> Result<u64> {
        let failed = |error| self.told.failed(Doing::Write, name.as_str(), &error);
        self.refuse_existing(name, path).await?;
        let mut upload = Upload::begin(&self.client, path, &self.reactor).await.map_err(failed)?;
        let sent = async {
            let (mut size, mut count) = (0, 0);
            let mut read = read.into_iter();
            loop {
                let part = match read.next() {
                    Some(part) => part,
                    None => rest.next().await?,
                };
                if part.content_length() == 0 {
                    break;
                }
                count += 1;
                if count > MOST_PARTS {
                    let most = (PART_BYTES * MOST_PARTS) >> 30;
                    let message = format!("{name} is larger than {most} GiB, the most that is uploaded");
                    return Err(Error::new(ErrorKind::TooLarge, message));
                }
                size += part.content_length() as u64;
                upload.put(part).await.map_err(failed)?;
            }
            upload.settle().await.map_err(failed)?;
            self.refuse_existing(name, path).await?;
            Ok(size)
        };
        match sent.await {
            Ok(size) => match upload.complete().await {
                Ok(()) => Ok(size),
                // When only the answer was lost, the repeated request finds no upload any more, but its object.
                Err(error) => self.refuse_existing(name, path).await.and(Err(failed(error))),
            },
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    /// Writes, tries to overwrite, reads and removes a tiny object.
    async fn probe(&self, name: &str, path: &Path) -> Result<()> {
        let body = || PutPayload::from_static(b"excom");
        match self.put(name, path, body()).await {
            // A look before was given up.
            Err(error) if error.kind() == ErrorKind::Exists => {}
            put => put?,
        }
        let location = self.told.location();
        let again = match self.put(name, path, body()).await {
            Err(error) if error.kind() == ErrorKind::Exists => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(Error::new(
                ErrorKind::Configuration,
                format!("{location} overwrites objects although it is asked not to (If-None-Match)"),
            )
            .hint("use a store, or a version of it, with conditional writes")),
        };
        let read = async {
            let failed = |error| self.told.failed(Doing::Read, name, &error);
            self.client.get(path).await.map_err(failed)?.bytes().await.map_err(failed)
        };
        let read = again.and(read.await);
        let removed = self.client.delete(path).await;
        if read? != "excom" {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{location} gave other bytes back than {name} has"),
            )
            .hint("check what lies between here and the store: a proxy, a gateway, a cache"));
        }
        removed.map_err(|error| self.told.failed(Doing::Remove, name, &error))
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object_storage({})", self.told.location())
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A client's own form might show credentials.
        write!(f, "{self}")
    }
}

#[async_trait]
impl ValueStore for Bucket {
    fn id(&self) -> &'static str {
        "object_storage"
    }

    async fn create(&self, name: &ObjectName, body: ByteStream) -> Result<u64> {
        let path = self.path(name.as_str())?;
        let create = async {
            let mut parts = Parts::of(body);
            let first = parts.next().await?;
            let second = parts.next().await?;
            if second.content_length() == 0 {
                let size = first.content_length() as u64;
                return self.put(name.as_str(), &path, first).await.map(|()| size);
            }
            self.upload(name, &path, [first, second], &mut parts).await
        };
        self.reactor.run(create).await
    }

    async fn get(&self, name: &ObjectName) -> Result<ByteStream> {
        let path = self.path(name.as_str())?;
        let found = self.reactor.run(self.client.get(&path)).await;
        let found = found.map_err(|error| self.told.failed(Doing::Read, name.as_str(), &error))?;
        let (told, name) = (self.told.clone(), name.clone());
        let stream = found.into_stream();
        Ok(self.reactor.stream(stream.map_err(move |error| told.failed(Doing::Read, name.as_str(), &error))))
    }

    async fn delete(&self, name: &ObjectName) -> Result<bool> {
        let path = self.path(name.as_str())?;
        let delete = async {
            // Only some stores tell whether there was something to delete.
            if !self.exists(&path).await? {
                return Ok(false);
            }
            match self.client.delete(&path).await {
                Ok(()) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let deleted = self.reactor.run(delete).await;
        deleted.map_err(|error| self.told.failed(Doing::Remove, name.as_str(), &error))
    }

    async fn list(&self, after: Option<&ObjectName>, limit: usize) -> Result<Vec<ObjectName>> {
        let prefix = Some(&self.told.location().prefix).filter(|prefix| !prefix.is_root());
        let offset = after.map(|after| self.path(after.as_str())).transpose()?;
        let names = async {
            let mut found = match &offset {
                Some(offset) => self.client.list_with_offset(prefix, offset),
                None => self.client.list(prefix),
            };
            let mut names = Vec::new();
            while names.len() < limit
                && let Some(object) = found.try_next().await?
            {
                // Imitations of a store may not know where to begin.
                names.extend(
                    self.name(&object.location).filter(|name| after.is_none_or(|after| name > after)),
                );
            }
            Ok(names)
        };
        self.reactor.run(names).await.map_err(|error| self.told.failed(Doing::List, "", &error))
    }

    async fn check(&self) -> Result<()> {
        self.list(None, 1).await?;
        self.reactor.run(self.probe(&self.probe, &self.path(&self.probe)?)).await
    }
}
