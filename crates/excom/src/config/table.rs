//! The table of settings: section, key, type, default and meaning of each, in one place.
//!
//! The structs that programs read, the names in the environment, what `excom config` lists and the
//! search for misspelt names all come from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use excom_airflow::objects::Compression;
use excom_core::engine::{Exemption, Grant, INLINE_KEYS, KeyGlob, Ledger, Offload, Pattern, Reads, Writes};
use excom_db::sqlite::Durability;
use excom_flow::contract::Contracts;

use super::backend::Backend;
use super::environment::Secret;
use super::kind::{
    AccessLog, Age, DatabaseMode, Extras, Form, Hidden, KeySource, Kind, Listen, Mode, ObjectFormat, Refusal,
    Seconds, Size, Threshold, Traces, Url,
};
use super::{Origin, Setting, Sources};

/// What is fixed about a setting, and how to find it among [`Settings`].
#[derive(Debug)]
pub struct Spec {
    /// The section in `excom.toml`.
    pub section: &'static str,
    /// The key in its section.
    pub key: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// What may be written.
    pub allowed: &'static str,
    /// Names in the environment that are read besides [`Spec::variable`].
    pub also: &'static [Alias],
    pub(super) form: Form,
    pub(super) of: fn(&Settings) -> &dyn Slot,
    pub(super) of_mut: fn(&mut Settings) -> &mut dyn Slot,
}

/// Another name of a setting in the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alias {
    /// A short name of Excom's own: behind [`Spec::variable`], before `excom.toml`.
    Short(&'static str),
    /// Airflow's name for the same thing, which has the same section and key in `airflow.cfg`: read when nothing of
    /// Excom's sets it.
    Airflow(&'static str),
}

impl Alias {
    /// The variable's name.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Short(name) | Self::Airflow(name) => name,
        }
    }
}

/// A [`Setting`] of any type.
pub(super) trait Slot {
    fn text(&self) -> &str;
    fn origin(&self) -> &Origin;
    fn write(&mut self, text: &str, origin: Origin) -> Result<(), Refusal>;
    /// A text without what must not be shown.
    fn shown(&self, text: &str) -> String;
}

