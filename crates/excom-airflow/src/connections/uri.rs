//! A connection as a URI, taken apart as Airflow does it: by the rules of Python's `urllib`, which keep what those of
//! browsers would escape, refuse or leave out.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use excom_core::python::json_text;
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use super::Connection;
use crate::python::{Parts, dumped};

/// The parameter with all that a connection has besides, as JSON.
const EXTRA: &str = "__extra__";

pub(super) const NO_PORT: &str = "has a port that is no number from 0 to 65535";
pub(super) const NO_EXTRA: &str = "has an extra that is no JSON object";

/// Reads a URI. Whatever is wrong is told without a word of it.
pub(super) fn parse(uri: &str) -> Result<Connection, String> {
    let schemes = uri.matches("://").count();
    if schemes > 2 {
        return Err("has `://` more than twice".to_owned());
    }
    // `http://https://host`: the second scheme is the host's.
    let is_host_with_scheme = schemes == 2;
    let scheme = Split::of(uri)?.scheme;
    let rest = uri.replace(&format!("{scheme}://"), if is_host_with_scheme { "" } else { "//" });
    let before = rest.split("://").next().unwrap_or_default();
    if is_host_with_scheme && before.contains(['@', ':']) {
        return Err("has a `:` or `@` before its second `://`".to_owned());
    }
    let split = Split::of(&rest)?;
    let host = match split.host() {
        host if is_host_with_scheme && !split.scheme.is_empty() && !host.is_empty() => {
            format!("{}://{host}", split.scheme)
        }
        host => host,
    };
    let (login, password) = split.user();
    let path = split.path.chars().next().map_or("", |first| &split.path[first.len_utf8()..]);
    Ok(Connection {
        conn_type: type_of(&scheme),
        host: Some(host),
        schema: Some(decoded(path)),
        login: login.map(decoded),
        password: password.filter(|password| !password.is_empty()).map(decoded),
        port: split.port()?,
        extra: if split.query.is_empty() { None } else { parameters(&split.query)? },
    })
}

/// What Airflow makes of a type.
pub(super) fn type_of(name: &str) -> String {
    if name == "postgresql" { "postgres".to_owned() } else { name.replace('-', "_") }
}

/// A text that is an extra.
pub(super) fn extra(text: String) -> Result<String, String> {
    let is_object = text.is_empty()
        || serde_json::from_str::<&RawValue>(&text)
            .is_ok_and(|raw| matches!(Parts::of(raw), Some(Parts::Dict(_))));
    if is_object { Ok(text) } else { Err(NO_EXTRA.to_owned()) }
}

/// The parameters as an extra: what is JSON as what it is, the rest as texts.
fn parameters(query: &str) -> Result<Option<String>, String> {
    let mut found: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, held)) => *held = value,
            None => found.push((name, value)),
        }
    }
    if let Some((_, value)) = found.iter().find(|(name, _)| name == EXTRA) {
        return extra(value.clone().into_owned()).map(Some);
    }
    let mut out = "{".to_owned();
    for (n, (name, value)) in found.iter().enumerate() {
        if n > 0 {
            out.push_str(", ");
        }
        json_text(&mut out, name, true);
        out.push_str(": ");
        match &**value {
            // Python's JSON has them.
            "NaN" | "Infinity" | "-Infinity" => out.push_str(value),
            text => match serde_json::from_str::<&RawValue>(text).ok().and_then(|raw| dumped(raw, None)) {
                Some(json) => out.push_str(&json),
                None => json_text(&mut out, text, true),
            },
        }
    }
    out.push('}');
    Ok(Some(out))
}

/// A text without its escapes.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The parts of a URI, as they are written.
struct Split {
    scheme: String,
    place: String,
    path: String,
    query: String,
}

impl Split {
    fn of(uri: &str) -> Result<Self, String> {
        let uri = uri.trim_start_matches(|letter| letter <= ' ').replace(['\t', '\r', '\n'], "");
        let is_scheme = |name: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.bytes().all(allowed)
        };
        let (scheme, rest) = match uri.split_once(':') {
            Some((name, rest)) if is_scheme(name) => (name.to_ascii_lowercase(), rest),
            _ => (String::new(), &*uri),
        };
        let (place, rest) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", rest),
        };
        match (place.contains('['), place.contains(']')) {
            (true, true) if !is_bracketed(place) => {
                return Err("has no IPv6 address between `[` and `]`".to_owned());
            }
            (true, true) | (false, false) => {}
            _ => return Err("has one of `[` and `]` without the other: write them as %5B and %5D".to_owned()),
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Self { scheme, place: place.to_owned(), path: path.to_owned(), query: query.to_owned() })
    }

    /// The user and the password.
    fn user(&self) -> (Option<&str>, Option<&str>) {
        match self.place.rsplit_once('@') {
            None => (None, None),
            Some((user, _)) => match user.split_once(':') {
                None => (Some(user), None),
                Some((user, password)) => (Some(user), Some(password)),
            },
        }
    }

    /// The host and the port.
    fn address(&self) -> (&str, &str) {
        let behind = self.place.rsplit_once('@').map_or(&*self.place, |(_, behind)| behind);
        let (host, rest) = match behind.split_once('[') {
            Some((_, bracketed)) => {
                let (host, rest) = bracketed.split_once(']').unwrap_or((bracketed, ""));
                (host, rest.split_once(':').map_or("", |(_, port)| port))
            }
            None => behind.split_once(':').unwrap_or((behind, "")),
        };
        (host, rest)
    }

    /// The host, in lower case unless it is a path, which is a socket's or a file's.
    fn host(&self) -> String {
        let (host, _) = self.address();
        // Behind the first `%` may be the zone of an address, or an escape.
        let (name, rest) = host.split_at(host.find('%').unwrap_or(host.len()));
        let lower = decoded(&format!("{}{rest}", name.to_lowercase()));
        if !lower.contains('/') {
            return lower;
        }
        let behind = self.place.rsplit_once('@').map_or(&*self.place, |(_, behind)| behind);
        decoded(behind.split(':').next().unwrap_or_default())
    }

    fn port(&self) -> Result<Option<u16>, String> {
        match self.address().1 {
            "" => Ok(None),
            port if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().map(Some).map_err(|_| NO_PORT.to_owned())
            }
            _ => Err(NO_PORT.to_owned()),
        }
    }
}

/// Whether what is in the first brackets is an address as of RFC 3986.
fn is_bracketed(place: &str) -> bool {
    let inside = place.split_once('[').map_or("", |(_, inside)| inside);
    let inside = inside.split(']').next().unwrap_or_default();
    match inside.strip_prefix('v') {
        Some(future) => future.split_once('.').is_some_and(|(version, address)| {
            !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit()) && !address.is_empty()
        }),
        None => {
            let (address, zone) = inside.split_once('%').unwrap_or((inside, "0"));
            address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && !zone.contains('%')
        }
    }
}
