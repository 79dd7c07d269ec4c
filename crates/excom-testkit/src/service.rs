//! A program that a test starts to listen on a free port, and that ends with the test however that ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Result, port};

/// How long it may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs the program as long as its standard input is open.
const KEEPER: &str = r#""$@" & server=$!; read -r never; kill -s TERM $server; wait $server"#;

/// A running program. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    keeper: Child,
    port: u16,
    folder: TempDir,
}

impl Service {
    /// Starts a program with arguments that are made of its folder and its port.
    pub(crate) fn start(program: &Path, arguments: impl FnOnce(&Path, u16) -> Vec<OsString>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = port::free()?;
        let log = File::create(folder.path().join("log"))?;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(program).args(arguments(folder.path(), port));
        keeper.current_dir(folder.path()).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut service = Self { keeper: keeper.spawn()?, port, folder };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if began.elapsed() > START_LIMIT || service.keeper.try_wait()?.is_some() {
                let said = fs::read_to_string(service.folder.path().join("log"))?;
                return Err(format!("{} does not listen: {said}", program.display()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(service)
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends a request without a body; the answer with its head.
    pub(crate) fn request(&self, method: &str, target: &str) -> Result<String> {
        request(self.port, method, target)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The end of its input tells the keeper to end the program.
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

fn request(port: u16, method: &str, target: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    stream.write_all(format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
