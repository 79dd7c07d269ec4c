//! The two arguments by which a supervisor tells a task where it listens.

use std::ffi::OsString;
use std::net::SocketAddr;

use excom_core::{Error, ErrorKind, Result};

/// Where the supervisor listens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Addresses {
    pub(super) comm: SocketAddr,
    pub(super) logs: SocketAddr,
}

impl Addresses {
    /// None where neither argument is given.
    pub(super) fn read(arguments: impl Iterator<Item = OsString>) -> Option<Result<Self>> {
        let (mut comm, mut logs) = (None, None);
        for argument in arguments {
            let Some((name, value)) = argument.to_str().and_then(|argument| argument.split_once('=')) else {
                continue;
            };
            match name {
                "--comm" => comm = Some(value.to_owned()),
                "--logs" => logs = Some(value.to_owned()),
                _ => (),
            }
        }
        if comm.is_none() && logs.is_none() {
            return None;
        }
        let address = |name: &str, text: Option<String>| {
            let text = text.ok_or_else(|| usage(&format!("there is no --{name}=")))?;
            text.parse().map_err(|_| usage(&format!("`{text}` is no address")))
        };
        Some(address("comm", comm).and_then(|comm| Ok(Self { comm, logs: address("logs", logs)? })))
    }
}

fn usage(what: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("the task cannot reach its supervisor: {what}"))
        .hint("a supervisor starts a task with --comm=127.0.0.1:PORT --logs=127.0.0.1:PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Option<Result<Addresses>> {
        Addresses::read(arguments.iter().map(OsString::from))
    }

    #[test]
    fn only_a_supervisor_makes_a_task_of_a_program() {
        assert!(read(&["run", "--comms=1", "logs"]).is_none());
        let both = read(&["--comm=127.0.0.1:1", "--logs=127.0.0.1:2"]).unwrap().unwrap();
        assert_eq!((both.comm.port(), both.logs.port()), (1, 2));
        for arguments in [&["--comm=127.0.0.1:1"][..], &["--logs=here", "--comm=127.0.0.1:1"]] {
            let error = read(arguments).unwrap().unwrap_err();
            assert!(error.to_string().starts_with("the task cannot reach its supervisor"), "{error}");
        }
    }
}
