//! `excom doctor`: what is loaded, from which setting, and whether it works.
//!
//! Each thing looked at is a [`Check`]; one that cannot be looked at is a problem with what to do, and
//! never keeps the others from being told.

mod access;
mod database;
mod orphans;
mod round_trip;

use std::collections::BTreeMap;
use std::path::Path;

use clap::ArgMatches;
use excom::config::{Backend, DatabaseMode, Extras, Settings, Spec, find};
use excom::core::db::Health;
use excom::core::engine::Offload;
use excom::core::store::Side;
use excom::embedded::{self, Home};
use excom::{Engine, Error};
use serde_json::{Value as Json, json};

use crate::context::{self, Context};
use crate::output::{Output, Style};
use crate::stop::Stop;
use crate::text;

/// One line of the report.
#[derive(Debug)]
struct Check {
    name: &'static str,
    text: String,
    data: Json,
    verdict: Verdict,
}

#[derive(Debug)]
enum Verdict {
    /// Shown, not judged.
    Told,
    Fine,
    Problem {
        what: String,
        hints: Vec<String>,
    },
}

impl Check {
    fn told(name: &'static str, text: impl Into<String>, data: Json) -> Self {
        Self { name, text: text.into(), data, verdict: Verdict::Told }
    }

    fn fine(name: &'static str, text: impl Into<String>, data: Json) -> Self {
        Self { verdict: Verdict::Fine, ..Self::told(name, text, data) }
    }

    fn failed(name: &'static str, text: impl Into<String>, error: &Error) -> Self {
        let verdict = Verdict::Problem { what: error.to_string(), hints: error.hints().to_vec() };
        Self { verdict, ..Self::told(name, text, json!({"code": error.code()})) }
    }

    fn problem(self, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem { what: what.into(), hints: vec![hint.into()] }, ..self }
    }

    fn is_problem(&self) -> bool {
        matches!(self.verdict, Verdict::Problem { .. })
    }

    fn document(&self) -> Json {
        let mut document =
            json!({"name": self.name, "text": self.text, "ok": !self.is_problem(), "data": self.data});
        if let Verdict::Problem { what, hints } = &self.verdict {
            document["problem"] = json!(what);
            document["hints"] = json!(hints);
        }
        document
    }
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let checks = match context.settings() {
        Ok(settings) if matches.get_flag("database") => database::look(&settings),
        Ok(settings) => look(context, &settings, output).await,
        Err(error) => vec![Check::failed("settings", "cannot be read", &error)],
    };
    let ok = !checks.iter().any(Check::is_problem);
    if output.json() {
        let checks: Vec<Json> = checks.iter().map(Check::document).collect();
        output.document(&json!({"ok": ok, "excom": env!("CARGO_PKG_VERSION"), "checks": checks}))?;
    } else {
        for check in &checks {
            print(check, output)?;
        }
    }
    if ok { Ok(()) } else { Err(Stop::Told(1)) }
}

fn print(check: &Check, output: &mut Output) -> Result<(), Stop> {
    let name = output.styled(Style::Heading, &format!("{:<11}", check.name));
    let line = format!("{name} {}", text::tame(&check.text));
    match &check.verdict {
        Verdict::Told => output.line(&line),
        Verdict::Fine => output.line(&format!("{line}   {}", output.styled(Style::Good, "ok"))),
        Verdict::Problem { what, hints } => {
            output.line(&format!("{line}   {}", output.styled(Style::Bad, "problem")))?;
            output.line(&format!("  {}", text::tame(what)))?;
            hints.iter().try_for_each(|hint| output.line(&format!("  {}", text::tame(hint))))
        }
    }
}

async fn look(context: &Context, settings: &Settings, output: &mut Output) -> Vec<Check> {
    let home = Home::of(settings);
    let file = settings.file.as_ref().map(|path| shown(path));
    let mut checks = vec![
        Check::told("excom", env!("CARGO_PKG_VERSION"), Json::Null),
        Check::told(
            "settings",
            file.clone().unwrap_or_else(|| "no excom.toml".to_owned()),
            json!({"file": file}),
        ),
        setting("home", "core", "home", &shown(home.folder()), settings),
        setting("backend", "core", "xcom_backend", settings.core.xcom_backend.text(), settings),
    ];
    match context.engine_of(settings) {
        Ok(engine) => {
            checks.push(store(&engine, settings).await);
            checks.extend(uploads(settings));
            metadata(&engine, settings, &mut checks).await;
            checks.push(key(&engine, settings).await);
            access::look(&engine, settings, &mut checks).await;
            checks.push(orphans::look(&engine, settings).await);
            round_trip::run(&engine, settings, &mut checks).await;
            context::close(&engine, output).await;
        }
        Err(error) => checks.push(Check::failed("metadata", place(settings), &error)),
    }
    checks
}

