//! A value store in a folder, beside the embedded database.
//!
//! An object is first written to a file of the writer's own, its name with `.part` at the end, synced,
//! linked to its name (which fails when the name exists), and the folder synced. So an object is there as a whole or not
//! at all, also after a power cut, and what an interrupted write leaves is found by its name. File
//! operations run on a thread pool of their own, so that a large value never blocks whoever polls.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use blocking::{Task, unblock};
use bytes::Bytes;
use excom_core::{ByteStream, Error, ErrorKind, ObjectName, Result, ValueStore};
use futures_core::Stream;

use crate::aside::Aside;

/// How much is read at a time.
const READ_BYTES: usize = 2 << 20;

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// How much is written before the disk is asked to work.
const SYNC_BYTES: usize = 16 << 20;

/// How often a new object's folder is made anew when it vanishes.
const BEGIN_TRIES: u32 = 1000;

/// A folder of objects, readable by its owner only.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Opens the folder, and creates it when it is missing.
    ///
    /// # Errors
    /// When it cannot be created, with the reason.
    pub fn open(folder: &Path) -> Result<Self> {
        create_folder(folder).map_err(|e| told(&e, "create the folder", folder))?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.folder.join(name.as_str())
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "files({})", self.folder.display())
    }
}

fn create_folder(folder: &Path) -> io::Result<()> {
    let mut how = DirBuilder::new();
    how.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut how, 0o700);
    how.create(folder)
}

/// An I/O error with what was being done, where, and what to do.
fn told(error: &io::Error, doing: &str, path: &Path) -> Error {
    let (kind, hint) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Full, "free space on that file system; nothing was written")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::ReadOnly,
            "check the owner and mode of the folder, and that it is not mounted read-only",
        ),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            (ErrorKind::Configuration, "a file is in the way; move it, or choose another folder")
        }
        _ => (ErrorKind::Unavailable, "try again; look into the system's log for the disk if it stays so"),
    };
    Error::new(kind, format!("cannot {doing} {}: {error}", path.display())).hint(hint)
}

/// Where an object is written first: a file of its own for each writer, since a repeated push may write
/// the same object at the same time.
fn part_of(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}-{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    part.into()
}

/// What interrupted writes of an object left.
fn parts_of(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let beside = entries.flatten().map(|entry| entry.path());
    let left = |file: &PathBuf| {
        let found = file.file_name().and_then(|found| found.to_str());
        found
            .and_then(|found| found.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".part"))
    };
    beside.filter(left).collect()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates the file for a new object, and the folders above it, each durable in its own folder.
fn begin(root: &Path, part: &Path) -> io::Result<File> {
    let folder = part.parent().unwrap_or(root);
    if !folder.is_dir() {
        create_folder(folder)?;
        let mut above = folder;
        while let Some(next) = above.parent() {
            sync_folder(next)?;
            if next == root {
                break;
            }
            above = next;
        }
    }
    let mut how = OpenOptions::new();
    how.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
    how.open(part)
}

