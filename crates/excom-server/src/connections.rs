//! Connections for tasks: from the environment, from a file that is read again while the server runs, and from Airflow's
//! metadata database, where that is the one. They are never shown, and nothing of them is stored.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use excom_airflow::connections::{Connection, in_file, is_id};
use excom_core::{Error, ErrorKind, MetadataDb, Result};
use tokio::time::sleep;

/// How Airflow's environment variables with connections begin.
const PREFIX: &str = "AIRFLOW_CONN_";

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Connections by their ids. Clones are the same; by default there are none.
///
/// ```
/// use excom_server::Connections;
///
/// let environment = [("AIRFLOW_CONN_ROWS", "postgres://ana:secret@db.example/rows")];
/// let connections = Connections::new(environment, None)?;
/// assert_eq!(format!("{connections:?}"), "Connections { file: None, .. }");
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Connections(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// By the id in upper case.
    environment: BTreeMap<String, Connection>,
    file: Option<PathBuf>,
    now: RwLock<Now>,
}

/// What was read last.
#[derive(Default)]
struct Now {
    text: String,
    connections: BTreeMap<String, Connection>,
}

impl Connections {
    /// Those of environment variables, `AIRFLOW_CONN_<ID>`, each a URI or a JSON object; and of a file in JSON, as Airflow's
    /// local filesystem backend reads it. What is in the environment goes first, and behind both comes what an attached
    /// database gives. Variables of other names, and empty ones,
    /// are left out.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a connection that cannot be read, and a file that cannot be.
    pub fn new<'a>(
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
        file: Option<&Path>,
    ) -> Result<Self> {
        let named = environment.into_iter().filter_map(|(name, text)| {
            let id = name.strip_prefix(PREFIX).filter(|_| !text.trim().is_empty())?;
            Some(Connection::parse(name, text).map(|connection| (id.to_owned(), connection)))
        });
        let environment = named.collect::<Result<_>>()?;
        let now = RwLock::new(file.map(Now::read).transpose()?.unwrap_or_default());
        Ok(Self(Arc::new(Inner { environment, file: file.map(Path::to_owned), now })))
    }

    /// Reads the file again, for the requests to come. When that fails the connections stay as they are.
    ///
    /// # Errors
    /// As [`Connections::new`].
    pub fn reload(&self) -> Result<()> {
        let Some(file) = &self.0.file else { return Ok(()) };
        let text = text_of(file)?;
        if self.0.now.read().unwrap_or_else(PoisonError::into_inner).text != text {
            let now = Now::of(file, text)?;
            *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = now;
        }
        Ok(())
    }

    /// Reloads the file whenever it changes, for as long as it is polled.
    pub async fn keep(&self, warn: impl Fn(&Error)) {
        while self.0.file.is_some() {
            sleep(LOOK).await;
            self.reload().unwrap_or_else(|error| warn(&error));
        }
    }

    /// The one with an id.
    pub(crate) async fn get(&self, id: &str, db: &dyn MetadataDb) -> Result<Option<Connection>> {
        if let Some(own) = self.own(id) {
            return Ok(Some(own));
        }
        if !is_id(id) {
            return Ok(None);
        }
        db.connection(id).await?.map(|stored| Connection::stored(id, stored)).transpose()
    }

    /// The one that the environment or the file has.
    fn own(&self, id: &str) -> Option<Connection> {
        let environment = self.0.environment.get(&id.to_uppercase());
        environment.cloned().or_else(|| {
            self.0.now.read().unwrap_or_else(PoisonError::into_inner).connections.get(id).cloned()
        })
    }
}

impl Now {
    fn read(file: &Path) -> Result<Self> {
        Self::of(file, text_of(file)?)
    }

    fn of(file: &Path, text: String) -> Result<Self> {
        Ok(Self { connections: in_file(&file.display().to_string(), &text)?, text })
    }
}

fn text_of(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|cause| {
        let what = format!("the file with connections {} cannot be read", file.display());
        Error::new(ErrorKind::Configuration, what)
            .because(cause)
            .hint("check [server] connections, and that the file's mode lets this user read")
    })
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("file", &self.0.file).finish_non_exhaustive()
    }
}