/// Where the metadata database is.
fn place(settings: &Settings) -> String {
    match &*settings.database.url {
        Some(url) => url.to_string(),
        None => format!("sqlite {}", shown(&Home::of(settings).database())),
    }
}

/// A path from the root, so that the report means the same wherever it is read.
fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// A setting with its origin.
fn setting(name: &'static str, section: &str, key: &str, value: &str, settings: &Settings) -> Check {
    let origin = find(section, key).map(|spec: &Spec| spec.origin(settings).to_string()).unwrap_or_default();
    let from = if origin == "default" { "by default".to_owned() } else { format!("from {origin}") };
    Check::told(name, format!("{value}   {from}"), json!({"value": value, "origin": origin}))
}

async fn store(engine: &Engine, settings: &Settings) -> Check {
    let backend = engine.backend();
    let which = match *settings.xcom.offload {
        Offload::Threshold => format!("values over {}", settings.xcom.inline_limit.text()),
        Offload::All => format!("all values but of {}", settings.xcom.inline_keys.text()),
    };
    let told = match *settings.core.xcom_backend {
        // A program's own backend says itself what it is.
        Backend::Database if backend.store() == Some("files") => {
            format!("files in {}   {which}", shown(&Home::of(settings).values()))
        }
        _ => format!("{backend}   {which}"),
    };
    let data = json!({"id": backend.store(), "backend": backend.to_string()});
    match backend.check().await {
        Ok(()) => Check::fine("store", told, data),
        Err(error) => Check::failed("store", told, &error),
    }
}

/// What the bucket must see to itself, when it keeps unfinished uploads: no list of objects shows them.
fn uploads(settings: &Settings) -> Option<Check> {
    let path = settings.common_io.xcom_objectstorage_path.as_ref()?;
    let scheme = path.scheme().to_ascii_lowercase();
    let keeps = matches!(scheme.as_str(), "s3" | "s3a" | "gs" | "gcs");
    (keeps && *settings.core.xcom_backend == Backend::ObjectStorage).then(|| {
        let told = "what killed processes leave unfinished is removed by a lifecycle rule of the bucket alone, \
                    AbortIncompleteMultipartUpload (docs/values.md)";
        Check::told("uploads", told, json!({"rule": "AbortIncompleteMultipartUpload"}))
    })
}

async fn metadata(engine: &Engine, settings: &Settings, checks: &mut Vec<Check>) {
    let home = Home::of(settings);
    let place = place(settings);
    let health = match engine.db().health().await {
        Ok(health) => health,
        Err(error) => return checks.push(Check::failed("metadata", place, &error)),
    };
    let durability = match &*settings.database.url {
        Some(url) if !url.scheme().starts_with("sqlite") => "the server's".to_owned(),
        _ => settings.database.durability.text().to_owned(),
    };
    let whose = match *settings.database.mode {
        DatabaseMode::Own => "own",
        DatabaseMode::Attached => health.identity.rsplit(", ").next().unwrap_or("attached"),
    };
    let told = format!("{place}   {whose}, schema {}, durability {durability}", health.schema);
    let check = Check::fine("metadata", told, json!(health));
    if *settings.database.mode == DatabaseMode::Attached && *settings.database.extras == Extras::None {
        let without =
            embedded::database::schema(settings).ok().and_then(|schema| schema.without).unwrap_or_default();
        let origin = settings.database.extras.origin();
        checks.push(Check::told(
            "extras",
            format!("none   from {origin}   {without}"),
            json!({"without": without}),
        ));
    }
    checks.push(match health.problems.is_empty() {
        true => check,
        false => {
            check.problem(health.problems.join("; "), "restore a backup, or begin anew in another folder")
        }
    });
    checks.push(entries(engine, &health).await);
    let (values, files) = folder_size(&home.values());
    let (database, values) = (text::size(health.bytes), text::size(values));
    let told = format!("{database} in the database, {values} in {}", text::count(files, "file"));
    checks.push(Check::told("size", told, json!({"database_bytes": health.bytes, "files": files})));
    checks.extend(dictionary(engine).await);
}

