//! What is done to a server that may be treated roughly.

use std::os::unix::fs::{MetadataExt as _, chown, symlink};

use excom_testkit::mount::Tmpfs;
use excom_testkit::mysql::Mysql;

use crate::held::Held;

/// Makes a database in another file system, where its folder may lie.
pub(crate) fn elsewhere(server: &Mysql, disk: &Tmpfs, database: &str) {
    let owner = std::fs::metadata(server.data()).unwrap();
    let folder = disk.folder().join(database);
    std::fs::create_dir(&folder).unwrap();
    for made in [disk.folder(), &folder] {
        chown(made, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    symlink(&folder, server.data().join(database)).unwrap();
}

/// Lets no transaction be committed.
pub(crate) fn hold_commits(server: &Mysql) -> Held<'_> {
    Held::start(server, "excom", "BACKUP STAGE START; BACKUP STAGE BLOCK_COMMIT")
}

/// Waits until the first try of a transaction is held there; the next may find it done.
pub(crate) fn await_commit(server: &Mysql, tries: u32) {
    let committing = "SELECT COUNT(*) FROM information_schema.processlist
        WHERE state LIKE '%backup lock%' AND info LIKE 'COMMIT%'";
    while tries == 1 && server.sql("excom", committing).unwrap() != "1" {
        std::thread::yield_now();
    }
}

/// Cuts all connections that work in a database.
pub(crate) fn kill(server: &Mysql, database: &str) {
    let cut = format!(
        "SELECT GROUP_CONCAT(CONCAT('KILL ', id) SEPARATOR ';') FROM information_schema.processlist
         WHERE db = '{database}' AND id <> CONNECTION_ID()"
    );
    let cut = server.sql("information_schema", &cut).unwrap();
    // Some may have ended by themselves since.
    drop(server.sql("excom", &cut));
}
