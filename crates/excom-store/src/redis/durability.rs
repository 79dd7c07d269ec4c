//! How safe a server keeps what it acknowledged.

use std::collections::HashMap;
use std::fmt;

use redis::{FromRedisValue as _, Value};

/// What a server says about how it keeps values; of a cluster, the least safe of its primaries.
///
/// A setting is `None` when the server does not tell it to this user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durability {
    /// The server and its version.
    pub server: Option<String>,
    /// Whether it writes an append-only file (`appendonly`).
    pub append_only: Option<bool>,
    /// When that file is synced (`appendfsync`).
    pub append_fsync: Option<String>,
    /// What it removes when memory is full (`maxmemory-policy`).
    pub eviction: Option<String>,
    /// Whether it is new enough for `WAITAOF`.
    waits: bool,
}

/// How an acknowledged write is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Guarantee {
    /// Not at all, or it cannot be known.
    None,
    /// Each write waits for the next sync (`WAITAOF`).
    Waits,
    /// The server syncs before it answers (`appendfsync always`).
    Always,
}

impl Durability {
    /// From the answers to `INFO` and `CONFIG GET appendfsync`; one that was refused tells nothing.
    pub(super) fn read(info: &Value, fsync: &Value) -> Self {
        let info = String::from_redis_value_ref(info).unwrap_or_default();
        let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
        let version = info.get("redis_version");
        let server = match info.get("valkey_version") {
            Some(valkey) => Some(format!("Valkey {valkey}")),
            None => version.map(|redis| format!("Redis {redis}")),
        };
        let fsync = HashMap::<String, String>::from_redis_value_ref(fsync).unwrap_or_default();
        Self {
            server,
            append_only: info.get("aof_enabled").map(|enabled| *enabled == "1"),
            append_fsync: fsync.get("appendfsync").cloned(),
            eviction: info.get("maxmemory_policy").map(ToString::to_string),
            waits: version.is_some_and(|version| at_least(version, (7, 2))),
        }
    }

    /// How an acknowledged write is on disk.
    pub fn guarantee(&self) -> Guarantee {
        match (self.append_only, self.append_fsync.as_deref()) {
            (Some(true), Some("always")) => Guarantee::Always,
            (Some(true), Some("everysec") | None) if self.waits => Guarantee::Waits,
            _ => Guarantee::None,
        }
    }

    /// The less, the less safe.
    pub(super) fn rank(&self) -> (bool, Guarantee) {
        (self.risks().is_empty(), self.guarantee())
    }

    /// Why values may be lost; empty when they are kept.
    pub fn risks(&self) -> Vec<String> {
        let mut risks = Vec::new();
        match (self.append_only, self.append_fsync.as_deref()) {
            _ if self.guarantee() != Guarantee::None => {}
            (None, _) => {
                risks.push("whether appendonly is on cannot be known: INFO is not permitted".to_owned());
            }
            (Some(false), _) => risks.push("appendonly is off".to_owned()),
            (_, None) => {
                risks.push("appendfsync cannot be known: CONFIG GET is not permitted".to_owned());
            }
            (_, Some(fsync)) => risks.push(format!("appendfsync is {fsync}")),
        }
        if self.append_only == Some(true) && self.guarantee() == Guarantee::None && !self.waits {
            let server = self.server.as_deref().unwrap_or("the server");
            risks.push(format!("{server} has no WAITAOF, which came with Redis 7.2"));
        }
        match self.eviction.as_deref() {
            Some("noeviction") => {}
            Some(policy) => risks.push(format!("maxmemory-policy is {policy}")),
            None => risks.push("maxmemory-policy cannot be known: INFO is not permitted".to_owned()),
        }
        risks
    }
}

/// One line, as `doctor` shows it.
impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.as_deref().unwrap_or("a server of unknown version");
        let risks = self.risks();
        match self.guarantee() {
            _ if !risks.is_empty() => write!(f, "{server} may lose values: {}", risks.join("; ")),
            Guarantee::Waits => write!(f, "{server}, each write waits for its sync (WAITAOF)"),
            _ => write!(f, "{server}, each write is synced (appendfsync always)"),
        }
    }
}

/// Whether a server is still reading what it keeps.
pub(super) fn loading(info: &Value) -> bool {
    matches!(info, Value::BulkString(info) if info.windows(11).any(|line| line == b"\nloading:1\r"))
}

fn at_least(version: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: &str, aof: &str, policy: &str, fsync: Option<&str>) -> Durability {
        let info = format!(
            "# Server\r\nredis_version:{version}\r\naof_enabled:{aof}\r\nmaxmemory_policy:{policy}\r\n"
        );
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fsync = fsync.map_or(Value::Nil, |fsync| Value::Array(vec![text("appendfsync"), text(fsync)]));
        Durability::read(&text(&info), &fsync)
    }

    #[test]
    fn what_is_kept_and_what_may_be_lost() {
        for (durability, guarantee, risks) in [
            (read("7.0.15", "1", "noeviction", Some("always")), Guarantee::Always, ""),
            (read("7.2.4", "1", "noeviction", Some("everysec")), Guarantee::Waits, ""),
            (read("10.0.0", "1", "noeviction", None), Guarantee::Waits, ""),
            (
                read("7.0.15", "1", "noeviction", Some("everysec")),
                Guarantee::None,
                "appendfsync is everysec; Redis 7.0.15 has no WAITAOF, which came with Redis 7.2",
            ),
            (
                read("7.0.15", "1", "noeviction", None),
                Guarantee::None,
                "appendfsync cannot be known: CONFIG GET is not permitted; Redis 7.0.15 has no WAITAOF, which came \
                 with Redis 7.2",
            ),
            (read("8.0.0", "1", "noeviction", Some("no")), Guarantee::None, "appendfsync is no"),
            (read("8.0.0", "0", "noeviction", Some("always")), Guarantee::None, "appendonly is off"),
            (
                read("7.0.15", "1", "allkeys-lru", Some("always")),
                Guarantee::Always,
                "maxmemory-policy is allkeys-lru",
            ),
            (
                Durability::read(&Value::Nil, &Value::Nil),
                Guarantee::None,
                "whether appendonly is on cannot be known: INFO is not permitted; maxmemory-policy cannot be known: \
                 INFO is not permitted",
            ),
        ] {
            assert_eq!(durability.guarantee(), guarantee, "{durability:?}");
            assert_eq!(durability.risks().join("; "), risks, "{durability:?}");
        }
    }
}
