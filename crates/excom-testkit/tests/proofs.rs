//! The short forms of the proofs; `cargo xtask prove` runs the long ones.

use std::path::Path;
use std::time::Duration;

use excom_testkit::redis::Program;
use excom_testkit::s3::S3;
use excom_testkit::skip::skipped;
use excom_testkit::{crash, dags, faults, first_start, heartbeat, processes};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_prove"))
}

#[test]
fn nothing_acknowledged_is_lost_when_a_process_is_killed() {
    let report = crash::prove(program(), 12, 7).unwrap();
    assert_eq!(report.rounds, 12);
    // Otherwise the kills missed what they are for.
    assert!(report.pushes > 0 && report.inside_a_push > 0 && report.compared > 0, "{report}");
}

#[test]
fn four_processes_share_a_home() {
    let report = processes::prove(program(), 2_000).unwrap();
    assert_eq!(report.members.len(), 4);
    for member in &report.members {
        assert!(member.pushes > 0 && member.pulls > 0, "{report}");
    }
    assert!(report.members.iter().any(|member| member.superseded > 0), "{report}");
}

#[test]
fn random_dags_come_to_what_a_model_foretells_also_when_they_are_killed() {
    let report = dags::prove(program(), 12, 7, false).unwrap();
    assert_eq!(report.dags, 12);
    // Otherwise the kills missed what they are for.
    assert!(report.kills >= 3 && report.kept > 0, "{report}");
    assert!(report.instances > 100 && report.xcoms > 50, "{report}");
}

#[test]
fn random_dags_come_to_the_same_when_each_try_is_a_process() {
    let report = dags::prove(program(), 4, 7, true).unwrap();
    assert_eq!(report.dags, 4);
    assert!(report.kills > 0 && report.instances > 30 && report.xcoms > 15, "{report}");
}

#[test]
fn a_first_start_that_is_killed_does_no_harm() {
    let report = first_start::prove(program(), 8, 7).unwrap();
    assert!(report.rounds > 0, "{report}");
}

#[test]
fn processes_that_make_a_new_home_at_once_agree() {
    for _ in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        first_start::race(program(), &folder.path().join("home"), 8).unwrap();
    }
}

#[test]
fn a_proof_that_does_not_exist_is_an_error_that_names_those_that_do() {
    let output = std::process::Command::new(program()).arg("nonsense").output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no proof `nonsense`") && told.contains("crash [--rounds 500]"), "{told}");
}

/// The short form of the proof of faults.
const SHORT: faults::Length = faults::Length { storms: 1, storm: Duration::from_secs(3), kills: 5 };

fn withstood(found: &faults::Found) {
    let faults::Found { storms, kills, .. } = found;
    // Otherwise the faults missed what they are for.
    assert!(storms.faults > 0 && storms.large_pushes > 0 && storms.pulls > 0, "{storms}");
    assert!(kills.rounds == SHORT.kills && kills.pushes > 0, "{kills}");
}

#[test]
fn redis_that_fails_makes_nothing_wrong_and_loses_nothing() {
    if let Err(why) = Program::redis() {
        return skipped("redis_that_fails_makes_nothing_wrong_and_loses_nothing", &why);
    }
    withstood(&faults::redis(program(), SHORT, 7).unwrap());
}

#[test]
fn s3_that_fails_makes_nothing_wrong_and_loses_nothing() {
    if let Err(why) = S3::available() {
        return skipped("s3_that_fails_makes_nothing_wrong_and_loses_nothing", &why);
    }
    withstood(&faults::s3(program(), SHORT, 7).unwrap());
}

/// Twice what a process may grow by, so that holding it whole cannot pass.
const LARGE: u64 = 2 * heartbeat::MOST_GROWTH;

fn stayed_small(found: &heartbeat::Found) {
    for way in [found.push, found.pull] {
        assert!(way.growth < heartbeat::MOST_GROWTH && way.beats > 0, "{way}");
    }
}

#[test]
fn a_large_value_streams_to_files_in_little_memory() {
    stayed_small(&heartbeat::files(program(), LARGE).unwrap());
}

#[test]
fn a_large_value_streams_to_redis_in_little_memory() {
    if let Err(why) = Program::redis() {
        return skipped("a_large_value_streams_to_redis_in_little_memory", &why);
    }
    stayed_small(&heartbeat::redis(program(), LARGE).unwrap());
}

#[test]
fn a_large_value_streams_to_s3_in_little_memory() {
    if let Err(why) = S3::available() {
        return skipped("a_large_value_streams_to_s3_in_little_memory", &why);
    }
    stayed_small(&heartbeat::s3(program(), LARGE).unwrap());
}
