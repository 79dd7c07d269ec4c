//! Small file systems in memory, to fill or to make read-only. Only root may mount.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mounted tmpfs. It is unmounted when this is dropped, also by a panic; declare it before whatever has
/// files open in it.
#[derive(Debug)]
pub struct Tmpfs {
    // Removed behind the unmount, which happens in our own drop.
    folder: tempfile::TempDir,
}

impl Tmpfs {
    /// Mounts one of so many KiB.
    ///
    /// # Errors
    /// Why this user cannot mount here: a reason to skip.
    pub fn mount(kibibytes: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let options = format!("size={kibibytes}k,mode=0755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()))?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes all of it read-only, for root too.
    ///
    /// # Errors
    /// When something is open for writing.
    pub fn make_read_only(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(self.folder()))
    }

    /// Makes it writable again.
    ///
    /// # Errors
    /// What `mount` says.
    pub fn make_writable(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "remount,rw"]).arg(self.folder()))
    }

    /// Writes a file until no byte more fits; remove it to free the space.
    ///
    /// # Errors
    /// When it cannot be written for another reason.
    pub fn fill(&self) -> std::io::Result<PathBuf> {
        use std::io::Write as _;
        let path = self.folder().join("filler");
        let mut file = std::fs::File::create(&path)?;
        let mut piece = vec![0_u8; 64 << 10];
        while !piece.is_empty() {
            match file.write(&piece) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    piece.truncate(piece.len() / 2);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if run(Command::new("umount").arg(self.folder())).is_err() {
            // Something still has a file open; detach it, so that nothing stays mounted for long.
            drop(run(Command::new("umount").arg("-l").arg(self.folder())));
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