/// Makes the written file the object.
fn finish(file: &File, part: &Path, path: &Path) -> io::Result<()> {
    file.sync_data()?;
    let linked = fs::hard_link(part, path).map_err(|error| match error.kind() {
        // Whoever wrote the same object first has swept our part away.
        io::ErrorKind::NotFound if path.exists() => io::ErrorKind::AlreadyExists.into(),
        _ => error,
    });
    if path.exists() {
        // The object is whole, so parts of it are of no use any more: ours, those of writers that were
        // interrupted, and those of writers that still repeat it.
        for left in parts_of(path) {
            match fs::remove_file(left) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
    }
    linked?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Removes folders that became empty, up to the root.
fn prune_folders(root: &Path, path: &Path) {
    let mut folder = path.parent();
    while let Some(empty) = folder.filter(|folder| *folder != root && folder.starts_with(root)) {
        // Fails when it is not empty, which ends the climb.
        if fs::remove_dir(empty).is_err() {
            return;
        }
        folder = empty.parent();
    }
}

#[async_trait]
impl ValueStore for Files {
    fn id(&self) -> &'static str {
        "files"
    }

    async fn create(&self, name: &ObjectName, mut body: ByteStream) -> Result<u64> {
        let path = self.path(name);
        let part = part_of(&path);
        let (root, at) = (self.folder.clone(), part.clone());
        let file = unblock(move || {
            // Deletes of the last object beside it may remove the folder again and again; each that does
            // has succeeded, so it ends.
            for _ in 0..BEGIN_TRIES {
                match begin(&root, &at) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    other => return other,
                }
            }
            begin(&root, &at)
        })
        .await
        .map_err(|e| told(&e, "create", &part))?;
        let mut size = 0;
        let mut writing = Writing::new(file);
        let written = loop {
            let piece = match poll_fn(|cx| body.as_mut().poll_next(cx)).await {
                None => break writing.end().await.map_err(|error| told(&error, "write", &part)),
                Some(Err(error)) => break Err(error),
                Some(Ok(piece)) => piece,
            };
            size += piece.len() as u64;
            if let Err(error) = writing.write(piece).await {
                break Err(told(&error, "write", &part));
            }
        };
        let result = match written {
            Err(error) => Err(error),
            Ok(file) => {
                let (from, to) = (part.clone(), path.clone());
                unblock(move || finish(&file, &from, &to)).await.map_err(|e| match e.kind() {
                    io::ErrorKind::AlreadyExists => {
                        Error::new(ErrorKind::Exists, format!("the object {} exists", path.display()))
                    }
                    _ => told(&e, "complete", &path),
                })
            }
        };
        if result.is_err() {
            // The push failed; what it left would be collected later, but a full disk is helped now.
            let _ = unblock(move || fs::remove_file(part)).await;
        }
        result.map(|()| size)
    }

    async fn get(&self, name: &ObjectName) -> Result<ByteStream> {
        let path = self.path(name);
        let at = path.clone();
        let file = unblock(move || File::open(at)).await.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Error::new(ErrorKind::Lost, format!("the object {} is gone", path.display()))
            }
            _ => told(&e, "open", &path),
        })?;
        Ok(Box::pin(Reading::of(file, path)))
    }

    async fn delete(&self, name: &ObjectName) -> Result<bool> {
        let path = self.path(name);
        let root = self.folder.clone();
        unblock(move || {
            let mut found = false;
            for file in parts_of(&path).into_iter().chain([path.clone()]) {
                match fs::remove_file(&file) {
                    Ok(()) => found = true,
                    Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                    Err(e) => return Err(told(&e, "remove", &file)),
                }
            }
            prune_folders(&root, &path);
            Ok(found)
        })
        .await
    }

    async fn list(&self, after: Option<&ObjectName>, limit: usize) -> Result<Vec<ObjectName>> {
        let root = self.folder.clone();
        let after = after.cloned();
        unblock(move || {
            let mut names = Vec::new();
            walk(&root, &root, &mut names).map_err(|e| told(&e, "list", &root))?;
            names.sort();
            names.retain(|name| after.as_ref().is_none_or(|after| name > after));
            names.truncate(limit);
            Ok(names)
        })
        .await
    }

    async fn check(&self) -> Result<()> {
        // Several may look at once, also from machines that share the folder.
        static PROBES: AtomicU64 = AtomicU64::new(0);
        let number = PROBES.fetch_add(1, Ordering::Relaxed);
        let probe = self.folder.join(format!(".probe-{}-{number}", std::process::id()));
        unblock(move || {
            let tried = (|| {
                File::create(&probe)?.write_all(b"x")?;
                match fs::remove_file(&probe) {
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
                    removed => removed,
                }
            })();
            tried.map_err(|e| told(&e, "write", &probe))
        })
        .await
    }
}

/// Collects objects, and what interrupted writes left, under their names.
fn walk(root: &Path, folder: &Path, names: &mut Vec<ObjectName>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Removed since it was listed.
        Err(e) if e.kind() == io::ErrorKind::NotFound && folder != root => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(root, &path, names)?;
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && !name.starts_with('.')
        {
            names.push(ObjectName::listed(name));
        }
    }
    Ok(())
}

