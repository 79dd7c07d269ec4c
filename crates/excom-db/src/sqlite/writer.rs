//! The one writer of a process: a thread that commits what has gathered, together.
//!
//! Jobs arrive over a channel and answer over another, so that whoever waits needs no runtime. While a
//! transaction commits, the next jobs gather; the busier it is, the more of them share a commit.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use excom_core::{Error, ErrorKind, Result};
use futures_channel::oneshot;
use rusqlite::Connection;

use super::failure::{Failure, told};
use super::names::{Intern, Names};

/// The most jobs in one transaction, so that other processes get their turn.
const BATCH: usize = 256;

/// How long a process waits for its turn before the caller hears of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a job sees: the connection inside a transaction, and names as numbers.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) names: Intern<'a>,
}

/// Something to be written. It may run several times before it counts: when another job of the batch
/// fails, the batch is rolled back and each runs by itself.
trait Job: Send {
    /// Runs it; false when SQLite failed and the transaction must be rolled back.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;

    /// Tells the one who waits: the result of the last run, or why it did not commit.
    fn answer(self: Box<Self>, uncommitted: Option<rusqlite::Error>, path: &Path);
}

struct Waiting<T, F> {
    work: F,
    result: Option<Result<T, Failure>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F> Job for Waiting<T, F>
where
    F: FnMut(&Transaction<'_>) -> Result<T, Failure> + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        let result = (self.work)(transaction);
        let fine = !matches!(result, Err(Failure::Sqlite(_)));
        self.result = Some(result);
        fine
    }

    fn answer(self: Box<Self>, uncommitted: Option<rusqlite::Error>, path: &Path) {
        let result = match (uncommitted, self.result) {
            // A refusal wrote nothing, so it stands whether or not the others committed.
            (_, Some(Err(failure))) => Err(failure.into_error(path)),
            (Some(error), _) => Err(told(error, path)),
            (None, Some(Ok(value))) => Ok(value),
            (None, None) => Err(stopped(path)),
        };
        // Whoever waited may be gone; the write stands.
        let _ = self.reply.send(result);
    }
}

fn stopped(path: &Path) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the writer of {} has stopped", path.display()))
        .hint("the program is ending, or the writer failed before; see its log")
}

/// The handle to the writer thread. Dropping it lets the thread finish what it was given.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, path: &Path) -> Result<Self> {
        let (jobs, inbox) = channel();
        let turn = Turnstile::open(path)?;
        let names = Names::default();
        let state = State { connection, names, path: path.to_owned(), turn, data_version: 0 };
        let thread = std::thread::Builder::new()
            .name("excom-writer".to_owned())
            .spawn(move || state.serve(&inbox))
            .map_err(|e| Error::new(ErrorKind::Other, "the writer thread cannot start").because(e))?;
        Ok(Self { path: path.to_owned(), jobs: Some(jobs), thread: Some(thread) })
    }

    /// Writes, and waits until it is committed.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Waiting { work, result: None, reply });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err(stopped(&self.path));
        }
        answer.await.unwrap_or_else(|_| Err(stopped(&self.path)))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

struct State {
    connection: Connection,
    names: Names,
    path: PathBuf,
    turn: Turnstile,
    data_version: i64,
}

impl State {
    fn serve(mut self, inbox: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = inbox.recv() {
            let mut batch = vec![first];
            batch.extend(inbox.try_iter().take(BATCH - 1));
            if batch.len() > 1 && self.commit(&mut batch).is_ok() {
                batch.into_iter().for_each(|job| job.answer(None, &self.path));
                continue;
            }
            // One alone, or a batch that failed as a whole: each by itself, so that only the one at
            // fault hears of it.
            for job in batch {
                let mut alone = [job];
                let uncommitted = self.commit(&mut alone).err();
                let [job] = alone;
                job.answer(uncommitted, &self.path);
            }
        }
        // Leave a small WAL behind, when nobody else is in the way.
        let _ = self.connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(PASSIVE);");
    }

    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let turn = self.turn.take()?;
        let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
        drop(turn);
        begun?;
        let result = self.run(jobs);
        if result.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        result
    }

    fn run(&mut self, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        // Another process may have removed runs that we remember.
        let version: i64 =
            self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if version != self.data_version {
            self.data_version = version;
            self.names.forget_runs();
        }
        let names = Intern::new(&self.connection, &self.names);
        let transaction = Transaction { connection: &self.connection, names };
        for job in jobs {
            if !job.run(&transaction) {
                return Err(rusqlite::Error::ExecuteReturnedResults);
            }
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        transaction.names.committed();
        Ok(())
    }
}

/// Fair turns between processes: whoever waits for the database holds the turnstile, so the process
/// that just committed cannot begin again before it.
#[derive(Debug)]
struct Turnstile {
    file: File,
}

impl Turnstile {
    fn open(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push("-turn");
        let mut how = OpenOptions::new();
        how.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
        let file = how.open(&name).map_err(|e| {
            Error::new(ErrorKind::ReadOnly, format!("{} cannot be opened", Path::new(&name).display()))
                .because(e)
                .hint("check that this user may write in the folder")
        })?;
        Ok(Self { file })
    }

    fn take(&self) -> rusqlite::Result<Turn<'_>> {
        let mut deadline = None;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(Turn(&self.file)),
                // A file system without locks: SQLite's own waiting is all there is.
                Err(TryLockError::Error(_)) => return Ok(Turn(&self.file)),
                Err(TryLockError::WouldBlock) => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                    if Instant::now() > deadline {
                        return Err(rusqlite::Error::SqliteFailure(
                            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                            None,
                        ));
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
    }
}

struct Turn<'a>(&'a File);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
