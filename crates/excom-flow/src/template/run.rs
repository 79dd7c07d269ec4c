//! One rendering: what it pulled, and how much it may still make.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use excom_core::Answer;
use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, State, Value};

use super::args::fail;
use crate::instance::TaskInstance;

/// The longest text or list that a template makes, in bytes.
pub(super) const LARGEST: usize = 16 << 20;

/// How much a template makes in all before it ends, in bytes.
const MOST: usize = 256 << 20;

/// The name under which functions find it.
pub(super) const NAME: &str = "__run";

/// A pull that a template made.
#[derive(Debug, Clone)]
pub(super) struct Pulled {
    /// Whose XCom, and which.
    pub(super) asked: String,
    /// The answer, when it had no value.
    pub(super) missing: Option<Answer>,
}

/// One rendering.
pub(super) struct Run {
    pub(super) ti: TaskInstance,
    /// What it prints is read by a shell.
    pub(super) shell: bool,
    spent: AtomicUsize,
    printed: AtomicUsize,
    pulled: Mutex<Vec<Pulled>>,
    lone: Mutex<Option<Value>>,
    shell_reads: Mutex<ShellReads>,
}

/// What decides whether a shell may read what is printed.
#[derive(Default)]
struct ShellReads {
    /// The last pull or variable.
    read: Option<String>,
    /// The first printed character that is not plain.
    suspect: Option<char>,
    /// The texts that `safe` made, by address. They are kept, so that no other text gets the address of one.
    code: HashMap<usize, Value>,
}

/// Where a text lies, which tells it from an equal one.
fn address(value: &Value) -> Option<usize> {
    value.as_str().map(|text| text.as_ptr().addr())
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({:?})", self.ti)
    }
}

impl Object for Run {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    pub(super) fn new(ti: &TaskInstance, shell: bool) -> Arc<Self> {
        Arc::new(Self {
            ti: ti.clone(),
            shell,
            spent: AtomicUsize::new(0),
            printed: AtomicUsize::new(0),
            pulled: Mutex::default(),
            lone: Mutex::default(),
            shell_reads: Mutex::default(),
        })
    }

    /// The run that a function is called in.
    ///
    /// # Errors
    /// When a template hid it, which names that begin with `__` cannot.
    pub(super) fn of(state: &State<'_, '_>) -> Result<Arc<Self>, Error> {
        let run = state.lookup(NAME).and_then(|run| run.downcast_object());
        run.ok_or_else(|| fail("the template has lost its run"))
    }

    /// Notes that so many bytes are about to be made.
    ///
    /// # Errors
    /// When that is too much, before anything is made.
    pub(super) fn spend(&self, bytes: usize) -> Result<(), Error> {
        if bytes > LARGEST {
            return Err(fail(format!("a text or list would be over {} MiB", LARGEST >> 20)));
        }
        if self.spent.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > MOST {
            return Err(fail(format!("the template makes over {} MiB in all", MOST >> 20)));
        }
        Ok(())
    }

    /// Notes that so many bytes are about to be printed.
    ///
    /// # Errors
    /// When a template prints too much.
    pub(super) fn print(&self, bytes: usize) -> Result<(), Error> {
        if self.printed.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > LARGEST {
            return Err(fail(format!("the template prints over {} MiB", LARGEST >> 20)));
        }
        self.spend(bytes)
    }

    pub(super) fn note(&self, pulled: Pulled) {
        self.note_read(format!("pulled {}", pulled.asked));
        locked(&self.pulled).push(pulled);
    }

    /// Notes that the template read what others wrote.
    pub(super) fn note_read(&self, read: String) {
        locked(&self.shell_reads).read = Some(read);
    }

    /// Notes that a character was printed that a shell may not read once the template has read something.
    pub(super) fn suspect(&self, character: char) {
        locked(&self.shell_reads).suspect.get_or_insert(character);
    }

    /// The character that must not be printed, and what was read.
    pub(super) fn refused(&self) -> Option<(char, String)> {
        let reads = locked(&self.shell_reads);
        reads.suspect.zip(reads.read.clone())
    }

    /// A text that the template says is code.
    ///
    /// # Errors
    /// When the template makes too much.
    pub(super) fn code(&self, text: String) -> Result<Value, Error> {
        self.spend(text.len())?;
        let value = Value::from_safe_string(text);
        if let Some(address) = address(&value).filter(|_| self.shell) {
            locked(&self.shell_reads).code.insert(address, value.clone());
        }
        Ok(value)
    }

    /// Whether it is a text that the template said is code.
    pub(super) fn is_code(&self, value: &Value) -> bool {
        let marked = |address| {
            locked(&self.shell_reads).code.get(&address).is_some_and(|code| code.as_str() == value.as_str())
        };
        value.is_safe() && address(value).is_some_and(marked)
    }

    pub(super) fn pulled(&self) -> Vec<Pulled> {
        locked(&self.pulled).clone()
    }

    /// Keeps the value that was printed last.
    pub(super) fn keep(&self, value: &Value) {
        *locked(&self.lone) = Some(value.clone());
    }

    pub(super) fn kept(&self) -> Option<Value> {
        locked(&self.lone).take()
    }
}