/// A file that is written behind, and brought to disk meanwhile, so that the next pieces are made while the disk
/// works.
struct Writing {
    file: Arc<File>,
    gathered: Vec<Bytes>,
    /// Bytes of what is gathered.
    size: usize,
    write: Option<Task<io::Result<()>>>,
    aside: Aside,
    sync: Option<Task<io::Result<()>>>,
    /// Bytes since the last sync began.
    unsynced: usize,
}

impl Writing {
    fn new(file: File) -> Self {
        let (gathered, size) = (Vec::new(), 0);
        let (write, sync, aside) = (None, None, Aside::default());
        Self { file: Arc::new(file), gathered, size, write, aside, sync, unsynced: 0 }
    }

    async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        self.size += piece.len();
        self.gathered.push(piece);
        if self.size < WRITE_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Lets what is gathered be written, behind what was before.
    async fn flush(&mut self) -> io::Result<()> {
        self.settle().await?;
        if self.unsynced >= SYNC_BYTES && self.sync.as_ref().is_none_or(Task::is_finished) {
            if let Some(sync) = self.sync.take() {
                sync.await?;
            }
            let file = Arc::clone(&self.file);
            self.sync = Some(unblock(move || file.sync_data()));
            self.unsynced = 0;
        }
        self.unsynced += std::mem::take(&mut self.size);
        let (file, pieces) = (Arc::clone(&self.file), std::mem::take(&mut self.gathered));
        self.write = Some(self.aside.run(move || write_all(&file, &pieces)));
        Ok(())
    }

    /// Waits for the write before.
    async fn settle(&mut self) -> io::Result<()> {
        match self.write.take() {
            Some(write) => write.await,
            None => Ok(()),
        }
    }

    /// The file with all pieces. A sync that failed is told here, as the system tells it only once.
    async fn end(&mut self) -> io::Result<Arc<File>> {
        self.flush().await?;
        self.settle().await?;
        if let Some(sync) = self.sync.take() {
            sync.await?;
        }
        Ok(Arc::clone(&self.file))
    }
}

fn write_all(mut file: &File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    // Nothing, or empty pieces only, are no more to write.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Memory that is read into again once its bytes are dropped: fresh memory costs as much as the reading.
#[derive(Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next bytes of a file; at its end, none.
    fn read(&self, mut file: &File) -> io::Result<Bytes> {
        let buffer = self.idle().pop().unwrap_or_else(|| Vec::with_capacity(READ_BYTES));
        let mut lent = Lent { buffer, home: self.clone() };
        lent.buffer.clear();
        (&mut file).take(READ_BYTES as u64).read_to_end(&mut lent.buffer)?;
        Ok(Bytes::from_owner(lent))
    }
}

/// A buffer that goes back to where it is kept.
struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.idle().push(std::mem::take(&mut self.buffer));
    }
}

/// A file read ahead by one piece.
struct Reading {
    next: Option<Task<io::Result<Bytes>>>,
    aside: Aside,
    file: Arc<File>,
    buffers: Buffers,
    path: PathBuf,
}

impl Reading {
    fn of(file: File, path: PathBuf) -> Self {
        let (next, aside, buffers) = (None, Aside::default(), Buffers::default());
        let mut reading = Self { next, aside, file: Arc::new(file), buffers, path };
        reading.ahead();
        reading
    }

    fn ahead(&mut self) {
        let (file, buffers) = (Arc::clone(&self.file), self.buffers.clone());
        self.next = Some(self.aside.run(move || buffers.read(&file)));
    }
}

impl Stream for Reading {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let Some(task) = &mut self.next else { return Poll::Ready(None) };
        let piece = ready!(Pin::new(task).poll(cx));
        self.next = None;
        Poll::Ready(match piece {
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => {
                self.ahead();
                Some(Ok(piece))
            }
            Err(error) => Some(Err(told(&error, "read", &self.path))),
        })
    }
}
