//! Settings: typed, each knowing where it came from.
//!
//! A setting is looked for in this order, and the first place that has it wins:
//!
//! 1. what the command line or the program says ([`Sources::home`], [`Sources::set`]);
//! 2. the environment: `EXCOM__SECTION__KEY`, then `EXCOM_HOME` for `[core] home`;
//! 3. `excom.toml`: the file that `--config` or `EXCOM_CONFIG` names, else `./excom.toml`, else
//!    `excom.toml` in the home;
//! 4. Airflow's environment where it means the same (`AIRFLOW__CORE__XCOM_BACKEND`,
//!    `AIRFLOW__CORE__MAX_MAP_LENGTH`, `AIRFLOW__API_AUTH__JWT_SECRET` and its neighbours, `AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH` and its neighbours), and then
//!    the same in its `airflow.cfg`, where `AIRFLOW_CONFIG` or `AIRFLOW_HOME` names one that is there;
//! 5. the default.
//!
//! A name that does not exist is an error in each of these places, and tells the nearest one that does.

mod airflow;
mod backend;
mod environment;
mod file;
mod kind;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use excom_core::engine::{self, Ledger, Offload, Reads, Writes};
use excom_core::{Error, ErrorKind, Result};

pub use backend::Backend;
pub use environment::{Environment, Secret};
pub use excom_airflow::objects::Compression;
pub use excom_db::sqlite::Durability;
pub use kind::{
    AccessLog, Age, DatabaseMode, Extras, Hidden, KeyPlace, KeySource, Listen, Mode, ObjectFormat, Seconds,
    Size, Threshold, Traces, Url,
};
pub use table::{
    Alias, Client, CommonIo, Core, Database, Logging, Redis, Seal, Server, Settings, Spec, TABLE, XCom,
};

use kind::{Kind, Refusal};

/// A setting's value and where it came from. Reads as the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    value: T,
    text: String,
    origin: Origin,
}

impl<T> Setting<T> {
    /// The value's text as it was set.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

#[allow(private_bounds, reason = "the types of settings are a closed set")]
impl<T: Kind> Setting<T> {
    fn standard(value: T) -> Self {
        Self { text: value.text(), value, origin: Origin::Default }
    }

    fn put(&mut self, value: T, origin: Origin) {
        *self = Self { text: value.text(), value, origin };
    }
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Where a setting's value came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Nothing set it.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
    /// The program itself.
    Program,
    /// Another setting that sets this one too, and where that came from.
    Preset(&'static str, Box<Self>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
            Self::Program => f.write_str("the program"),
            Self::Preset(setting, origin) => write!(f, "{setting}, {origin}"),
        }
    }
}

/// What settings are read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The environment.
    pub environment: Environment,
    /// The home that a flag gives.
    pub home: Option<PathBuf>,
    /// The file that a flag names.
    pub config: Option<PathBuf>,
    /// `section.key` and value, as flags give them.
    pub set: Vec<(String, String)>,
    /// Where relative paths begin; the current folder when empty.
    pub folder: PathBuf,
}

impl Settings {
    /// The settings from all sources.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] that names the place (file and line, variable or flag), the
    /// setting, its value and what is allowed; for a misspelt name, the nearest one; for two settings
    /// that contradict each other, both. Of several that are wrong in Excom's own sources it names each; what is wrong in
    /// Airflow's, and what contradicts, one by one.
    pub fn load(sources: &Sources) -> Result<Self> {
        let mut settings = Self::default();
        // The home may hold the file, so what stands above the file is asked for it first.
        let mut home = Self::default();
        // What is wrong is told below.
        drop(home.apply_above_file(sources));
        settings.file = file::locate(sources, &sources.folder.join(&*home.core.home))?;
        let mut wrong = Vec::new();
        if let Some(path) = settings.file.clone() {
            let (lines, others) = file::read(&path)?;
            wrong = others;
            for line in lines {
                wrong.extend(settings.write(line.spec, &line.text, line.origin).err());
            }
        }
        wrong.extend(settings.apply_above_file(sources));
        unless_wrong(wrong)?;
        settings.apply_airflow(&sources.environment)?;
        if let Some(path) = airflow::locate(&sources.environment, &sources.folder) {
            for line in airflow::read(&path)? {
                if *line.spec.origin(&settings) == Origin::Default {
                    settings.write(line.spec, &line.text, line.origin)?;
                }
            }
        }
        let base = match &settings.core.home.origin {
            Origin::File { path, .. } => path.parent().unwrap_or(Path::new("")).to_owned(),
            _ => sources.folder.clone(),
        };
        settings.core.home.value = base.join(&settings.core.home.value);
        settings.variable_overrides = sources.environment.variable_overrides();
        let keys = settings.seal.keys.iter().filter_map(|key| match &key.place {
            KeyPlace::Environment(name) => Some(name.as_str()),
            _ => None,
        });
        settings.environment = sources.environment.secrets(keys);
        settings.check()?;
        settings.sources = Some(Secret(sources.clone()));
        Ok(settings)
    }

