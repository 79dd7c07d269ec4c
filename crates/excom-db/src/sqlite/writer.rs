//! The one writer of a process: a connection, and a thread that commits what has gathered, together.
//!
//! Jobs arrive over a channel and answer over another, so that whoever waits needs no runtime. While a
//! transaction commits, the next jobs gather; the busier it is, the more of them share a commit.
//!
//! A small job of a caller who is alone is committed by that caller: to wake a thread and to be woken by it takes
//! longer than the commit. Whatever may take long stays with the thread: waiting for another process, for the disk
//! with each commit, and copying the log into the database. What is left to the caller is one sync of the log's head
//! whenever it begins anew, a commit in some thousand.

use std::fs::{File, OpenOptions, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use excom_core::{Error, ErrorKind, Result};
use futures_channel::oneshot;
use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::connection::{Durability, impatiently};
use super::failure::{Failure, told};
use super::names::{Intern, Names};

/// The most jobs in one transaction, so that other processes get their turn.
const BATCH: usize = 256;

/// How many pages (32 MiB) the log gathers before they are copied into the database, which waits for the disk
/// twice: the writer stands still less often, and a page that changes often is copied once.
const CHECKPOINT_PAGES: i32 = 4096;

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

/// What the thread is sent.
enum Order {
    Job(Box<dyn Job>),
    /// The log has grown: copy it.
    Checkpoint,
}

/// The handle to the writer. Dropping it lets the thread finish what it was given.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    /// How many jobs the thread was given and has not committed: they are older than what comes now.
    given: Arc<AtomicUsize>,
    /// Commits wait for the disk.
    waits: bool,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts it. What is not a file of Excom's own is not analysed, because that makes tables there.
    pub(super) fn start(
        mut connection: Connection,
        durability: Durability,
        path: &Path,
        is_own: bool,
    ) -> Result<Self> {
        let (orders, inbox) = channel();
        let turn = Turnstile::open(path)?;
        let names = Names::default();
        let log_pages = Arc::new(AtomicI32::new(0));
        let told_pages = log_pages.clone();
        // In place of SQLite's own checkpoint, which would hold up whoever commits.
        let counted = connection.wal_hook(Some(move |_: &mut Wal, pages| {
            told_pages.store(pages, Ordering::Relaxed);
            Ok(())
        }));
        counted.map_err(|e| told(e, path))?;
        let state = State { connection, names, path: path.to_owned(), turn, data_version: 0, log_pages };
        let (state, given) = (Arc::new(Mutex::new(state)), Arc::new(AtomicUsize::new(0)));
        let (served, taken) = (state.clone(), given.clone());
        let thread = std::thread::Builder::new()
            .name("excom-writer".to_owned())
            .spawn(move || serve(&served, &taken, &inbox, is_own))
            .map_err(|e| Error::new(ErrorKind::Other, "the writer thread cannot start").because(e))?;
        let waits = durability == Durability::Full;
        Ok(Self { path: path.to_owned(), state, given, waits, orders: Some(orders), thread: Some(thread) })
    }

    /// Writes, and waits until it is committed. What is small may be committed at once, by whoever polls.
    pub(super) async fn write<T, F>(&self, small: bool, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Waiting { work, result: None, reply });
        let left = if small && !self.waits { self.at_once(job) } else { Some(job) };
        if let Some(job) = left {
            self.given.fetch_add(1, Ordering::Relaxed);
            self.order(Order::Job(job))?;
        }
        answer.await.unwrap_or_else(|_| Err(stopped(&self.path)))
    }

    fn order(&self, order: Order) -> Result<()> {
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        if sent { Ok(()) } else { Err(stopped(&self.path)) }
    }

    /// Commits a job when that takes no waiting; otherwise it is left.
    fn at_once(&self, job: Box<dyn Job>) -> Option<Box<dyn Job>> {
        let Ok(mut state) = self.state.try_lock() else { return Some(job) };
        if self.given.load(Ordering::Relaxed) > 0 {
            return Some(job);
        }
        let mut alone = [job];
        let committed = impatiently(|| state.commit_now(&mut alone));
        let [job] = alone;
        match committed {
            None => return Some(job),
            Some(result) => job.answer(result.err(), &self.path),
        }
        if state.log_is_long() {
            drop(state);
            // A thread that has stopped is told to whoever writes next.
            drop(self.order(Order::Checkpoint));
        }
        None
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// What the thread does. It ends when a job has panicked, here or in a caller: nobody knows where that left the
/// connection.
fn serve(state: &Mutex<State>, given: &AtomicUsize, inbox: &Receiver<Order>, is_own: bool) {
    while let Ok(first) = inbox.recv() {
        let Ok(mut state) = state.lock() else { return };
        let gathered = inbox.try_iter().take(BATCH - 1);
        let jobs = std::iter::once(first).chain(gathered).filter_map(|order| match order {
            Order::Job(job) => Some(job),
            Order::Checkpoint => None,
        });
        let jobs: Vec<_> = jobs.collect();
        let count = jobs.len();
        state.commit_all(jobs);
        given.fetch_sub(count, Ordering::Relaxed);
        if state.log_is_long() {
            state.checkpoint();
        }
    }
    let Ok(state) = state.lock() else { return };
    // Leave a small log behind, when nobody else is in the way.
    if is_own {
        let _ = state.connection.execute_batch("PRAGMA optimize;");
    }
    state.checkpoint();
}

#[derive(Debug)]
struct State {
    connection: Connection,
    names: Names,
    path: PathBuf,
    turn: Turnstile,
    data_version: i64,
    /// How long the log is, in pages, since the last commit.
    log_pages: Arc<AtomicI32>,
}

impl State {
    fn log_is_long(&self) -> bool {
        self.log_pages.load(Ordering::Relaxed) >= CHECKPOINT_PAGES
    }

    /// Copies as much of the log into the database as no reader needs any more.
    fn checkpoint(&self) {
        // What does not succeed now is tried again after the next commit.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE);");
    }

    fn commit_all(&mut self, mut batch: Vec<Box<dyn Job>>) {
        if batch.len() > 1 && self.commit(&mut batch).is_ok() {
            batch.into_iter().for_each(|job| job.answer(None, &self.path));
            return;
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

    /// Commits, unless somebody else writes: then none.
    fn commit_now(&mut self, jobs: &mut [Box<dyn Job>]) -> Option<rusqlite::Result<()>> {
        let turn = self.turn.take_now()?;
        let begun = self.begin();
        drop(turn);
        begun.ok()?;
        Some(self.run_or_undo(jobs))
    }

    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let turn = self.turn.take()?;
        let begun = self.begin();
        drop(turn);
        begun?;
        self.run_or_undo(jobs)
    }

    fn begin(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    fn run_or_undo(&mut self, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        // A job that panics must not leave the database locked for all other processes.
        let result = catch_unwind(AssertUnwindSafe(|| self.run(jobs)));
        if !matches!(result, Ok(Ok(()))) && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        result.unwrap_or_else(|panic| resume_unwind(panic))
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

    /// The turn, unless another process has it or waits for the database.
    fn take_now(&self) -> Option<Turn<'_>> {
        match self.file.try_lock() {
            // A file system without locks: SQLite's own waiting is all there is.
            Ok(()) | Err(TryLockError::Error(_)) => Some(Turn(&self.file)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn take(&self) -> rusqlite::Result<Turn<'_>> {
        let mut deadline = None;
        loop {
            if let Some(turn) = self.take_now() {
                return Ok(turn);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
            if Instant::now() > deadline {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

struct Turn<'a>(&'a File);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
