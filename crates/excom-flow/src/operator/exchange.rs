//! A private folder through which a program takes its inputs and hands over its outputs, as JSON files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use excom_core::{Error, ErrorKind, RETURN_VALUE, Result, Value, XComKey};
use tempfile::TempDir;

use crate::error::{invalid, within};
use crate::instance::TaskInstance;

/// The longest input that is a variable too, in bytes of JSON text.
const LONGEST_INPUT_VARIABLE: usize = 64 << 10;

/// The largest file that is taken as an output, in bytes. It is held in memory.
const LARGEST_OUTPUT: u64 = 64 << 20;

/// The folder of one try: only its owner may read it, and it is gone when the try is.
#[derive(Debug)]
pub(super) struct Exchange {
    folder: TempDir,
}

/// What a program handed over, all of it checked.
#[derive(Debug)]
pub(super) struct Outputs {
    /// What it returns; null when it wrote nothing.
    pub(super) returned: Option<Value>,
    pub(super) pushed: Vec<(XComKey, Value)>,
}

impl Exchange {
    /// Makes the folder and writes the inputs.
    pub(super) fn new(inputs: &[(String, Value)]) -> Result<Self> {
        let refuse = |e: io::Error| {
            Error::new(ErrorKind::Other, "the folder for a program's inputs and outputs cannot be written")
                .because(e)
                .hint("is there room in the folder for temporary files (TMPDIR)?")
        };
        let private = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("excom-task-").permissions(private).tempdir();
        let folder = folder.map_err(refuse)?;
        let exchange = Self { folder };
        fs::create_dir(exchange.inputs()).map_err(refuse)?;
        fs::create_dir(exchange.pushed()).map_err(refuse)?;
        for (name, value) in inputs {
            fs::write(exchange.inputs().join(format!("{name}.json")), value.bytes()).map_err(refuse)?;
        }
        Ok(exchange)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn inputs(&self) -> PathBuf {
        self.path().join("inputs")
    }

    fn pushed(&self) -> PathBuf {
        self.path().join("push")
    }

    fn output(&self) -> PathBuf {
        self.path().join("output.json")
    }

    /// The variables by which the program finds everything.
    pub(super) fn env(&self, inputs: &[(String, Value)]) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.display().to_string();
        let mut env = vec![
            ("EXCOM_INPUTS".to_owned(), path(self.inputs())),
            ("EXCOM_OUTPUT".to_owned(), path(self.output())),
            ("EXCOM_PUSH".to_owned(), path(self.pushed())),
        ];
        let small = inputs.iter().filter(|(_, value)| value.bytes().len() <= LONGEST_INPUT_VARIABLE);
        env.extend(small.map(|(name, value)| (variable(name), value.as_str().to_owned())));
        env
    }

    /// Reads what the program wrote.
    pub(super) fn outputs(&self, ti: &TaskInstance) -> Result<Outputs> {
        let returned = match self.output().try_exists() {
            Ok(false) => None,
            _ => Some(read(&self.output(), "the output")?),
        };
        let mut pushed = BTreeMap::new();
        let refuse = |e| Error::new(ErrorKind::Other, "the folder EXCOM_PUSH cannot be read").because(e);
        for entry in fs::read_dir(self.pushed()).map_err(refuse)? {
            let name = entry.map_err(refuse)?.file_name();
            let name = name.to_string_lossy();
            let place = format!("`{name}` in EXCOM_PUSH");
            let key = key(&name).ok_or_else(|| {
                invalid(format!("{place} is not the name of an XCom"))
                    .hint("name the file after the key, with `.json` behind it; write `%2F` for `/`")
            })?;
            let key = ti.key().xcom(key).map_err(|e| within(&place, e))?;
            if &*key.key == RETURN_VALUE {
                return Err(invalid(format!("{place} is what the program returns"))
                    .hint("write it to the file that EXCOM_OUTPUT names"));
            }
            pushed.insert(key.key.clone(), (key, read(&self.pushed().join(&*name), &place)?));
        }
        Ok(Outputs { returned, pushed: pushed.into_values().collect() })
    }
}

/// The variable of an input: `EXCOM_INPUT_ROWS` for `rows`.
fn variable(input: &str) -> String {
    format!("EXCOM_INPUT_{}", input.to_ascii_uppercase())
}

/// What is wrong with the name of an input, if anything: it is the name of a file and of a variable.
pub(super) fn problem(name: &str) -> Option<Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (name.is_empty() || name.len() > 200 || !name.bytes().all(fits)).then(|| {
        invalid(format!("`{name}` cannot be the name of an input"))
            .hint("a name has letters from a to z, digits and `_`, because it is part of a variable's name")
    })
}

/// The key that a file is for: its name without `.json`, with `%XX` as the byte that it stands for.
fn key(file: &str) -> Option<String> {
    let mut rest = file.strip_suffix(".json")?.as_bytes();
    let mut key = Vec::with_capacity(rest.len());
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            key.push(*byte);
            continue;
        }
        let digit = |index: usize| char::from(*rest.get(index)?).to_digit(16);
        key.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(key).ok()
}

fn read(path: &Path, what: &str) -> Result<Value> {
    let refuse = |e: io::Error| Error::new(ErrorKind::Other, format!("{what} cannot be read")).because(e);
    // Opening a pipe would wait for somebody to write into it.
    if !fs::metadata(path).map_err(refuse)?.is_file() {
        return Err(invalid(format!("{what} is not a file")));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(refuse)?;
    file.take(LARGEST_OUTPUT + 1).read_to_end(&mut bytes).map_err(refuse)?;
    if bytes.len() as u64 > LARGEST_OUTPUT {
        return Err(Error::new(ErrorKind::TooLarge, format!("{what} is over 64 MiB"))
            .hint("push it with `excom xcom push -`, which streams, or keep the data in a file of its own"));
    }
    Value::parse(bytes).map_err(|e| within(&format!("{what} is no JSON"), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_files() {
        assert_eq!(key("rows.json").unwrap(), "rows");
        assert_eq!(key("a%2Fb.json.json").unwrap(), "a/b.json");
        assert_eq!(key("%C3%A9 é.json").unwrap(), "é é");
        for wrong in ["rows", "a%2.json", "a%.json", "%zz.json", "%ff.json", "%+1.json"] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }
}
