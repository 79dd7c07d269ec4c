//! A connection as a JSON object, field by field.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Connection, uri};
use crate::numbers::whole_number;
use crate::python::{Parts, dumped};

/// What a file may have besides, for whoever keeps it.
const IN_FILES: [&str; 2] = ["conn_id", "extra_dejson"];

/// Every field there is.
const FIELDS: [&str; 10] =
    ["conn_type", "description", "extra", "host", "login", "password", "port", "schema", "team_name", "uri"];

/// Reads an object; in a file under its id. Whatever is wrong is told without a value.
pub(super) fn of(text: &str, id: Option<&str>) -> Result<Connection, String> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| "is no JSON object".to_owned())?;
    let Some(Parts::Dict(entries)) = Parts::of(raw) else { return Err("is no JSON object".to_owned()) };
    let mut fields = Fields(BTreeMap::new());
    for (name, raw) in entries {
        let known = FIELDS.contains(&&*name) || (id.is_some() && IN_FILES.contains(&&*name));
        if !known {
            return Err(format!("has a field `{name}`, which connections do not have"));
        }
        if fields.0.insert(name.clone(), raw).is_some() {
            return Err(format!("has {name} twice"));
        }
    }
    // Null is as if it were not there.
    fields.0.retain(|_, raw| raw.get() != "null");
    fields.text("description")?;
    if fields.text("conn_id")?.is_some_and(|told| Some(&*told) != id) {
        return Err("has another conn_id inside".to_owned());
    }
    if fields.0.remove("team_name").is_some() {
        return Err("has a team_name, and there are no teams".to_owned());
    }
    if let Some(text) = fields.text("uri")?.filter(|text| !text.is_empty()) {
        return match fields.0.keys().next() {
            Some(other) => Err(format!("has a uri and {other}, and only one of them can be meant")),
            None => uri::parse(&text),
        };
    }
    let conn_type = fields.text("conn_type")?.filter(|name| !name.is_empty()).ok_or("has no conn_type")?;
    Ok(Connection {
        conn_type: uri::type_of(&conn_type),
        host: fields.text("host")?,
        schema: fields.text("schema")?,
        login: fields.text("login")?,
        password: fields.text("password")?.filter(|password| !password.is_empty()),
        port: fields.port()?,
        extra: fields.extra()?,
    })
}

/// Those that were not taken yet.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl Fields<'_> {
    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        let Some(raw) = self.0.remove(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| format!("has a {name} that is no text"))
    }

    /// A number, or a text of one; nought and nothing are none.
    fn port(&mut self) -> Result<Option<u16>, String> {
        let Some(raw) = self.0.remove("port") else { return Ok(None) };
        let text = serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
        if text.is_empty() {
            return Ok(None);
        }
        let port = whole_number(&text).and_then(|number| u16::try_from(number).ok()).ok_or(uri::NO_PORT)?;
        Ok(Some(port).filter(|port| *port != 0))
    }

    /// A text with an object, or the object itself.
    fn extra(&mut self) -> Result<Option<String>, String> {
        let found = match (self.0.remove("extra"), self.0.remove("extra_dejson")) {
            (Some(_), Some(_)) => return Err("has extra and extra_dejson".to_owned()),
            (extra, dejson) => extra.or(dejson),
        };
        let Some(raw) = found else { return Ok(None) };
        match Parts::of(raw) {
            Some(Parts::Dict(entries)) if entries.is_empty() => Ok(None),
            Some(Parts::Dict(_)) => dumped(raw, None).map(Some).ok_or_else(|| uri::NO_EXTRA.to_owned()),
            _ => match serde_json::from_str::<String>(raw.get()) {
                Ok(text) if text.is_empty() => Ok(None),
                Ok(text) => uri::extra(text).map(Some),
                Err(_) => Err(uri::NO_EXTRA.to_owned()),
            },
        }
    }
}
