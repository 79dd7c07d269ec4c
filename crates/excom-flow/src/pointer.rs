//! Pointers: what a task pushes instead of data that is too large, or in the wrong place, for an XCom.
//!
//! A pointer says where the data is and, when it is known, how to tell that it is still the same. Moving
//! and reading the data is the tasks' own business; only files can be checked here.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use excom_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer, Serialize, de};
use sha2::{Digest as _, Sha256};

use crate::arg::{Input, IntoArg, Many, One, XComArg};
use crate::sequence::Expand;

/// A reference to data that lives elsewhere: a file, or an object in a store.
///
/// As an XCom it is a plain dict that any language reads:
///
/// | name | | |
/// | --- | --- | --- |
/// | `uri` | text | where the data is: `file:///data/a.csv`, `s3://bucket/a.csv`, or a path |
/// | `size` | number, may be missing | its size in bytes |
/// | `hash` | text, may be missing | `sha256:` and 64 hex digits |
/// | `media_type` | text, may be missing | what it is, such as `text/csv` |
///
/// ```
/// use excom_flow::Pointer;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("days.csv");
/// std::fs::write(&path, "day,degrees\n2026-11-21,21.5\n")?;
///
/// let pointer = Pointer::to_file(&path)?.media_type("text/csv");
/// assert_eq!(pointer.size, Some(28));
/// assert_eq!(pointer.path()?, path);
/// pointer.check()?;
///
/// std::fs::write(&path, "day,degrees\n2026-11-21,99.5\n")?;
/// assert!(pointer.check().unwrap_err().to_string().contains("sha256:"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pointer {
    /// Where the data is: a URI, or the path of a file.
    pub uri: String,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its hash, as `sha256:` and hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// What it is, such as `text/csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

impl Pointer {
    /// A pointer to data that is not looked at.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), size: None, hash: None, media_type: None }
    }

    /// A pointer to a file, with its size and hash. It reads the whole file, with bounded memory, and
    /// blocks while it does: in an async task, call it from `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    /// When the file cannot be read, or its path is not text.
    pub fn to_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = std::path::absolute(path.as_ref())
            .map_err(|error| unreadable(&path.as_ref().display(), error))?;
        let (size, hash) = measure(&path).map_err(|error| unreadable(&path.display(), error))?;
        let text = path.to_str().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidName,
                format!("a pointer cannot name {}: the path is not UTF-8", path.display()),
            )
            .hint("rename the file")
        })?;
        Ok(Self::new(format!("file://{}", percent_encode(text))).size(size).hash(hash))
    }

    /// The same pointer with the data's size in bytes.
    #[must_use]
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// The same pointer with the data's hash, `sha256:` and 64 hex digits.
    #[must_use]
    pub fn hash(mut self, hash: impl Into<String>) -> Self {
        self.hash = Some(hash.into());
        self
    }

    /// The same pointer with what the data is, such as `text/csv`.
    #[must_use]
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// The path of the file that it points to.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it points to something else than a file of this machine.
    pub fn path(&self) -> Result<PathBuf> {
        let no_file = || {
            Error::new(ErrorKind::InvalidRequest, format!("`{}` is no file of this machine", self.uri))
                .hint("read it with the client of its store")
        };
        let Some((scheme, rest)) = self.uri.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            return Ok(PathBuf::from(&self.uri));
        };
        if !scheme.eq_ignore_ascii_case("file") {
            return Err(no_file());
        }
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.strip_prefix("localhost").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(no_file());
        }
        percent_decode(path).map(PathBuf::from).ok_or_else(no_file)
    }

    /// Checks that the file is there and is still what the pointer says, as far as it says it: its size
    /// and its hash. With a hash it reads the whole file, and blocks while it does.
    ///
    /// # Errors
    /// - [`ErrorKind::Lost`] when there is no file, [`ErrorKind::Corrupt`] when it has another size or
    ///   hash, with what was expected and what was found;
    /// - [`ErrorKind::InvalidRequest`] for what cannot be checked: no file, or another kind of hash.
    pub fn check(&self) -> Result<()> {
        let path = self.path()?;
        let metadata = std::fs::metadata(&path).map_err(|error| unreadable(&path.display(), error))?;
        if !metadata.is_file() {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!("{} is no file, so it cannot be checked", path.display()),
            ));
        }
        if let Some(size) = self.size.filter(|size| *size != metadata.len()) {
            return Err(changed(&path, &format!("{size} bytes"), &format!("{} bytes", metadata.len())));
        }
        let Some(expected) = &self.hash else { return Ok(()) };
        if !expected.starts_with("sha256:") {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!("the hash `{expected}` of {} cannot be checked", path.display()),
            )
            .hint("write it as `sha256:` and 64 hex digits"));
        }
        let (_, found) = measure(&path).map_err(|error| unreadable(&path.display(), error))?;
        if expected.eq_ignore_ascii_case(&found) { Ok(()) } else { Err(changed(&path, expected, &found)) }
    }

    /// The pointer, when [`check`](Self::check) finds nothing wrong.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn checked(self) -> Result<Checked<Self>> {
        self.check().map(|()| Checked(self))
    }
}

