//! Where objects lie: `<base>/<dag_id>/<run_id>/<task_id>/<uuid>[.suffix]`, ids as they are; and which
//! texts are references to them.

use std::fmt;
use std::str::FromStr;

use excom_core::{Error, ErrorKind, ObjectName, Result, TaskInstanceKey, Version, XComKey};
use uuid::Uuid;

use super::Compression;

/// The base path that Airflow is set to: `[common.io] xcom_objectstorage_path`, such as
/// `s3://aws@bucket/xcom` (`aws` is the id of a connection) or `file:///var/xcom`.
///
/// ```
/// use excom_airflow::objects::BasePath;
///
/// let base: BasePath = "s3://aws@bucket/xcom/".parse()?;
/// assert_eq!(base.to_string(), "s3://aws@bucket/xcom");
/// assert!("/var/xcom".parse::<BasePath>().is_err());
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePath(String);

/// A URL in its parts, without the connection.
#[derive(PartialEq, Eq)]
struct Url<'a> {
    scheme: String,
    /// Host or bucket.
    host: &'a str,
    /// The path behind it, without the slash before it.
    path: &'a str,
}

impl<'a> Url<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let named = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if scheme.is_empty() || !named {
            return None;
        }
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        Some(Self { scheme: scheme.to_ascii_lowercase(), host, path })
    }
}

/// Whether a part of a path is a name, and leads nowhere else.
fn is_name(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
}

impl FromStr for BasePath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str, hint: &str| {
            Error::new(ErrorKind::Configuration, format!("the base path `{text}` of Airflow's objects {why}"))
                .hint(hint)
        };
        // The slashes of `file:///` belong to the scheme.
        let least = text.find("://").map_or(0, |at| at + 3);
        let base = &text[..text.trim_end_matches('/').len().max(least)];
        let Some(url) = Url::of(base) else {
            return Err(refuse(
                "has no scheme, so Airflow could not read what it refers to",
                "write it as a URL: file:///folder or s3://connection@bucket/prefix",
            ));
        };
        if !url.path.is_empty() && !url.path.split('/').all(is_name) {
            return Err(refuse("has an empty part, `.` or `..`", "write the path as it is without them"));
        }
        Ok(Self(base.to_owned()))
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BasePath {
    /// The full URL of an object.
    pub(super) fn url(&self, name: &ObjectName) -> String {
        format!("{self}/{name}")
    }

    /// The object that a text refers to, for a task instance.
    ///
    /// Airflow asks for a URL below the base path and nothing more. Here it must have no `.` and `..`, lie
    /// in the folder of the task instance itself, and be named like an object: so a task cannot have
    /// another task's object, or any other file, handed out by returning its URL.
    ///
    /// # Errors
    /// `InvalidRequest` with the rule that it breaks; `InvalidName` for a task that has no folder.
    ///
    /// ```
    /// use excom_airflow::objects::BasePath;
    /// use excom_core::TaskInstanceKey;
    ///
    /// let base: BasePath = "s3://aws@bucket/xcom".parse()?;
    /// let ti = TaskInstanceKey::new("weather", "manual__1", "measure", -1)?;
    /// let file = "0b4f9a52-6f0c-4f7e-8a3f-0d0c8a1f2b3c.gz";
    ///
    /// // A connection of another name leads to the same bucket.
    /// let (name, _) = base.locate(&ti, &format!("s3://cloud@bucket/xcom/weather/manual__1/measure/{file}"))?;
    /// assert_eq!(name.as_str(), format!("weather/manual__1/measure/{file}"));
    ///
    /// let error = base.locate(&ti, &format!("s3://aws@bucket/xcom/weather/manual__1/secrets/{file}")).unwrap_err();
    /// assert!(error.to_string().ends_with("it is not in the folder of weather/manual__1/measure"), "{error}");
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn locate(&self, ti: &TaskInstanceKey, text: &str) -> Result<(ObjectName, Compression)> {
        let folder = folder(ti)?;
        let refuse = |why: &str| {
            Error::new(ErrorKind::InvalidRequest, format!("`{text}` is no reference to an object: {why}"))
        };
        let outside = || refuse(&format!("it is not below {self}"));
        let (Some(url), Some(base)) = (Url::of(text), Url::of(&self.0)) else {
            return Err(refuse("it is no URL"));
        };
        if url.path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(refuse("it has `.` or `..` in its path"));
        }
        if (&url.scheme, url.host) != (&base.scheme, base.host) {
            return Err(outside());
        }
        let below = match base.path {
            "" => Some(url.path),
            path => url.path.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')),
        };
        let below = below.ok_or_else(outside)?;
        let file = below
            .strip_prefix(&folder)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| refuse(&format!("it is not in the folder of {}", shown(ti))))?;
        let (uuid, suffix) = file.split_at(file.find('.').unwrap_or(file.len()));
        let named = Uuid::try_parse(uuid).is_ok_and(|parsed| parsed.hyphenated().to_string() == uuid);
        match Compression::of_suffix(suffix) {
            Some(compression) if named => Ok((ObjectName::listed(below), compression)),
            _ => Err(refuse("its last part is not a UUID with the suffix of a compression, or none")),
        }
    }
}

fn shown(ti: &TaskInstanceKey) -> String {
    format!("{}/{}/{}", ti.dag_id, ti.run_id, ti.task_id)
}

/// The folder of a task instance below the base path.
///
/// # Errors
/// `InvalidName` for ids that lead out of it or into that of another task.
fn folder(ti: &TaskInstanceKey) -> Result<String> {
    let refuse = |what: &str, id: &str, why: &str| {
        Error::new(
            ErrorKind::InvalidName,
            format!("the {what} `{id}` cannot be a folder of Airflow's objects: {why}"),
        )
        .hint("rename it, or keep the values of this DAG with another backend")
    };
    for (what, id) in [("DAG id", &ti.dag_id), ("task id", &ti.task_id)] {
        // Only one of three may have more parts; otherwise two tasks could share a folder.
        if id.contains('/') {
            return Err(refuse(what, id, "it has a `/`"));
        }
        if !is_name(id) {
            return Err(refuse(what, id, "it leads to another folder"));
        }
    }
    if !ti.run_id.split('/').all(is_name) {
        return Err(refuse("run id", &ti.run_id, "a part of it is empty, `.` or `..`"));
    }
    Ok(shown(ti))
}

/// Of the UUIDs that name objects.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_5c2e_8a0b_4d37_9e64_2b7c_91f0_a853);

/// The name of one version's object. Airflow draws a UUID; here it follows from key and version, so that
/// an object can be found again, and removed, from its entry alone.
///
/// # Errors
/// As [`folder`].
pub(super) fn object_name(key: &XComKey, version: Version, compression: Compression) -> Result<ObjectName> {
    let uuid = Uuid::new_v5(&NAMESPACE, ObjectName::of(key, version).as_str().as_bytes());
    Ok(ObjectName::listed(format!("{}/{uuid}{}", folder(&key.ti)?, compression.suffix())))
}