    /// The settings as the same sources give them now, for what goes on while the file is changed; none when they
    /// came from no sources.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub(crate) fn again(&self) -> Result<Option<Self>> {
        self.sources.as_ref().map(|sources| Self::load(&sources.0)).transpose()
    }

    /// The defaults, with everything in a folder of its own: for programs and tests.
    ///
    /// ```
    /// let settings = excom::config::Settings::at("/var/lib/weather");
    /// assert_eq!(*settings.core.home, std::path::Path::new("/var/lib/weather"));
    /// ```
    pub fn at(home: impl Into<PathBuf>) -> Self {
        let mut settings = Self::default();
        settings.core.home.put(home.into(), Origin::Program);
        settings
    }

    /// The same settings with one changed by the program: `"xcom.inline_limit"`, `"1MiB"`.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn with(mut self, name: &str, text: &str) -> Result<Self> {
        self.write(named(name, &Origin::Program)?, text, Origin::Program)?;
        self.check()?;
        Ok(self)
    }

    /// The environment in Excom's own names, and the flags; what is wrong about some of them.
    fn apply_above_file(&mut self, sources: &Sources) -> Vec<Error> {
        let mut wrong = Vec::new();
        for spec in TABLE {
            for alias in spec.also {
                if let Alias::Short(name) = alias
                    && let Some(text) = sources.environment.get(name)
                {
                    wrong.extend(self.write(spec, text, Origin::Environment((*name).to_owned())).err());
                }
            }
        }
        for (variable, text) in sources.environment.behind("EXCOM__") {
            let origin = Origin::Environment(variable.to_owned());
            let spec = TABLE.iter().find(|spec| spec.variable() == variable).ok_or_else(|| {
                let name = variable.trim_start_matches("EXCOM__").to_ascii_lowercase();
                let (section, key) = name.split_once("__").unwrap_or(("", &name));
                unknown(Some(&origin), section, key)
            });
            wrong.extend(spec.and_then(|spec| self.write(spec, text, origin)).err());
        }
        for (name, text) in &sources.set {
            let origin = Origin::Flag("--set".to_owned());
            wrong.extend(named(name, &origin).and_then(|spec| self.write(spec, text, origin)).err());
        }
        if let Some(home) = &sources.home {
            self.core.home.put(home.clone(), Origin::Flag("--home".to_owned()));
        }
        wrong
    }

    /// Airflow's names for what nothing of Excom's sets. Empty selects Airflow's default there, so it sets
    /// nothing here.
    fn apply_airflow(&mut self, environment: &Environment) -> Result<()> {
        for spec in TABLE {
            for alias in spec.also {
                if let Alias::Airflow(name) = alias
                    && *spec.origin(self) == Origin::Default
                    && let Some(text) = environment.first(&[name])
                {
                    self.write(spec, text, Origin::Environment((*name).to_owned()))?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, spec: &Spec, text: &str, origin: Origin) -> Result<()> {
        let (place, slot) = (origin.to_string(), (spec.of_mut)(self));
        let shown = slot.shown(text);
        slot.write(text, origin).map_err(|Refusal { why, hints }| {
            let error = Error::new(ErrorKind::Configuration, format!("{place}: {spec} = \"{shown}\" {why}"));
            let error = error.hint(format!("{spec} takes {}", spec.allowed));
            hints.into_iter().fold(error, Error::hint)
        })
    }

    /// Lets defaults give way to what was set, and refuses contradictions.
    fn check(&mut self) -> Result<()> {
        self.database.check()?;
        self.server.check()?;
        self.client.check()?;
        let xcom = &mut self.xcom;
        xcom.apply_mode();
        if xcom.hard_limit.0 == 0 {
            return Err(no_zero("hard_limit", &xcom.hard_limit, "nothing could be pushed"));
        }
        if xcom.abandoned_after.0.is_zero() {
            return Err(no_zero(
                "abandoned_after",
                &xcom.abandoned_after,
                "every push would count as abandoned",
            ));
        }
        at_most("inline_limit", &mut xcom.inline_limit, "hard_limit", &xcom.hard_limit)?;
        at_most("soft_limit", &mut xcom.soft_limit, "hard_limit", &xcom.hard_limit)?;
        at_most("history_bytes", &mut xcom.history_bytes, "history", &xcom.history)?;
        if let Some(unread) = *xcom.retention_unread {
            let retention = &xcom.retention_unread;
            let known = match *xcom.ledger {
                engine::Ledger::Off => Err(format!("[xcom] ledger = off (from {})", xcom.ledger.origin)),
                _ if unread > *xcom.ledger_retention => Err(format!(
                    "[xcom] ledger_retention = {} (from {})",
                    xcom.ledger_retention.text, xcom.ledger_retention.origin
                )),
                _ => Ok(()),
            };
            known.map_err(|why| {
                let set = format!("[xcom] retention_unread = {} (from {})", retention.text, retention.origin);
                let message = format!("{set} needs to know what was read so long ago, and {why} forgets it");
                Error::new(ErrorKind::Configuration, message)
                    .hint("set retention_unread = \"off\", or let the ledger know for as long")
            })?;
        }
        if xcom.inline_limit.0 > MOST_INLINE.0 {
            let limit = &xcom.inline_limit;
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("[xcom] inline_limit = {} (from {}) is over {MOST_INLINE}", limit.text, limit.origin),
            )
            .hint(
                "values in the metadata database are whole in memory; let larger ones be files beside it",
            ));
        }
        Ok(())
    }
}

