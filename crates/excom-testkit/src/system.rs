//! Programs that the system has, or gets from its packages.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::python::succeeds;

/// Folders with programs that are not on everybody's path.
const BESIDES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// A program of the system. Where it is missing and the test runs as root, `apt-get` installs its Debian package.
///
/// # Errors
/// What is missing, for the line that counts the test as skipped.
pub(crate) fn program(name: &str, package: &str) -> Result<PathBuf, String> {
    if let Some(found) = on_path(name) {
        return Ok(found);
    }
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if root && on_path("apt-get").is_some() {
        let _alone = lock(&shared_folder()?.join("apt.lock"))?;
        if on_path(name).is_none() {
            let mut install = Command::new("apt-get");
            install.args(["install", "--yes", "--no-install-recommends", package]);
            // No service is started: every test starts its own.
            succeeds(install.envs([("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")]))?;
        }
    }
    on_path(name).ok_or_else(|| format!("{name} is not installed"))
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(BESIDES.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Where tests of all binaries find what one of them installed.
pub(crate) fn shared_folder() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers");
    fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    Ok(folder)
}

pub(crate) fn lock(file: &Path) -> Result<File, String> {
    let lock = File::create(file).and_then(|lock| lock.lock().map(|()| lock));
    lock.map_err(|error| format!("{} cannot be locked: {error}", file.display()))
}