impl<T: Kind> Slot for Setting<T> {
    fn text(&self) -> &str {
        &self.text
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn write(&mut self, text: &str, origin: Origin) -> Result<(), Refusal> {
        *self = Self { value: T::parse(text)?, text: T::shown(text), origin };
        Ok(())
    }

    fn shown(&self, text: &str) -> String {
        T::shown(text)
    }
}

macro_rules! settings {
    ($(
        $(#[$about:meta])*
        [$name:literal] $section:ident: $Section:ident {
            $($(#[also($($also:expr),*)])? $key:ident: $type:ty = $default:expr, $meaning:literal;)*
        }
    )*) => {
        /// All settings, each with where it came from.
        ///
        /// ```
        /// use excom::config::{Environment, Origin, Settings, Sources};
        ///
        /// let environment = Environment::from_iter([("EXCOM__XCOM__INLINE_LIMIT", "1MiB")]);
        /// let settings = Settings::load(&Sources { environment, ..Sources::default() })?;
        /// assert_eq!(settings.xcom.inline_limit.0, 1 << 20);
        /// assert_eq!(settings.xcom.inline_limit.origin().to_string(), "EXCOM__XCOM__INLINE_LIMIT");
        /// assert_eq!(*settings.xcom.hard_limit.origin(), Origin::Default);
        /// # Ok::<(), excom::Error>(())
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Settings {
            $(
                $(#[$about])*
                pub $section: $Section,
            )*
            /// The file that was read, if there was one.
            pub file: Option<PathBuf>,
            /// What the environment says to clients of clouds (`AWS_*`, `GOOGLE_*`, `AZURE_*`), and the keys that
            /// are in it.
            pub environment: Secret<BTreeMap<String, String>>,
            /// Environment variables that override variables, by their full names (`EXCOM_VAR_<KEY>`).
            pub variable_overrides: BTreeMap<String, String>,
            /// What all of it was read from.
            pub(super) sources: Option<Secret<Sources>>,
        }

        $(
            $(#[$about])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            #[non_exhaustive]
            pub struct $Section {
                $(#[doc = $meaning] pub $key: Setting<$type>,)*
            }
        )*

        impl Default for Settings {
            fn default() -> Self {
                Self {
                    $($section: $Section { $($key: Setting::standard($default),)* },)*
                    file: None,
                    environment: Secret::default(),
                    variable_overrides: BTreeMap::new(),
                    sources: None,
                }
            }
        }

        /// Every setting, in the order of their sections.
        pub static TABLE: &[Spec] = &[$($(
            Spec {
                section: $name,
                key: stringify!($key),
                meaning: $meaning,
                allowed: <$type as Kind>::ALLOWED,
                also: &[$($($also),*)?],
                form: <$type as Kind>::FORM,
                of: |settings| &settings.$section.$key,
                of_mut: |settings| &mut settings.$section.$key,
            },
        )*)*];
    };
}

const DAY: Duration = Duration::from_secs(86_400);

settings! {
    /// `[core]`: where everything is, and how much runs at the same time.
    ["core"] core: Core {
        #[also(Alias::Short("EXCOM_HOME"))]
        home: PathBuf = PathBuf::from(".excom"),
            "The folder with the metadata database, the seal key and the values that are files. In `excom.toml` \
             a relative path begins at that file's folder.";
        #[also(Alias::Airflow("AIRFLOW__CORE__XCOM_BACKEND"))]
        xcom_backend: Backend = Backend::Database,
            "The XCom backend, which decides where values live: `database` keeps small values in the metadata \
             database and large ones as files beside it, `object_storage` and `redis` keep the large ones there, \
             `process` hands them to the program of `[xcom] backend_command`. Airflow's class names select the backend that means the same.";
        parallelism: u32 = excom_flow::runner::PARALLELISM,
            "How many tasks of a run a DAG program runs at the same time.";
        #[also(Alias::Airflow("AIRFLOW__CORE__MAX_MAP_LENGTH"))]
        max_map_length: u32 = excom_flow::runner::MAX_MAP_LENGTH,
            "How many elements a list may have that a task is expanded over, and how many instances a mapped \
             task.";
        #[also(Alias::Airflow("AIRFLOW__CORE__FERNET_KEY"))]
        fernet_key: Option<Hidden> = None,
            "What Airflow encrypts connections and variables with in its metadata database; of several keys, with commas \
             between, the newest is the first. On an attached database variables are read and written with it, and tasks get \
             those connections from `excom serve`; without it variables are written in the clear.";
    }

    /// `[common.io]`: object storage, in Airflow's names.
    ["common.io"] common_io: CommonIo {
        #[also(Alias::Airflow("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH"))]
        xcom_objectstorage_path: Option<Url> = None,
            "Where `object_storage` keeps values: `s3://bucket/prefix`, `gs://…`, `az://…`, `abfs://…` or \
             `file:///folder`. Credentials come from the usual places of the cloud. When another backend is \
             selected, values are still read from there.";
        #[also(Alias::Airflow("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD"))]
        xcom_objectstorage_threshold: Option<Threshold> = None,
            "Values of at least so many bytes go to object storage: `0` all, `-1` none. When it is not set, \
             those over `[xcom] inline_limit`.";
        #[also(Alias::Airflow("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESSION"))]
        xcom_objectstorage_compression: Compression = Compression::None,
            "How objects in Airflow's format are compressed; those in Excom's own follow `[xcom] compress_from`.";
    }

    /// `[redis]`: a Redis or Valkey that keeps values.
    ["redis"] redis: Redis {
        url: Option<Url> = None,
            "Where `redis` keeps values: `redis://user:password@host:port/db`, or `rediss://` with TLS. When another \
             backend is selected, values are still read from there.";
        ttl: Option<Age> = None,
            "How long values live there at most, whatever the retention says; `off` leaves it to the retention.";
        accept_loss: bool = false,
            "Whether a Redis may hold the only copy of a value although it can lose it: one that does not write \
             its log before it answers, or that evicts.";
        timeout: Age = Age(Duration::from_secs(5)),
            "How long one call may take.";
    }

    /// `[seal]`: the secret keys.
    ["seal"] seal: Seal {
        keys: Vec<KeySource> = Vec::new(),
            "Where the secret keys are that seal what is stored outside of the metadata database, the current one \
             first; without any, a key file that is made in the home. A source is `file:PATH`, `env:NAME` or \
             `command:PROGRAM ARGUMENTS`, with `fernet:` before it for a key in Airflow's form.";
        encrypt: bool = false,
            "Whether values that are stored outside of the metadata database are encrypted.";
    }

    /// `[logging]`: the logs of tries.
    ["logging"] logging: Logging {
        retention: Option<Age> = Some(Age(DAY.saturating_mul(30))),
            "How long after its last line a run's logs are kept; `off` keeps them. A DAG program removes older \
             ones at the end of a run.";
    }

    /// `[database]`: the metadata database.
    ["database"] database: Database {
        url: Option<Url> = None,
            "Which database: without one an SQLite file in the home, with `postgresql://user:password@host:port/name` \
             one on a PostgreSQL server, in its schema `excom`, with `mysql://…` or `mariadb://…` one on a MySQL or \
             MariaDB server, in tables `excom_…`. Attached it may be `sqlite:////folder/airflow.db` too. A driver behind \
             a plus, as SQLAlchemy writes it, is left out.";
        mode: DatabaseMode = DatabaseMode::Own,
            "Whose database `url` names: with `own` Excom's, with `attached` that of an Airflow 3, whose XComs Excom \
             reads and writes in Airflow's own table. `excom db attach` makes what Excom needs beside it, once.";
        extras: Extras = Extras::Schema,
            "What Excom has in an attached database besides Airflow's tables: with `schema` a schema `excom`, which \
             `excom db attach` makes, with `none` nothing, for who may not have one; history, ledger, offloading \
             and others are not there then.";
        connections: u32 = 12,
            "How many connections to a server a process opens at most.";
        prepare: bool = true,
            "Whether statements are prepared on connections to a server: `false` for a PgBouncer in transaction \
             mode that is older than 1.21 or has `max_prepared_statements = 0`.";
        durability: Durability = Durability::Normal,
            "What an acknowledged push survives: with `normal` the end of the process, with `full` a power \
             cut too.";
    }

    /// `[server]`: Excom over HTTP.
    ["server"] server: Server {
        listen: Listen = Listen("127.0.0.1:8794".to_owned()),
            "The address and port where `excom serve` listens; with `0.0.0.0` for an address, on all of the machine's.";
        #[also(Alias::Airflow("AIRFLOW__API_AUTH__JWT_SECRET"))]
        token_secret: Option<Hidden> = None,
            "The secret, of at least 16 bytes, that signs the tokens of tasks and people, with HS512. Whoever knows it \
             may do everything.";
        #[also(Alias::Airflow("AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH"))]
        token_private_key: Option<PathBuf> = None,
            "The file with the private key, in PEM, that signs tokens instead of a secret: RSA, P-256, P-384 or Ed25519. \
             Its public half is trusted.";
        #[also(Alias::Airflow("AIRFLOW__API_AUTH__TRUSTED_JWKS_URL"))]
        token_keys: Option<String> = None,
            "The public keys whose tokens are trusted: a file in PEM or with a JWKS, or the `https://` or `http://` \
             address of one, which is asked again every hour and for a key that is not known.";
        #[also(Alias::Airflow("AIRFLOW__API_AUTH__JWT_KID"))]
        token_kid: Option<String> = None,
            "The private key's name in tokens; when it is not set, its thumbprint (RFC 7638).";
        #[also(Alias::Airflow("AIRFLOW__API_AUTH__JWT_ALGORITHM"))]
        token_algorithm: Option<String> = None,
            "The algorithm of tokens where the key leaves a choice, such as `RS512` or `HS256`; when it is not set, \
             `HS512` for a secret and `RS256` for RSA keys.";
        #[also(Alias::Airflow("AIRFLOW__EXECUTION_API__JWT_AUDIENCE"))]
        token_audience: Vec<String> = vec![excom_airflow::execution::AUDIENCE.to_owned()],
            "Whom tasks' tokens are for: one of these, the first in those that are signed here.";
        #[also(Alias::Airflow("AIRFLOW__API_AUTH__JWT_ISSUER"))]
        token_issuer: Option<String> = None,
            "Who issues tokens: those of another issuer, or without one, are refused. When it is not set nobody looks.";
        #[also(Alias::Airflow("AIRFLOW__API_AUTH__JWT_LEEWAY"))]
        token_leeway: Seconds = Seconds(10),
            "By how much the clocks of who issues tokens and of the server may differ.";
        tls_certificate: Option<PathBuf> = None,
            "The file with the server's certificate and those between it and the root, in PEM. With it and `tls_key` the \
             server speaks TLS, and nothing else.";
        tls_key: Option<PathBuf> = None,
            "The file with the certificate's private key, in PEM.";
        access_log: AccessLog = AccessLog::Off,
            "Where a line of JSON is written for each request: `stderr`, a file, or `off`. It never has tokens, values or \
             parameters.";
        traces: Traces = Traces::Environment,
            "The OpenTelemetry collector that the server sends a span of each request, as OTLP over HTTP: its URL, to which \
             `/v1/traces` is added. When it is not set, `OTEL_EXPORTER_OTLP_ENDPOINT` and its neighbours say where; `off` \
             sends none.";
        limit_requests: Option<u32> = None,
            "How many requests a second one name in tokens may make, counted by each server; `off` does not count.";
        limit_bytes: Option<Size> = None,
            "How many bytes a second one name in tokens may send and be sent, counted by each server; `off` does not count.";
        body_limit: Size = Size(64 << 20),
            "A request with a body over this size is refused; answers with the values of several XComs stop at it.";
        longest_wait: Age = Age(Duration::from_secs(60)),
            "How long a request may wait for XComs to come.";
        connections: Option<PathBuf> = None,
            "The file, in JSON, with connections for tasks by their ids, as Airflow's local filesystem backend reads it: each a \
             URI or an object. What is in the environment as `AIRFLOW_CONN_<ID>` goes before it.";
        drain: Age = Age(Duration::from_secs(30)),
            "How long requests that are under way may take to end when the server is told to stop.";
    }

    /// `[client]`: a server that commands ask instead of opening a database.
    ["client"] client: Client {
        server: Option<Url> = None,
            "The address of an Excom server, `http://` or `https://`, that `excom xcom`, `trace` and `prune` ask instead of \
             opening a database; `--server` on the command line.";
        token: Option<Hidden> = None,
            "The token with which it is asked, as `excom token` makes it.";
        token_file: Option<PathBuf> = None,
            "A file with that token, which goes before `token`; `--token-file` on the command line.";
        authorities: Option<PathBuf> = None,
            "A file with certificates, in PEM, of authorities that are trusted besides those of the system.";
        timeout: Age = Age(Duration::from_secs(60)),
            "How long a request may go on without any progress.";
        patience: Age = Age(Duration::from_secs(30)),
            "How long a request that fails is repeated, where that is safe.";
    }

    /// `[xcom]`: values, access, and how long things are kept.
    ["xcom"] xcom: XCom {
        mode: Mode = Mode::Open,
            "With `exclusive`: `offload = \"all\"`, `writes = \"own\"`, `reads = \"run\"` and \
             `ledger = \"strict\"`, each unless it is set itself.";
        offload: Offload = Offload::Threshold,
            "Which values leave the metadata database for the backend's value store: with `threshold` those over \
             `inline_limit`, with `all` every one. The beginning of each stays as its preview.";
        inline_keys: Vec<Pattern> = INLINE_KEYS.map(Pattern::new).to_vec(),
            "Keys whose values, of up to 1 MiB, stay in the metadata database with `offload = \"all\"`. Airflow's \
             scheduler and pages read those of the default there.";
        secret_keys: Vec<KeyGlob> = Vec::new(),
            "Keys whose values are secrets, whoever pushes them, such as `*password*` or `*_token`: they are stored \
             encrypted and shown nowhere. `*` stands for any characters; upper and lower case are the same.";
        inline_limit: Size = Size(64 << 10),
            "Values up to this size are kept in the metadata database, larger ones in the value store.";
        soft_limit: Size = Size(16 << 20),
            "A push over this size is accepted with a warning.";
        hard_limit: Size = Size(1 << 30),
            "A push over this size is refused.";
        quota_run: Option<Size> = None,
            "How many bytes the values of one DAG run may have together, wherever they are: a push over it is refused. \
             Earlier versions do not count. `off` does not look.";
        quota_dag: Option<Size> = None,
            "How many bytes the values of all runs of a DAG may have together, as `quota_run`.";
        object_format: ObjectFormat = ObjectFormat::Excom,
            "The format of values in object storage: `excom`, sealed and verified piece by piece, or `airflow`, which \
             Airflow's own backend reads. Both are read whatever is set.";
        backend_command: Vec<String> = Vec::new(),
            "The program that keeps values with `xcom_backend = \"process\"`, and its arguments.";
        backend_timeout: Age = Age(Duration::from_secs(60)),
            "How long one call of that program may take.";
        also_read: Vec<Url> = Vec::new(),
            "Places where values were kept before, to be read there until they are migrated: `s3://bucket/prefix`, \
             `redis://host`.";
        compress_from: Size = Size(4 << 10),
            "Stored objects from this size on are compressed.";
        dictionaries: bool = true,
            "Whether upkeep trains a first dictionary for each DAG with many small values in the metadata database, by \
             which they are stored shorter. A dictionary that is there is used in any case; `excom dictionary train` \
             makes one by hand.";
        writes: Writes = Writes::Any,
            "Which XComs a task may push and clear: `any`, or with `own` only those of its own task instance.";
        reads: Reads = Reads::Any,
            "Which XComs a task may read: `any`, with `run` only those of its own DAG run, or with `declared` of \
             these only its own task's, those of the tasks directly before it, and those that it takes as \
             arguments. Other XComs that a template pulls are not declared.";
        grants: Vec<Grant> = Vec::new(),
            "What tasks may read beyond `reads`, in all runs: a DAG, or one task of it as DAG/TASK, reads what a \
             task of a DAG pushed, with `*` at the end for all tasks that begin so.";
        observe: bool = false,
            "Nothing is refused by `writes` and `reads`; what would be is counted for `excom xcom refusals`.";
        exempt: Vec<Exemption> = Vec::new(),
            "DAGs that `writes`, `reads` and `offload` do not bind, each up to and including a day (in UTC), for the \
             time of a migration. `excom doctor` shows them.";
        ledger: Ledger = Ledger::Batched,
            "How reads are noted: `batched` about once a second, `strict` before each answer, `off` not.";
        contracts: Contracts = Contracts::Refuse,
            "A push by hand, or what an operator returns, that is not of the type which the DAG declares: `refuse` \
             it, `warn` in the log, or `off`.";
        retention: Option<Age> = Some(Age(DAY.saturating_mul(90))),
            "How long after its push an XCom expires; `off` keeps it.";
        retention_count: Option<u32> = None,
            "How many runs of a task keep their XComs: those of the newest so many; `off` does not count.";
        retention_unread: Option<Age> = None,
            "How long after its push and its last read an XCom expires; `off` does not look at reads. Runs that go on \
             keep theirs.";
        retention_done: Option<Age> = None,
            "How long after all tasks of a run ended well its XComs expire; `off` does not look at that.";
        history: Age = Age(DAY.saturating_mul(30)),
            "How long it stays known that there was an earlier version: size, hash, who and when.";
        history_bytes: Age = Age(DAY.saturating_mul(7)),
            "How long an earlier version's bytes are kept.";
        ledger_retention: Age = Age(DAY.saturating_mul(90)),
            "How long it stays known who read what, and which events assets had.";
        abandoned_after: Age = Age(Duration::from_secs(3600)),
            "A push of a stored object that has not finished after this time counts as abandoned.";
    }
}

impl Spec {
    /// The name in the environment: `EXCOM__SECTION__KEY`.
    pub fn variable(&self) -> String {
        format!("EXCOM__{}__{}", self.section.replace('.', "_"), self.key).to_ascii_uppercase()
    }

    /// The text of the value when nothing sets it.
    pub fn default(&self) -> String {
        (self.of)(&Settings::default()).text().to_owned()
    }

    /// The value's text as it was set.
    pub fn text<'a>(&self, settings: &'a Settings) -> &'a str {
        (self.of)(settings).text()
    }

    /// Where the value came from.
    pub fn origin<'a>(&self, settings: &'a Settings) -> &'a Origin {
        (self.of)(settings).origin()
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}", self.section, self.key)
    }
}

/// The setting of a name.
pub(super) fn find(section: &str, key: &str) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| spec.section == section && spec.key == key)
}

/// The setting whose name is most like one that does not exist, when it is alike at all. The right key
/// in a wrong section is the most alike.
pub(super) fn nearest(section: &str, key: &str) -> Option<&'static Spec> {
    let score = |spec: &Spec| {
        let keys = strsim::jaro_winkler(spec.key, &key.to_ascii_lowercase());
        let sections = strsim::jaro_winkler(spec.section, &section.to_ascii_lowercase());
        (keys, keys + 0.1 * sections)
    };
    let scored = TABLE.iter().map(|spec| (score(spec), spec)).filter(|((keys, _), _)| *keys >= 0.8);
    scored.max_by(|a, b| a.0.1.total_cmp(&b.0.1)).map(|(_, spec)| spec)
}
