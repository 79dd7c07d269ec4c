//! Where an object lies: `PREFIX:{DAG/RUN}:TASK/MAP/KEY/VERSION`.
//!
//! The parts are escaped as in the object's name, so none of them holds `{`, `}` or `:`. The hash tag is
//! therefore exactly the DAG and the run: in a cluster, all values of a run lie on one node and are pulled in one
//! command.

use excom_core::{Error, ErrorKind, ObjectName, Result};

/// Behind the key of an object: what is written of it so far.
const PART: &str = ":part";

/// Behind the key of an object: a key that is written only to have something to wait for.
const SYNC: &str = ":sync";

/// The keys of a store.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Result<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(fits) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("`{prefix}` cannot be the prefix of keys in Redis"),
            )
            .hint("use 1 to 64 letters, digits, `_`, `-`, `.` or `:`"));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// The key of an object.
    pub(super) fn object(&self, name: &ObjectName) -> Result<String> {
        let Some((run, rest)) = parts(name.as_str()) else {
            return Err(Error::new(ErrorKind::InvalidName, format!("`{name}` is no name of an object"))
                .hint("names have six escaped parts: dag/run/task/map_index/key/version"));
        };
        Ok([&self.prefix, ":{", run, "}:", rest].concat())
    }

    /// The pattern that all keys of objects match.
    pub(super) fn pattern(&self) -> String {
        // Nothing that the prefix may hold has a meaning in a pattern.
        format!("{}:{{*", self.prefix)
    }

    /// The name of the object that a key belongs to, if it is one of this store's.
    pub(super) fn name(&self, key: &[u8]) -> Option<ObjectName> {
        let key = std::str::from_utf8(key).ok()?;
        let key = key.strip_suffix(PART).unwrap_or(key);
        let (scope, rest) = key.strip_prefix(&self.prefix)?.strip_prefix(":{")?.split_once("}:")?;
        let name = ObjectName::listed(format!("{scope}/{rest}"));
        // Only what the name leads back to: anything else is somebody else's key.
        self.object(&name).is_ok_and(|object| object == key).then_some(name)
    }
}

/// DAG and run, and what is behind them, of a name of six parts that are escaped and not empty.
fn parts(name: &str) -> Option<(&str, &str)> {
    let mut split = name.split('/');
    let mut parts = [""; 6];
    for part in &mut parts {
        *part = split.next().filter(|part| !part.is_empty())?;
    }
    let foreign = split.next().is_some() || name.bytes().any(|byte| matches!(byte, b'{' | b'}' | b':'));
    let run = parts[0].len() + 1 + parts[1].len();
    (!foreign).then(|| (&name[..run], &name[run + 1..]))
}

pub(super) fn part(object: &str) -> String {
    format!("{object}{PART}")
}

pub(super) fn sync(object: &str) -> String {
    format!("{object}{SYNC}")
}

#[cfg(test)]
mod tests {
    use excom_core::{Version, XComKey};
    use proptest::prelude::*;
    use redis::cluster_routing::Slot;

    use super::*;

    type Parts = (String, String, String, i32, String, i64);

    fn name(parts: &Parts) -> ObjectName {
        let key = XComKey::new(&*parts.0, &*parts.1, &*parts.2, parts.3, &*parts.4).unwrap();
        ObjectName::of(&key, Version::from_code(parts.5).unwrap())
    }

    fn part() -> impl Strategy<Value = String> {
        prop_oneof![r"[a-b./%~:{} é]{1,4}", r"[a{}:/]{198,206}"]
    }

    fn parts() -> impl Strategy<Value = Parts> {
        (part(), part(), part(), -1..2i32, part(), 0..3i64)
    }

    proptest! {
        #[test]
        fn no_two_objects_share_a_key(a in parts(), b in parts()) {
            let keys = Keys::new("excom").unwrap();
            let (one, other) = (keys.object(&name(&a)).unwrap(), keys.object(&name(&b)).unwrap());
            prop_assert_eq!(one == other, a == b, "{} {}", one, other);
            prop_assert!(super::part(&one) != other && sync(&one) != other);
            prop_assert_eq!(keys.name(one.as_bytes()), Some(name(&a)));
            prop_assert_eq!(keys.name(super::part(&one).as_bytes()), Some(name(&a)));
            prop_assert_eq!(keys.name(sync(&one).as_bytes()), None);
        }

        #[test]
        fn a_run_is_one_slot(a in parts(), b in parts()) {
            let keys = Keys::new("excom").unwrap();
            let other = (a.0.clone(), a.1.clone(), b.2, b.3, b.4, b.5);
            let (one, other) = (keys.object(&name(&a)).unwrap(), keys.object(&name(&other)).unwrap());
            let slot = Slot::for_key(&one);
            prop_assert_eq!(slot, Slot::for_key(&other));
            prop_assert_eq!(slot, Slot::for_key(super::part(&other)));
            prop_assert_eq!(slot, Slot::for_key(sync(&other)));
            // The tag is the DAG and the run, and nothing else decides.
            let tag = one.split(['{', '}']).nth(1).unwrap();
            prop_assert_eq!(slot, Slot::for_key(tag));
            prop_assert_eq!(tag, name(&a).as_str().splitn(3, '/').take(2).collect::<Vec<_>>().join("/"));
        }
    }

    #[test]
    fn keys_of_others_are_nobodys_names() {
        let keys = Keys::new("excom").unwrap();
        for key in
            ["", "excom", "excom:{a/b}", "excom:{a/b}:c", "excom:{a/b}:c/-1/k/0:x", "other:{a/b}:c/-1/k/0"]
        {
            assert_eq!(keys.name(key.as_bytes()), None, "{key}");
        }
        assert_eq!(keys.name(b"excom:{a/b}:c/-1/k/\xff"), None);
        for prefix in ["", "a b", "{a}", "a*", "é"] {
            assert_eq!(Keys::new(prefix).unwrap_err().kind(), ErrorKind::Configuration, "{prefix}");
        }
    }
}
