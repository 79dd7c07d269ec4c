//! What the headers of frames say.

use std::borrow::Cow;

use bytes::Bytes;
use excom_core::backend::Object;
use excom_core::{Error, ErrorKind, TaskInstanceKey, Version, XComKey};
use serde::{Deserialize, Serialize};

use super::frame::Frame;

/// The version of the protocol that is spoken here.
pub(super) const PROTOCOL: u32 = 1;

/// From the engine to the process.
#[derive(Debug, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Request<'a> {
    Hello { id: u64, protocol: u32, store: &'a str, inline_limit: u64, chunk: usize },
    Serialize { id: u64, object: Named<'a> },
    Chunk { id: u64 },
    End { id: u64 },
    Deserialize { objects: Vec<Wanted<'a>> },
    Next { id: u64 },
    Purge { id: u64, object: Named<'a> },
    Clear { id: u64, task_instance: &'a TaskInstanceKey },
    Check { id: u64 },
    Cancel { id: u64 },
}

impl Request<'_> {
    /// The frame that says this.
    pub(super) fn with(&self, body: Bytes) -> Frame {
        // Texts and numbers under names can always be written.
        Frame { header: serde_json::to_vec(self).unwrap_or_default(), body }
    }

    pub(super) fn frame(&self) -> Frame {
        self.with(Bytes::new())
    }
}

/// An object as the process is told of it.
#[derive(Debug, Serialize)]
pub(super) struct Named<'a> {
    #[serde(flatten)]
    key: &'a XComKey,
    version: Version,
    name: String,
}

impl<'a> Named<'a> {
    pub(super) fn of(object: &Object<'a>) -> Self {
        Self { key: object.key, version: object.version, name: object.name().to_string() }
    }
}

/// One of several objects, each a call of its own.
#[derive(Debug, Serialize)]
pub(super) struct Wanted<'a> {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) object: Named<'a>,
}

/// From the process to the engine. What it says besides is for later versions.
#[derive(Debug, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Reply<'a> {
    Hello(Hello),
    Chunk {
        id: u64,
    },
    Done {
        id: u64,
    },
    Error {
        id: u64,
        #[serde(borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        message: Cow<'a, str>,
        #[serde(borrow, default)]
        hint: Option<Cow<'a, str>>,
    },
}

/// What a process says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Hello {
    pub(super) id: u64,
    pub(super) protocol: u32,
    pub(super) name: String,
    pub(super) store: String,
    pub(super) inline_limit: u64,
}

/// The kinds of errors that a process can tell; any other word is one of no special kind.
const KINDS: [ErrorKind; 9] = [
    ErrorKind::Lost,
    ErrorKind::Corrupt,
    ErrorKind::Exists,
    ErrorKind::Unavailable,
    ErrorKind::Full,
    ErrorKind::ReadOnly,
    ErrorKind::TooLarge,
    ErrorKind::Forbidden,
    ErrorKind::Configuration,
];

/// An error that the process told.
pub(super) fn told(backend: &str, kind: &str, message: &str, hint: Option<&str>) -> Error {
    let kind = KINDS.into_iter().find(|known| known.code() == kind).unwrap_or(ErrorKind::Other);
    let error = Error::new(kind, format!("the backend process `{backend}` says: {}", short(message)));
    match hint {
        Some(hint) => error.hint(short(hint)),
        None => error,
    }
}

/// At most a thousand characters of a text that somebody else wrote.
pub(super) fn short(text: &str) -> &str {
    const MOST: usize = 1000;
    text.char_indices().nth(MOST).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples in the protocol's description are what is sent and understood.
    #[test]
    fn the_examples_of_the_description() {
        let description = include_str!("../../../../docs/backend-process.md");
        let key = XComKey::new("weather", "manual__1", "read", 3, "rows").unwrap();
        let version = Version::from_code(0x0123_4567_89ab_cdef).unwrap();
        let object = Object { key: &key, version, store: "process", codec: "", key_id: "" };
        let (named, wanted) = (Named::of(&object), Wanted { id: 2, object: Named::of(&object) });
        for request in [
            Request::Hello { id: 0, protocol: 1, store: "process", inline_limit: 65_536, chunk: 262_144 },
            Request::Serialize { id: 1, object: named },
            Request::Chunk { id: 1 },
            Request::End { id: 1 },
            Request::Deserialize { objects: vec![wanted] },
            Request::Next { id: 2 },
            Request::Purge { id: 3, object: Named::of(&object) },
            Request::Clear { id: 4, task_instance: &key.ti },
            Request::Check { id: 5 },
            Request::Cancel { id: 1 },
        ] {
            let header = String::from_utf8(request.frame().header).unwrap();
            assert!(description.contains(&format!("\n{header}\n")), "{header}");
        }
        let replies: Vec<&str> = description.lines().filter(|line| line.starts_with(r#"{"is":"#)).collect();
        assert_eq!(replies.len(), 4);
        for reply in replies {
            assert!(serde_json::from_str::<Reply<'_>>(reply).is_ok(), "{reply}");
        }
        for kind in KINDS {
            assert!(description.contains(&format!("| `{}` |", kind.code())), "{kind:?}");
        }
    }
}
