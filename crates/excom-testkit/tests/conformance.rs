//! SQLite together with every place where values can be: each combination passes the suite's scenarios about values,
//! with every value offloaded.
//!
//! A server is started once and serves all scenarios, each below a prefix of its own. Two combinations are proven
//! elsewhere: everything in memory by the tests of `excom-core`, and a backend of one's own where it is written, in
//! `examples/custom_backend.rs`.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use excom_core::conformance::{Empty, combination};
use excom_core::seal::SealKeys;
use excom_core::{ValueStore, XComBackend};
use excom_db::sqlite;
use excom_store::{
    Files, ObjectStorage, Offload, OffloadOptions, Process, ProcessOptions, Redis, RedisOptions,
};
use excom_testkit::redis::Program;
use excom_testkit::skip::skipped;
use excom_testkit::{azure, gcs, redis, s3};

/// A test for each combination.
macro_rules! combinations {
    ($($test:ident => $place:expr;)*) => {$(
        #[test]
        fn $test() {
            passes(stringify!($test), $place);
        }
    )*};
}

combinations! {
    files                => in_files(PLAIN);
    files_encrypted      => in_files(COMPRESSED_AND_ENCRYPTED);
    amazon_s3            => in_amazon(PLAIN);
    amazon_s3_encrypted  => in_amazon(COMPRESSED_AND_ENCRYPTED);
    azure_blob_storage   => in_azure(PLAIN);
    google_cloud_storage => in_google(PLAIN);
    redis_server         => in_redis(PLAIN);
    redis_encrypted      => in_redis(COMPRESSED_AND_ENCRYPTED);
    backend_process      => in_a_process();
}

/// How values are stored.
#[derive(Clone, Copy)]
struct Layout {
    compress_from: u64,
    encrypt: bool,
}

const PLAIN: Layout = Layout { compress_from: u64::MAX, encrypt: false };
const COMPRESSED_AND_ENCRYPTED: Layout = Layout { compress_from: 0, encrypt: true };

/// A place that is there, and what makes a backend of it below a prefix.
type Place = Box<dyn Fn(&str) -> Arc<dyn XComBackend>>;

/// A place, or why it cannot be had here.
type Found = Result<Place, String>;

fn passes(test: &str, place: Found) {
    let place = match place {
        Ok(place) => place,
        Err(why) => return skipped(test, &why),
    };
    combination(|scenario| {
        let folder = tempfile::tempdir().unwrap();
        let db = sqlite::Db::open(&folder.path().join("excom.db"), sqlite::Options::default()).unwrap();
        (Empty { db: Arc::new(db), keep: Box::new(folder) }, place(scenario))
    });
}

/// The place that stores are, which the function opens below a prefix.
fn stores<S: ValueStore + 'static>(layout: Layout, open: impl Fn(&str) -> S + 'static) -> Found {
    let Layout { compress_from, encrypt } = layout;
    Ok(Box::new(move |prefix| {
        let options = OffloadOptions { threshold: 0, compress_from, encrypt, ..OffloadOptions::default() };
        Arc::new(Offload::new(Arc::new(open(prefix)), SealKeys::new("k1", [7; 32]), options))
    }))
}

fn in_files(layout: Layout) -> Found {
    let folder = tempfile::tempdir().unwrap();
    stores(layout, move |prefix| Files::open(&folder.path().join(prefix)).unwrap())
}

fn bucket(location: &str, prefix: &str, options: Vec<(String, String)>) -> ObjectStorage {
    ObjectStorage::open(&format!("{location}/{prefix}"), options).unwrap()
}

fn in_amazon(layout: Layout) -> Found {
    s3::S3::available()?;
    let server = s3::S3::start().unwrap();
    stores(layout, move |prefix| bucket(&format!("s3://{}", s3::BUCKET), prefix, server.options()))
}

fn in_azure(layout: Layout) -> Found {
    azure::Azure::available()?;
    let server = azure::Azure::start().unwrap();
    stores(layout, move |prefix| bucket(&format!("az://{}", azure::CONTAINER), prefix, server.options()))
}

fn in_google(layout: Layout) -> Found {
    let server = gcs::Gcs::start().unwrap();
    stores(layout, move |prefix| bucket(&format!("gs://{}", gcs::BUCKET), prefix, server.options()))
}

fn in_redis(layout: Layout) -> Found {
    let server = redis::Redis::start(&Program::redis()?, "").unwrap();
    stores(layout, move |prefix| {
        let options = RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::default() };
        Redis::open(&server.url(), options).unwrap()
    })
}

/// The example in Python: a process for each scenario.
fn in_a_process() -> Found {
    let found = Command::new("python3").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        return Err("there is no python3".to_owned());
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/backend_process/backend.py");
    let folder = tempfile::tempdir().unwrap();
    Ok(Box::new(move |prefix| {
        let folder = folder.path().join(prefix);
        std::fs::create_dir(&folder).unwrap();
        let command = ["python3", "-I", program.to_str().unwrap(), folder.to_str().unwrap()];
        let options = ProcessOptions { threshold: 0, ..ProcessOptions::default() };
        Arc::new(Process::new(command.map(str::to_owned).to_vec(), options))
    }))
}