impl Database {
    /// Attached, it is one that Airflow may have.
    fn check(&self) -> Result<()> {
        let told = match (*self.mode, &*self.url) {
            (DatabaseMode::Own, _) => return Ok(()),
            (DatabaseMode::Attached, Some(url))
                if url.is_postgres() || url.is_mysql() || url.sqlite_file().is_some() =>
            {
                return Ok(());
            }
            (DatabaseMode::Attached, Some(url)) => format!("is {url} (from {})", self.url.origin),
            (DatabaseMode::Attached, None) => "is not set".to_owned(),
        };
        Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "[database] mode = attached (from {}) needs Airflow's database, and [database] url {told}",
                self.mode.origin
            ),
        )
        .hint("set [database] url to Airflow's own [database] sql_alchemy_conn, postgresql:// or mysql://USER:PASSWORD@HOST:PORT/DATABASE, or sqlite:////FOLDER/airflow.db")
        .hint("or leave mode out: then the database is Excom's own"))
    }
}

impl Server {
    /// Tokens are signed in one way, and TLS has both of its files.
    fn check(&self) -> Result<()> {
        let set = |origin: &Origin, key: &str| format!("[server] {key} (from {origin})");
        if self.token_secret.is_some() {
            let (private, public) = (&self.token_private_key, &self.token_keys);
            let other = private.as_ref().map(|_| set(&private.origin, "token_private_key"));
            let other = other.or_else(|| public.as_ref().map(|_| set(&public.origin, "token_keys")));
            if let Some(other) = other {
                let secret = set(&self.token_secret.origin, "token_secret");
                let what = format!(
                    "{secret} and {other} are both set, and tokens are signed by a secret or by keys"
                );
                return Err(Error::new(ErrorKind::Configuration, what)
                    .hint("leave one of them out, or set it to nothing where it is not wanted"));
            }
        }
        let (certificate, key) = (&self.tls_certificate, &self.tls_key);
        let missing = match (&**certificate, &**key) {
            (Some(_), None) => Some((set(&certificate.origin, "tls_certificate"), "tls_key")),
            (None, Some(_)) => Some((set(&key.origin, "tls_key"), "tls_certificate")),
            _ => None,
        };
        missing.map_or(Ok(()), |(set, missing)| {
            let what = format!("{set} is set and [server] {missing} is not, and TLS needs both");
            Err(Error::new(ErrorKind::Configuration, what).hint(format!("set {missing} too")))
        })
    }
}

impl Client {
    /// The server is one of HTTP.
    fn check(&self) -> Result<()> {
        match &*self.server {
            Some(url) if !matches!(url.scheme(), "http" | "https") => {
                let set = format!("[client] server = {url} (from {})", self.server.origin);
                Err(Error::new(ErrorKind::Configuration, format!("{set} is none of http:// or https://"))
                    .hint("write it as http://127.0.0.1:8794 or https://excom.example"))
            }
            _ => Ok(()),
        }
    }
}

impl XCom {
    /// Sets what the mode sets, where nothing else does.
    fn apply_mode(&mut self) {
        let exclusive = *self.mode == Mode::Exclusive;
        let origin = exclusive
            .then(|| Origin::Preset("[xcom] mode = \"exclusive\"", Box::new(self.mode.origin.clone())));
        preset(&mut self.offload, Offload::All, origin.as_ref());
        preset(&mut self.writes, Writes::Own, origin.as_ref());
        preset(&mut self.reads, Reads::Run, origin.as_ref());
        preset(&mut self.ledger, Ledger::Strict, origin.as_ref());
    }
}

