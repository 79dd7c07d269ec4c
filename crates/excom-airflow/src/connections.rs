//! Airflow's connections, as its API server reads them: from a URI, a JSON object, or a file with many of them. They are
//! credentials: no error and no `Debug` tells anything of what they hold.

mod fields;
mod uri;

use std::collections::BTreeMap;
use std::fmt;

use excom_core::db::StoredConnection;
use excom_core::{Error, ErrorKind, Result};
use serde_json::value::RawValue;

use crate::execution::ConnectionAnswer;
use crate::python::Parts;

/// The most characters of an id.
const ID_LIMIT: usize = 250;

/// Where to reach something, and as whom.
///
/// ```
/// use excom_airflow::connections::Connection;
///
/// let found = Connection::parse("AIRFLOW_CONN_ROWS", "postgresql://ana:p%40ss@db.example:5432/rows?sslmode=require")?;
/// let told = serde_json::to_value(found.answer("rows")).unwrap();
/// assert_eq!((&told["conn_type"], &told["password"]), (&"postgres".into(), &"p@ss".into()));
/// assert_eq!(told["extra"], r#"{"sslmode": "require"}"#);
/// assert_eq!(format!("{found:?}"), "Connection(…)");
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    conn_type: String,
    host: Option<String>,
    schema: Option<String>,
    login: Option<String>,
    password: Option<String>,
    port: Option<u16>,
    extra: Option<String>,
}

impl Connection {
    /// Reads what an environment variable holds: a URI, or a JSON object. The place is where it is, for errors.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when it is neither.
    pub fn parse(place: &str, text: &str) -> Result<Self> {
        let text = text.trim();
        let found = if text.starts_with('{') { fields::of(text, None) } else { uri::parse(text) };
        found.map_err(|why| unusable(place, &why))
    }

    /// What a row of Airflow's metadata database holds under an id.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a port that is none.
    pub fn stored(id: &str, stored: StoredConnection) -> Result<Self> {
        let port = stored.port.map(u16::try_from).transpose().map_err(|_| {
            let what = format!("the connection `{id}` in Airflow's database {}", uri::NO_PORT);
            Error::new(ErrorKind::Corrupt, what).hint("set its port anew in Airflow")
        })?;
        Ok(Self {
            conn_type: stored.conn_type,
            host: stored.host,
            schema: stored.schema,
            login: stored.login,
            password: stored.password,
            port,
            extra: stored.extra,
        })
    }

    /// What a worker is answered that asks for it by an id.
    pub fn answer<'a>(&'a self, id: &'a str) -> ConnectionAnswer<'a> {
        ConnectionAnswer {
            conn_id: id,
            conn_type: &self.conn_type,
            host: self.host.as_deref(),
            schema: self.schema.as_deref(),
            login: self.login.as_deref(),
            password: self.password.as_deref(),
            port: self.port,
            extra: self.extra.as_deref(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection(…)")
    }
}

/// Reads a file with connections by their ids, as Airflow's local filesystem backend has them: each a URI, or an object.
/// The place is its path, for errors.
///
/// # Errors
/// [`ErrorKind::Configuration`] for what is no such file, and for each connection that cannot be read, or is there twice.
pub fn in_file(place: &str, text: &str) -> Result<BTreeMap<String, Connection>> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|cause| {
        // What the parser says may quote the file.
        let place = format!("{place}:{}:{}", cause.line(), cause.column());
        unusable(&place, "is no JSON")
    })?;
    let Some(Parts::Dict(entries)) = Parts::of(raw) else {
        return Err(unusable(place, "is no JSON object with the ids of connections for names"));
    };
    let mut found = BTreeMap::new();
    for (id, raw) in entries {
        let wrong = |why: &str| unusable(&format!("{place}: the connection `{id}`"), why);
        if !is_id(&id) {
            return Err(wrong(
                "has another id than Airflow allows: up to 250 letters, digits and any of _-.:/\\#!()",
            ));
        }
        let connection = one(&id, raw).map_err(|why| wrong(&why))?;
        if found.insert(id.clone(), connection).is_some() {
            return Err(wrong("is there twice"));
        }
    }
    Ok(found)
}

fn one(id: &str, raw: &RawValue) -> std::result::Result<Connection, String> {
    match Parts::of(raw) {
        Some(Parts::Dict(_)) => fields::of(raw.get(), Some(id)),
        Some(Parts::List(only)) if only.len() == 1 => one(id, only[0]),
        Some(Parts::List(several)) => {
            Err(format!("is a list of {}, and one connection is needed", several.len()))
        }
        _ => match serde_json::from_str::<String>(raw.get()) {
            Ok(text) if text.is_empty() => Err("is empty".to_owned()),
            Ok(text) => uri::parse(&text),
            Err(_) => Err("is neither a URI nor an object".to_owned()),
        },
    }
}

/// Whether Airflow allows it as an id of a connection.
pub fn is_id(id: &str) -> bool {
    let allowed = |letter: char| letter.is_alphanumeric() || "_-.:/\\#!()".contains(letter);
    !id.is_empty() && id.chars().count() <= ID_LIMIT && id.chars().all(allowed)
}

