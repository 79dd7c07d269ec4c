//! Texts of variables as people may see them: what a name says to be a secret is `***`.

use excom_core::Value;
use serde_json::value::RawValue;

use crate::python::{Dump, Masking};

/// What names of secrets contain, in lower case, with `_` for all that is no letter, digit or `_`: Airflow's own list.
const SENSITIVE: [&str; 22] = [
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "auth_header",
    "authorization",
    "bearer",
    "connection_string",
    "dsn",
    "keyfile_dict",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "proxies",
    "proxy",
    "proxy_password",
    "secret",
    "service_account",
    "service_key",
    "token",
    "webhook_url",
];

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// Whether a name says that what it names is a secret.
///
/// ```
/// use excom_airflow::rest::is_sensitive;
///
/// assert!(is_sensitive("My API-Key (old)") && !is_sensitive("keys"));
/// ```
pub fn is_sensitive(name: &str) -> bool {
    let mut normal = String::with_capacity(name.len());
    for character in name.trim().to_lowercase().chars() {
        let is_word = character.is_alphanumeric() || character == '_';
        if is_word || !normal.ends_with('_') {
            normal.push(if is_word { character } else { '_' });
        }
    }
    SENSITIVE.iter().any(|sensitive| normal.contains(sensitive))
}

/// The text of a variable without what its key, or names in it if it is JSON, say to be secrets. JSON is written anew as
/// Python writes it.
///
/// ```
/// use excom_airflow::rest::masked;
///
/// assert_eq!(masked("greeting", "hello"), "hello");
/// assert_eq!(masked("token", "hello"), "***");
/// assert_eq!(masked("server", r#"{"host":"h","password":"p"}"#), r#"{"host": "h", "password": "***"}"#);
/// // What only Python reads is shown as it is, or not at all.
/// assert_eq!(masked("server", "[NaN]"), "[NaN]");
/// assert_eq!(masked("server", r#"{"password": "p", "most": NaN}"#), "***");
/// ```
pub fn masked(key: &str, text: &str) -> String {
    let masking = if is_sensitive(key) { Masking::All } else { Masking::Under(is_sensitive) };
    let json = Value::parse(text.to_owned()).ok();
    let shown = json.as_ref().and_then(|json| {
        let raw: &RawValue = serde_json::from_slice(json.bytes()).ok()?;
        Dump { indent: None, masking }.text(raw)
    });
    match (shown, masking) {
        (Some(shown), _) => shown,
        // Python reads more as JSON than there is, so what looks like it may hold names.
        (None, Masking::All) => HIDDEN.to_owned(),
        (None, _) if text.trim_start().starts_with(['{', '[']) && is_sensitive(text) => HIDDEN.to_owned(),
        (None, _) => text.to_owned(),
    }
}