/// Gives a setting that nothing sets a preset value, or without one its default again.
fn preset<T: Kind + Default>(setting: &mut Setting<T>, value: T, origin: Option<&Origin>) {
    if matches!(setting.origin, Origin::Default | Origin::Preset(..)) {
        match origin {
            Some(origin) => setting.put(value, origin.clone()),
            None => *setting = Setting::standard(T::default()),
        }
    }
}

/// The largest inline limit: rows of a database end at about 1 GB, and the value is in memory with its copies.
pub(crate) const MOST_INLINE: Size = Size(256 << 20);

/// Refuses an `[xcom]` setting that is over another. A default that nobody set gives way instead.
fn at_most<T: PartialOrd + Clone>(
    key: &str,
    low: &mut Setting<T>,
    over: &str,
    high: &Setting<T>,
) -> Result<()> {
    if low.value <= high.value {
        return Ok(());
    }
    if low.origin == Origin::Default {
        low.value = high.value.clone();
        low.text.clone_from(&high.text);
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Configuration,
        format!(
            "[xcom] {key} = {} (from {}) is over [xcom] {over} = {} (from {})",
            low.text, low.origin, high.text, high.origin
        ),
    )
    .hint(format!("lower {key}, or raise {over}")))
}

fn no_zero<T>(key: &str, setting: &Setting<T>, why: &str) -> Error {
    let what = format!("[xcom] {key} = {} (from {}): {why}", setting.text, setting.origin);
    Error::new(ErrorKind::Configuration, what).hint(format!("give {key} something above zero"))
}

/// Tells all that is wrong as one error.
fn unless_wrong(mut wrong: Vec<Error>) -> Result<()> {
    if wrong.len() <= 1 {
        return wrong.pop().map_or(Ok(()), Err);
    }
    let told: Vec<String> = wrong.iter().map(Error::to_string).collect();
    let message = format!("{} settings are wrong: {}", wrong.len(), told.join("; "));
    let mut hints: Vec<&String> = Vec::new();
    for hint in wrong.iter().flat_map(Error::hints) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    Err(hints.into_iter().fold(Error::new(ErrorKind::Configuration, message), Error::hint))
}

/// The setting of a section and a key.
///
/// # Errors
/// [`ErrorKind::Configuration`] with the nearest name when there is none.
pub fn find(section: &str, key: &str) -> Result<&'static Spec> {
    table::find(section, key).ok_or_else(|| unknown(None, section, key))
}

/// The setting that `section.key` names.
fn named(name: &str, origin: &Origin) -> Result<&'static Spec> {
    let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
    table::find(section, key).ok_or_else(|| unknown(Some(origin), section, key))
}

/// The error about a name that is not in the table.
fn unknown(origin: Option<&Origin>, section: &str, key: &str) -> Error {
    let place = origin.map_or(String::new(), |origin| format!("{origin}: "));
    let name = match (section, key) {
        ("", key) => format!("`{key}`"),
        (section, "") => format!("`{section}`"),
        (section, key) => format!("[{section}] {key}"),
    };
    let error = Error::new(ErrorKind::Configuration, format!("{place}there is no setting {name}"));
    match table::nearest(section, key) {
        Some(near) => error.hint(format!("nearest: {near}")),
        None => error.hint("`excom config list` shows all settings"),
    }
}

impl From<&Settings> for engine::Settings {
    fn from(settings: &Settings) -> Self {
        let xcom = &settings.xcom;
        Self {
            soft_limit: xcom.soft_limit.0,
            hard_limit: xcom.hard_limit.0,
            quota_run: xcom.quota_run.map(|size| size.0),
            quota_dag: xcom.quota_dag.map(|size| size.0),
            offload: *xcom.offload,
            inline_keys: xcom.inline_keys.to_vec(),
            secret_keys: xcom.secret_keys.to_vec(),
            access: engine::Access {
                writes: *xcom.writes,
                reads: *xcom.reads,
                grants: xcom.grants.to_vec(),
                observe: *xcom.observe,
                exempt: xcom.exempt.to_vec(),
                writes_from: from(&xcom.writes),
                reads_from: from(&xcom.reads),
            },
            ledger: *xcom.ledger,
            retention: engine::Retention {
                entries: xcom.retention.map(|age| age.0),
                count: *xcom.retention_count,
                unread: xcom.retention_unread.map(|age| age.0),
                done: xcom.retention_done.map(|age| age.0),
                history: xcom.history.0,
                history_bytes: xcom.history_bytes.0,
                ledger: xcom.ledger_retention.0,
            },
            abandoned_after: xcom.abandoned_after.0,
            dictionaries: *xcom.dictionaries,
        }
    }
}

/// Where a rule was set, as far as there is one.
fn from<T: PartialEq + Default>(rule: &Setting<T>) -> String {
    if rule.value == T::default() { String::new() } else { rule.origin.to_string() }
}