/// A [`Pointer`] that was checked when it was taken.
///
/// A task whose argument is a `Checked<Pointer>` runs only when the file is there and unchanged. Without
/// `Checked`, a pointer is only a name: nobody touches the data.
///
/// With a hash the whole file is read on the thread that takes the argument. An async task with files of
/// gigabytes takes a plain `Pointer`, and calls [`Pointer::check`] where it may block.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
/// use excom::{Checked, Pointer};
///
/// #[task]
/// fn export() -> Result<Pointer> { Ok(Pointer::to_file("/data/days.csv")?) }
///
/// #[task]
/// fn load(file: Checked<Pointer>) -> Result<usize> {
///     Ok(std::fs::read_to_string(file.path()?)?.lines().count())
/// }
///
/// #[dag]
/// fn days(dag: &Dag) {
///     load(dag, export(dag));
/// }
/// assert_eq!(days().graph()?.tasks().len(), 2);
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Checked<T>(T);

impl<T> Checked<T> {
    /// What was checked.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Checked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Checked<Pointer> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Pointer::deserialize(deserializer)?.checked().map_err(de::Error::custom)
    }
}

// Not offered where an argument of another type does not fit.
#[diagnostic::do_not_recommend]
impl IntoArg<Checked<Pointer>> for XComArg<Pointer, One> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.into()
    }
}

#[diagnostic::do_not_recommend]
impl IntoArg<Checked<Pointer>> for Pointer {
    type Arity = One;

    fn into_arg(self) -> Input {
        Input::literal(&self)
    }
}

#[diagnostic::do_not_recommend]
impl IntoArg<Checked<Pointer>> for Expand<Pointer> {
    type Arity = Many;

    fn into_arg(self) -> Input {
        self.into()
    }
}

/// The size and the hash of a file.
fn measure(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let length = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&piece[..length]);
        size += length as u64;
    }
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((size, format!("sha256:{hex}")))
}

fn unreadable(path: &dyn std::fmt::Display, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        return Error::new(ErrorKind::Lost, format!("there is no file {path}"))
            .hint("it was moved or removed, or it is on the machine of the task that wrote it")
            .because(error);
    }
    Error::new(ErrorKind::Other, format!("cannot read the file {path}")).because(error)
}

fn changed(path: &Path, expected: &str, found: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the file {} is not what was pointed to: expected {expected}, found {found}", path.display()),
    )
    .hint("it was written again since the pointer was made; run the task that makes it again")
}

