//! The short form of `cargo xtask prove hunt`, with the binary of this build.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

#[test]
fn a_wrong_value_is_found_with_trace_and_without() {
    let report = excom_testkit::hunt::prove(Path::new(env!("CARGO_BIN_EXE_excom")), 3, 7).unwrap();
    assert_eq!(report.rounds, 3);
    // What is traced takes one command each way, or two where much was read at one place; without, one for each
    // task on the way.
    assert!(report.back_traced.commands <= 6 && report.forth_traced.commands <= 6, "{report}");
    assert!(report.back_untraced.commands > 9 && report.forth_untraced.commands > 9, "{report}");
}
