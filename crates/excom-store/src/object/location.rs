//! What the text of a location means: which store, which bucket, below which prefix.

use std::fmt;
use std::path::PathBuf;

use excom_core::{Error, ErrorKind, Result};
use object_store::path::Path;

/// The forms that are understood.
const FORMS: &str = "write file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, \
     abfs://container@account.dfs.core.windows.net/prefix or memory://";

/// A place for objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) place: Place,
    /// Where all names begin; empty for the whole bucket.
    pub(super) prefix: Path,
    /// Airflow's connection id, which names credentials that only Airflow knows.
    pub(super) connection: Option<String>,
}

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Folder(PathBuf),
    Memory,
    S3(String),
    Google(String),
    /// A container, and the host of its account where the location names it.
    Azure(String, Option<String>),
}

impl Location {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong(text, "has no scheme, so it would be a path that no other machine can read"));
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(wrong(text, "has credentials in it")
                .hint("give credentials as the store's own settings, such as AWS_ACCESS_KEY_ID"));
        }
        let bucket = || match host {
            "" => Err(wrong(text, "names no bucket")),
            host => Ok(host.to_owned()),
        };
        let connection = user.filter(|user| !user.is_empty()).map(str::to_owned);
        let (place, connection) = match scheme.to_ascii_lowercase().as_str() {
            "file" if authority.is_empty() && !path.is_empty() => {
                let folder = PathBuf::from(format!("/{path}"));
                return Ok(Self { place: Place::Folder(folder), prefix: Path::ROOT, connection: None });
            }
            "file" => return Err(wrong(text, "names no absolute folder")),
            "memory" => (Place::Memory, None),
            "s3" | "s3a" => (Place::S3(bucket()?), connection),
            "gs" | "gcs" => (Place::Google(bucket()?), connection),
            // Before the `@` is the container where an account's host follows, as in Azure's own form;
            // a connection otherwise, as in Airflow's.
            "az" | "abfs" | "abfss" | "wasb" => match connection {
                Some(container) if host.contains('.') => {
                    (Place::Azure(container, Some(host.to_owned())), None)
                }
                connection => (Place::Azure(bucket()?, None), connection),
            },
            other => return Err(wrong(text, &format!("has the unknown scheme `{other}`"))),
        };
        let prefix = Path::parse(path).map_err(|_| {
            wrong(text, "has a prefix with an empty part, `.`, `..` or a control character in it")
        })?;
        Ok(Self { place, prefix, connection })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Folder(folder) => write!(f, "file://{}", folder.display())?,
            Place::Memory => f.write_str("memory://")?,
            Place::S3(bucket) => write!(f, "s3://{bucket}")?,
            Place::Google(bucket) => write!(f, "gs://{bucket}")?,
            Place::Azure(container, None) => write!(f, "az://{container}")?,
            Place::Azure(container, Some(host)) => write!(f, "abfss://{container}@{host}")?,
        }
        if self.prefix.is_root() {
            return Ok(());
        }
        write!(f, "/{}", self.prefix)
    }
}

fn wrong(text: &str, why: &str) -> Error {
    // What stands before an `@` may be a password.
    let shown = match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((user, rest))) if user.matches(':').count() > 1 => {
            format!("{scheme}://…@{rest}")
        }
        _ => text.to_owned(),
    };
    Error::new(ErrorKind::Configuration, format!("the location `{shown}` {why}")).hint(FORMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Place, String, Option<String>, String) {
        let location = Location::parse(text).unwrap();
        let shown = location.to_string();
        (location.place, location.prefix.to_string(), location.connection, shown)
    }

    #[test]
    fn every_form_is_understood() {
        let s3 = || Place::S3("b".into());
        let azure = |host: Option<&str>| Place::Azure("c".into(), host.map(str::to_owned));
        let host = "acc.dfs.core.windows.net";
        for (text, place, prefix, connection, shown) in [
            ("s3://b", s3(), "", None, "s3://b"),
            ("s3://b/p/q/", s3(), "p/q", None, "s3://b/p/q"),
            ("S3A://aws_default@b/p", s3(), "p", Some("aws_default"), "s3://b/p"),
            ("gs://b/p%20é", Place::Google("b".into()), "p%20é", None, "gs://b/p%20é"),
            ("az://c/p", azure(None), "p", None, "az://c/p"),
            ("abfs://wasb_default@c/p", azure(None), "p", Some("wasb_default"), "az://c/p"),
            (&format!("abfs://c@{host}/p"), azure(Some(host)), "p", None, &format!("abfss://c@{host}/p")),
            ("memory://", Place::Memory, "", None, "memory://"),
            ("file:///a b/%20", Place::Folder("/a b/%20".into()), "", None, "file:///a b/%20"),
        ] {
            let connection = connection.map(str::to_owned);
            assert_eq!(parsed(text), (place, prefix.to_owned(), connection, shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_location_is_told_without_its_secrets() {
        for (text, told) in [
            ("/data/xcom", "has no scheme"),
            ("ftp://h/p", "unknown scheme `ftp`"),
            ("s3://", "names no bucket"),
            ("s3:///p", "names no bucket"),
            ("s3://b/a//b", "empty part"),
            ("s3://b/../c", "`..`"),
            ("file://folder/x", "no absolute folder"),
            ("s3://AKIA:hunter2@b/p", "has credentials in it"),
        ] {
            let error = Location::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            let shown = format!("{error:?}");
            assert!(shown.contains(told) && !shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("s3://bucket/prefix"), "{shown}");
        }
    }
}
