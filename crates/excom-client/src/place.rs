//! Paths of the server's routes, for whatever names there are.

use excom_core::{Error, ErrorKind, Result, SequenceKey, TaskInstanceKey, XComKey};

/// Excom's own API, and the one of tasks.
const OWN: &str = "/api/excom/v1";
const EXECUTION: &str = "/execution";

/// A path of Excom's own API, of parts that are escaped.
///
/// # Errors
/// [`ErrorKind::InvalidName`] for a part that no address can have.
pub(crate) fn own<'a>(route: &str, parts: impl IntoIterator<Item = &'a str>) -> Result<String> {
    path(OWN, route, parts)
}

/// The same of the API of tasks.
///
/// # Errors
/// As [`own`].
pub(crate) fn execution<'a>(route: &str, parts: impl IntoIterator<Item = &'a str>) -> Result<String> {
    path(EXECUTION, route, parts)
}

pub(crate) fn xcom(route: &str, key: &XComKey) -> Result<String> {
    let (ti, map_index) = (&key.ti, key.ti.map_index.to_string());
    own(route, [&*ti.dag_id, &ti.run_id, &ti.task_id, &map_index, &key.key])
}

pub(crate) fn task_instance(route: &str, ti: &TaskInstanceKey) -> Result<String> {
    own(route, [&*ti.dag_id, &ti.run_id, &ti.task_id, &ti.map_index.to_string()])
}

pub(crate) fn sequence(route: &str, key: &SequenceKey) -> Result<String> {
    own(route, [&*key.dag_id, &key.run_id, &key.task_id, &key.key])
}

fn path<'a>(api: &str, route: &str, parts: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let mut path = format!("{api}/{route}");
    for part in parts {
        if matches!(part, "." | "..") {
            // Also escaped they lead to another place (WHATWG URL, 4.1).
            let message =
                format!("`{part}` cannot be a part of an address, so a server cannot be asked about it so");
            return Err(Error::new(ErrorKind::InvalidName, message)
                .hint("use another name, or pull it together with others"));
        }
        path.push('/');
        path.push_str(&escaped(part));
    }
    Ok(path)
}

/// A text as a part of an address: what is no letter, digit, `-`, `_`, `.` or `~` is escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_part() {
        let key = XComKey::new("d/é", "r?#%", "t\t", 3, "a/../b").unwrap();
        assert_eq!(
            xcom("values", &key).unwrap(),
            "/api/excom/v1/values/d%2F%C3%A9/r%3F%23%25/t%09/3/a%2F..%2Fb"
        );
        let parsed = reqwest::Url::parse(&format!("http://x{}", xcom("values", &key).unwrap())).unwrap();
        assert_eq!(parsed.path(), xcom("values", &key).unwrap());
        let key = XComKey::new("d", "r", "t", -1, "..").unwrap();
        assert_eq!(xcom("values", &key).unwrap_err().kind(), ErrorKind::InvalidName);
    }
}
