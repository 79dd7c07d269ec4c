//! A value store in object storage: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage, a
//! folder, memory.

mod bucket;
mod connect;
mod failure;
mod location;
mod upload;

use std::fmt;

use async_trait::async_trait;
use excom_core::{ByteStream, ObjectName, Result, ValueStore};

use crate::files::Files;
use bucket::Bucket;
use failure::Told;
use location::{Location, Place};

/// Objects below a prefix of a bucket, or in a folder.
///
/// | location | store |
/// | --- | --- |
/// | `s3://bucket/prefix` | Amazon S3, or what speaks like it at `AWS_ENDPOINT_URL` |
/// | `gs://bucket/prefix` | Google Cloud Storage |
/// | `az://container/prefix`, `abfs://container@account.dfs.core.windows.net/prefix` | Azure Blob Storage |
/// | `file:///folder` | the folder, as [`Files`] |
/// | `memory://` | memory that goes with this value, for tests |
///
/// In Airflow's form `s3://connection@bucket/prefix` the connection is accepted and passed over: what it stands
/// for is known to Airflow alone. Credentials come from the options.
///
/// **Never overwritten.** An object of at most 8 MiB is one conditional request, which the store
/// refuses when the name exists. A larger one is uploaded in parts of 8 MiB, four at a time. Google Cloud
/// Storage and the client of the other two do not make its completion conditional, so the name is looked up before the upload and again before
/// its completion. Two writers of the same name at the very same time could both succeed then; names have a
/// version with random bits, so such writers push the same value.
///
/// **Whole or not at all.** Parts become an object by the completion alone. An upload that fails or is dropped is
/// aborted; what a killed process leaves is removed by the bucket's own rule for incomplete uploads (Azure's ends
/// by itself after a week).
///
/// **Lists** are in the store's order, which is the order of names except in Azure accounts with a hierarchical
/// namespace. S3's directory buckets have none and are refused.
pub struct ObjectStorage {
    id: String,
    place: Box<dyn ValueStore>,
}

impl ObjectStorage {
    /// Opens a location with options as pairs of a name and a value, such as `AWS_ACCESS_KEY_ID`; names that the
    /// store does not know are passed over. The `excom` crate hands over the variables of the environment that
    /// begin with `AWS_`, `GOOGLE_` or `AZURE_`. Nothing is sent yet; [`check`](ValueStore::check) does.
    ///
    /// ```
    /// use excom_core::ValueStore as _;
    /// use excom_store::ObjectStorage;
    ///
    /// let keys = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "hidden")];
    /// let options = keys.map(|(name, value)| (name.to_owned(), value.to_owned()));
    /// let store = ObjectStorage::open("s3://team-a/xcom", options)?.with_id("team-a");
    /// assert_eq!(store.to_string(), "object_storage(s3://team-a/xcom)");
    /// assert_eq!(store.id(), "team-a");
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Configuration` when the location or an option is wrong; as [`Files::open`] for a folder.
    pub fn open(location: &str, options: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let location = Location::parse(location)?;
        let place: Box<dyn ValueStore> = match &location.place {
            Place::Folder(folder) => Box::new(Files::open(folder)?),
            _ => {
                let options: Vec<_> = options.into_iter().collect();
                let told = Told::new(location, &options);
                Box::new(Bucket::new(connect::connect(told.location(), &options, &told)?, told)?)
            }
        };
        Ok(Self { id: "object_storage".to_owned(), place })
    }

    /// The same store under an id of its own, which references keep.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }
}

impl fmt::Display for ObjectStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl fmt::Debug for ObjectStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as `{}`", self.place, self.id)
    }
}

#[async_trait]
impl ValueStore for ObjectStorage {
    fn id(&self) -> &str {
        &self.id
    }

    async fn create(&self, name: &ObjectName, body: ByteStream) -> Result<u64> {
        self.place.create(name, body).await
    }

    async fn get(&self, name: &ObjectName) -> Result<ByteStream> {
        self.place.get(name).await
    }

    async fn get_many(&self, names: &[ObjectName]) -> Vec<Result<ByteStream>> {
        self.place.get_many(names).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<bool> {
        self.place.delete(name).await
    }

    async fn list(&self, after: Option<&ObjectName>, limit: usize) -> Result<Vec<ObjectName>> {
        self.place.list(after, limit).await
    }

    async fn check(&self) -> Result<()> {
        self.place.check().await
    }
}