fn unusable(place: &str, why: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("{place} {why}"))
        .hint("a connection is a URI, `postgres://login:password@host:5432/schema?option=value` with `%` escapes, or")
        .hint("an object with conn_type, host, schema, login, password, port and extra")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_without_a_word_of_it() {
        for (text, told) in [
            ("", "is no JSON"),
            ("[]", "is no JSON object"),
            ("\"hunter2\"", "is no JSON object"),
            ("{\"a\": \"http://h\", \n hunter2}", "f.json:2:2 is no JSON"),
            (r#"{"a": "http://h", "a": "http://h"}"#, "`a` is there twice"),
            (r#"{"a b": "http://h"}"#, "`a b` has another id"),
            (r#"{"a": 5}"#, "`a` is neither a URI nor an object"),
            (r#"{"a": ""}"#, "`a` is empty"),
            (r#"{"a": ["http://h", "http://hunter2"]}"#, "`a` is a list of 2, and one"),
            (r#"{"a": "http://u:hunter2@h:x"}"#, "`a` has a port that is no number from 0 to 65535"),
            (r#"{"a": "http://u:hunter2@h:65536"}"#, "no number from 0 to 65535"),
            (r#"{"a": "http://u:hun[ter2@h"}"#, "one of `[` and `]` without the other"),
            (r#"{"a": "http://u:p@[hunter2]"}"#, "no IPv6 address"),
            (r#"{"a": "a://b://c://hunter2"}"#, "has `://` more than twice"),
            (r#"{"a": "http://u:hunter2@https://h"}"#, "has a `:` or `@` before its second `://`"),
            (r#"{"a": "http://h?__extra__=hunter2"}"#, "has an extra that is no JSON object"),
            (r#"{"a": {"conn_type": "http", "extra": "hunter2"}}"#, "an extra that is no JSON object"),
            (r#"{"a": {"conn_type": "http", "extra": [1]}}"#, "an extra that is no JSON object"),
            (
                r#"{"a": {"conn_type": "http", "extra": "{}", "extra_dejson": {}}}"#,
                "has extra and extra_dejson",
            ),
            (
                r#"{"a": {"conn_type": "http", "hots": "hunter2"}}"#,
                "has a field `hots`, which connections do not have",
            ),
            (r#"{"a": {"conn_type": "http", "port": "hunter2"}}"#, "has a port that is no number"),
            (r#"{"a": {"conn_type": "http", "port": -1}}"#, "has a port that is no number"),
            (r#"{"a": {"conn_type": "http", "port": [80]}}"#, "has a port that is no number"),
            (r#"{"a": {"conn_type": "http", "password": 12345}}"#, "has a password that is no text"),
            (r#"{"a": {"conn_type": "http", "host": "h", "host": "i"}}"#, "has host twice"),
            (r#"{"a": {"host": "h"}}"#, "has no conn_type"),
            (r#"{"a": {"conn_type": ""}}"#, "has no conn_type"),
            (r#"{"a": {"conn_type": "http", "conn_id": "b"}}"#, "has another conn_id"),
            (r#"{"a": {"conn_type": "http", "team_name": "t"}}"#, "has a team_name, and there are no teams"),
            (r#"{"a": {"conn_type": "http", "uri": "http://hunter2"}}"#, "has a uri and conn_type"),
        ] {
            let error = in_file("f.json", text).unwrap_err();
            assert!(error.to_string().contains(told), "{text}: {error}");
            assert!(error.kind() == ErrorKind::Configuration && error.to_string().starts_with("f.json"));
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn a_row_is_a_connection() {
        let row = StoredConnection {
            conn_type: "my-type".to_owned(),
            host: Some("h".to_owned()),
            schema: None,
            login: Some(String::new()),
            password: Some("hunter2".to_owned()),
            port: Some(0),
            extra: Some("{ }".to_owned()),
        };
        assert_eq!(format!("{row:?}"), "StoredConnection(…)");
        let found = Connection::stored("c", row.clone()).unwrap();
        assert_eq!(
            serde_json::to_string(&found.answer("c")).unwrap(),
            r#"{"conn_id":"c","conn_type":"my-type","host":"h","schema":null,"login":"","password":"hunter2","port":0,"extra":"{ }"}"#
        );
        let error = Connection::stored("c", StoredConnection { port: Some(-1), ..row }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_file_has_connections_in_every_form() {
        let found = in_file(
            "f.json",
            r#"{"a/b.c-d": "my-db://h", "one": ["http://h:0"], "fields": {
                "conn_id": "fields", "conn_type": "google-cloud-platform", "description": "d", "team_name": null,
                "port": "5_432", "password": "", "login": "", "extra": {"a": [1.50, "é"]}},
                "told": {"uri": "http://h", "description": "d"},
                "text": {"conn_type": "http", "port": 0, "extra": "{ }"}, "dejson": {"conn_type": "http", "extra_dejson": {"a": 1}}}"#,
        );
        let found = found.unwrap();
        let told = |id: &str| serde_json::to_string(&found[id].answer(id)).unwrap();
        assert_eq!(
            told("fields"),
            r#"{"conn_id":"fields","conn_type":"google_cloud_platform","host":null,"schema":null,"login":"","password":null,"port":5432,"extra":"{\"a\": [1.5, \"\\u00e9\"]}"}"#
        );
        assert_eq!(
            told("one"),
            r#"{"conn_id":"one","conn_type":"http","host":"h","schema":"","login":null,"password":null,"port":0,"extra":null}"#
        );
        assert_eq!(found["told"], Connection { port: None, ..found["one"].clone() });
        assert!(told("text").contains(r#""port":null,"extra":"{ }""#), "{}", told("text"));
        assert!(told("dejson").contains(r#""extra":"{\"a\": 1}""#));
        assert!(told("a/b.c-d").contains(r#""conn_type":"my_db""#));
    }
}
