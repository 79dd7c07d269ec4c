//! The short form of `cargo xtask prove soak`, with the binary of this build.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use excom_testkit::postgres::Postgres;
use excom_testkit::s3::S3;
use excom_testkit::skip::skipped;
use excom_testkit::soak::{self, Length};

#[test]
fn two_servers_withstand_a_load_while_what_is_under_them_fails() {
    if let Err(why) = Postgres::available().and_then(|()| S3::available()) {
        return skipped("two_servers_withstand_a_load_while_what_is_under_them_fails", &why);
    }
    let length = Length { fastest: Duration::from_secs(2), load: Duration::from_secs(25) };
    let report = soak::prove(Path::new(env!("CARGO_BIN_EXE_excom")), length, 7).unwrap();
    // Otherwise it loaded nobody, and nothing failed.
    assert!(report.faults > 0 && report.pushes > 0 && report.values > report.pushes, "{report}");
    assert!(report.tries > 0 && report.requests > 0, "{report}");
}
