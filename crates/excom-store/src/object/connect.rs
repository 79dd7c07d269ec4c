//! Clients of the clouds, from a location and the options that the caller found in its environment.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::failure::Told;
use super::location::{Location, Place};

/// How long a request may take without any progress.
const STALLED: Duration = Duration::from_secs(60);

/// How long a request is repeated.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client for a location. Options of other stores are passed over, as an environment has many.
pub(super) fn connect(
    location: &Location,
    options: &[(String, String)],
    told: &Told,
) -> Result<Arc<dyn ObjectStore>> {
    let retry = || RetryConfig { max_retries: 5, retry_timeout: PATIENCE, ..RetryConfig::default() };
    let client = || {
        // The time of a whole transfer depends on its size.
        let client = ClientOptions::new().with_timeout_disabled().with_read_timeout(STALLED);
        client.with_allow_http(asks_for_http(options))
    };
    let built = match &location.place {
        Place::Memory | Place::Folder(_) => return Ok(Arc::new(InMemory::new())),
        Place::S3(bucket) => {
            if bucket.ends_with("--x-s3") {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    format!("{location} is a directory bucket, which does not list its objects in order"),
                )
                .hint("use a general purpose bucket"));
            }
            let builder = AmazonS3Builder::new().with_client_options(client()).with_retry(retry());
            let builder = known(options)
                .fold(builder, |b, (key, value): (AmazonS3ConfigKey, _)| b.with_config(key, value));
            // Objects are deleted one at a time, which every imitation of S3 understands.
            let builder = builder.with_config(AmazonS3ConfigKey::DisableBulkDelete, "true");
            builder.with_bucket_name(bucket).build().map(|s3| Arc::new(s3) as Arc<dyn ObjectStore>)
        }
        Place::Google(bucket) => {
            // The metadata server of a machine speaks no TLS.
            let client = client().with_allow_http(true);
            let builder = GoogleCloudStorageBuilder::new().with_client_options(client).with_retry(retry());
            let builder = known(options)
                .fold(builder, |b, (key, value): (GoogleConfigKey, _)| b.with_config(key, value));
            builder.with_bucket_name(bucket).build().map(|gs| Arc::new(gs) as Arc<dyn ObjectStore>)
        }
        Place::Azure(container, host) => {
            let builder = MicrosoftAzureBuilder::new().with_client_options(client()).with_retry(retry());
            let builder = known(options)
                .fold(builder, |b, (key, value): (AzureConfigKey, _)| b.with_config(key, value));
            let builder = match host {
                Some(host) => builder.with_url(format!("abfss://{container}@{host}")),
                None => builder.with_container_name(container),
            };
            builder.build().map(|azure| Arc::new(azure) as Arc<dyn ObjectStore>)
        }
    };
    built.map_err(|error| told.unusable(&error))
}

/// The options that a store knows, whatever their case.
fn known<K: FromStr>(options: &[(String, String)]) -> impl Iterator<Item = (K, &String)> {
    options.iter().filter_map(|(key, value)| Some((key.to_ascii_lowercase().parse().ok()?, value)))
}

/// Whether an endpoint is given that speaks no TLS. Whoever writes `http://` means it.
fn asks_for_http(options: &[(String, String)]) -> bool {
    options
        .iter()
        .any(|(key, value)| key.to_ascii_lowercase().contains("endpoint") && value.starts_with("http://"))
}