/// How many entries there are, and whether values are elsewhere than the loaded backend puts them.
async fn entries(engine: &Engine, health: &Health) -> Check {
    let total = text::number(health.entries);
    let places = match engine.db().places().await {
        Ok(places) => places,
        Err(error) => return Check::failed("entries", total, &error),
    };
    let data = json!({"entries": health.entries, "places": places});
    let current = engine.backend().store();
    // Both sides of a store are one place.
    let mut elsewhere = BTreeMap::<&str, u64>::new();
    for place in &places {
        let id = place.store.as_deref().map(|store| Side::split(store).0);
        if let Some(id) = id.filter(|_| id != current) {
            *elsewhere.entry(id).or_default() += place.entries;
        }
    }
    let mut told = Vec::new();
    for (id, entries) in elsewhere {
        let shown = match engine.backends().find(|backend| backend.store() == Some(id)) {
            Some(backend) => backend.to_string(),
            None => match embedded::place_of_store(&**engine.db(), id).await {
                Ok(Some(place)) => format!("{place}, which is not in the settings"),
                _ => format!("`{id}`"),
            },
        };
        told.push(format!("{} in {shown}", text::number(entries)));
    }
    if told.is_empty() {
        return Check::fine("entries", format!("{total}, all written with this backend"), data);
    }
    Check::told("entries", total, data).problem(
        format!("values are where another backend put them: {}", told.join(", ")),
        "they are read from there; `excom migrate-values` moves them to the backend that is loaded",
    )
}

/// What dictionaries save, if there are any.
async fn dictionary(engine: &Engine) -> Option<Check> {
    let dictionaries = match engine.db().dictionaries(None).await {
        Ok(dictionaries) => dictionaries,
        Err(error) => return Some(Check::failed("dictionary", "cannot be read", &error)),
    };
    // In order of their numbers: the newest of each DAG counts.
    let newest: BTreeMap<_, _> =
        dictionaries.iter().map(|it| (it.dag_id.to_string(), it.gain.percent())).collect();
    let told: Vec<String> =
        newest.iter().map(|(dag_id, percent)| format!("{dag_id} saves {percent}%")).collect();
    (!told.is_empty()).then(|| Check::told("dictionary", told.join(", "), json!(newest)))
}

async fn key(engine: &Engine, settings: &Settings) -> Check {
    let (keys, path) = (engine.keys(), Home::of(settings).seal_key());
    let (fingerprint, ids) = (keys.current_id(), keys.ids());
    let others = match ids.len() {
        1 => String::new(),
        all => format!("   and {}", text::count(all as u64 - 1, "older key")),
    };
    let own = settings.seal.keys.is_empty();
    let place = if own { shown(&path) } else { format!("[seal] keys, from {}", settings.seal.keys.origin()) };
    let told = format!("fingerprint {fingerprint}   in {place}{others}");
    let check = Check::fine("key", told, json!({"fingerprint": fingerprint, "keys": ids}));
    if own && others_may_read(&path) {
        let why = "others may read the seal key, and could make values that pass for Excom's own";
        return check.problem(why, format!("chmod 600 {}", shown(&path)));
    }
    check
}

#[cfg(unix)]
fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_: &Path) -> bool {
    false
}

/// Bytes and number of all files under a folder. What goes away meanwhile is not counted.
fn folder_size(folder: &Path) -> (u64, u64) {
    let (mut bytes, mut files) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => {
                    bytes += found.len();
                    files += 1;
                }
                Err(_) => {}
            }
        }
    }
    (bytes, files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_that_keep_unfinished_uploads_are_told_of() {
        let told = |backend: &str, path: &str| {
            let settings = Settings::at("home").with("core.xcom_backend", backend).unwrap();
            uploads(&settings.with("common.io.xcom_objectstorage_path", path).unwrap()).is_some()
        };
        assert!(told("object_storage", "s3://b/p") && told("object_storage", "GS://b"));
        assert!(!told("object_storage", "az://c/p") && !told("object_storage", "file:///xcom"));
        assert!(!told("database", "s3://b/p"), "only read");
    }
}
