//! What is done to a server that may be treated roughly.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use excom_testkit::mount::Tmpfs;
use excom_testkit::postgres::Postgres;

/// A folder in a file system in which a server may make a tablespace.
pub(crate) fn tablespace(server: &Postgres, disk: &Tmpfs) {
    let folder = disk.folder().join("tables");
    std::fs::create_dir(&folder).unwrap();
    give(server, &[disk.folder(), &folder]);
    server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", folder.display())).unwrap();
}

/// Makes folders those of whoever runs the server. The one above may be for its owner alone.
fn give(server: &Postgres, folders: &[&Path]) {
    let owner = std::fs::metadata(server.data()).unwrap();
    for folder in folders {
        chown(folder, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

/// Cuts all our connections.
pub(crate) fn cut(server: &Postgres) {
    let cut =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'excom'";
    server.sql("postgres", cut).unwrap();
}

/// Waits until so many of our connections wait for a lock.
pub(crate) fn await_locks(server: &Postgres, tries: u32) {
    let count =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'excom' AND wait_event_type = 'Lock'";
    while server.sql("postgres", count).unwrap() != tries.to_string() {
        std::thread::yield_now();
    }
}