/// Whether it is what stands before the `:` of a URI; a single letter is a drive.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// A path as a part of a URI (RFC 3986).
fn percent_encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
            let value = digit()? << 4 | digit()?;
            decoded.push(u8::try_from(value).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use excom_core::Value;

    use super::*;

    #[test]
    fn a_pointer_is_a_plain_dict() {
        let pointer = Pointer::new("s3://b/k").size(5).hash("sha256:00").media_type("text/csv");
        let value = Value::of(&pointer).unwrap();
        let text = r#"{"uri":"s3://b/k","size":5,"hash":"sha256:00","media_type":"text/csv"}"#;
        assert_eq!(value.as_str(), text);
        assert_eq!(value.get::<Pointer>().unwrap(), pointer);
        assert_eq!(Value::of(&Pointer::new("a.csv")).unwrap().as_str(), r#"{"uri":"a.csv"}"#);
        let more = Value::parse(r#"{"uri": "a.csv", "size": null, "owner": "ana"}"#).unwrap();
        assert_eq!(more.get::<Pointer>().unwrap(), Pointer::new("a.csv"));
    }

    #[test]
    fn paths_go_into_a_uri_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plain.csv", "a b#c?d%41;é.csv", "..%2f"] {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            let pointer = Pointer::to_file(&path).unwrap();
            assert!(pointer.uri.starts_with("file:///") && !pointer.uri.contains([' ', '#', '?']));
            assert_eq!(pointer.path().unwrap(), path);
            pointer.check().unwrap();
        }
        for (uri, path) in [
            ("data/a.csv", "data/a.csv"),
            ("/data/100%.csv", "/data/100%.csv"),
            ("file:///a%20b", "/a b"),
            ("file:/a", "/a"),
            ("FILE://localhost/a", "/a"),
        ] {
            assert_eq!(Pointer::new(uri).path().unwrap(), Path::new(path), "{uri}");
        }
        for uri in ["s3://b/k", "file://host/a", "file:///%zz", "file:///%ff", "file:a"] {
            let error = Pointer::new(uri).path().unwrap_err();
            assert!(error.to_string().contains(uri) && !error.hints().is_empty(), "{error:?}");
        }
    }

    #[test]
    fn the_hash_is_what_other_tools_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let pointer = Pointer::to_file(&path).unwrap();
        // The example of FIPS 180-2.
        let hash = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((pointer.size, pointer.hash.as_deref()), (Some(3), Some(hash)));
    }

    #[test]
    fn a_check_says_what_was_expected_and_what_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let missing = Pointer::to_file(&path).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Lost);
        std::fs::write(&path, "12345").unwrap();
        let pointer = Pointer::to_file(&path).unwrap();
        pointer
            .clone()
            .hash(pointer.hash.clone().unwrap().to_uppercase().replace("SHA", "sha"))
            .check()
            .unwrap();

        std::fs::write(&path, "123").unwrap();
        let error = pointer.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().ends_with("expected 5 bytes, found 3 bytes"), "{error}");
        std::fs::write(&path, "54321").unwrap();
        let error = pointer.check().unwrap_err();
        assert!(error.to_string().contains(pointer.hash.as_deref().unwrap()), "{error}");
        assert!(error.to_string().contains("a.csv") && !error.hints().is_empty(), "{error:?}");
        assert_eq!(pointer.clone().hash("md5:00").check().unwrap_err().kind(), ErrorKind::InvalidRequest);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(pointer.check().unwrap_err().kind(), ErrorKind::Lost);
        let folder = Pointer::new(folder.path().to_str().unwrap());
        assert_eq!(folder.check().unwrap_err().kind(), ErrorKind::InvalidRequest);
        assert_eq!(Pointer::new("s3://b/k").check().unwrap_err().kind(), ErrorKind::InvalidRequest);
    }

    #[test]
    fn only_a_checked_pointer_touches_the_data() {
        let value = Value::of(&Pointer::new("/nowhere/a.csv")).unwrap();
        assert!(value.get::<Pointer>().is_ok());
        let error = value.get::<Checked<Pointer>>().unwrap_err();
        assert!(error.to_string().contains("$: there is no file /nowhere/a.csv"), "{error}");
    }
}
