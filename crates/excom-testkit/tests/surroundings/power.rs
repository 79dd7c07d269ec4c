//! Power cuts. They cannot be made here: what a killed process wrote is safe in the operating system's
//! cache. What can be seen is that `[database] durability = "full"` waits for the disk at each commit, and
//! that the default does not.

use std::process::{Command, Stdio};

use excom_testkit::skip;

/// How many times the disk was waited for while a child pushed so many small values, one after another.
fn syncs(durability: &str, pushes: u32) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_prove"))
        .args(["child-small-pushes", &folder.path().join("home").display().to_string(), durability])
        .arg(pushes.to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("strace: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && told.contains("ptrace") {
        return Err(told.trim().to_owned());
    }
    assert!(output.status.success(), "{told}");
    let trace = std::fs::read_to_string(trace).unwrap();
    Ok(trace.lines().filter(|line| line.contains("sync(") && line.contains("= 0")).count())
}

#[test]
fn full_durability_waits_for_the_disk_at_every_commit() {
    const PUSHES: usize = 40;
    let counted = syncs("full", PUSHES as u32).and_then(|full| Ok((full, syncs("normal", PUSHES as u32)?)));
    match counted {
        Ok((full, normal)) => {
            assert!(full >= PUSHES, "{full} waits for {PUSHES} commits");
            assert!(normal < PUSHES, "{normal} waits with the default");
        }
        Err(why) => skip::skipped("power::full_durability_waits_for_the_disk_at_every_commit", &why),
    }
}
