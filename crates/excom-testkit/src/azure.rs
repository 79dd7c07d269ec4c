//! An Azure Blob Storage for a test: Azurite, Microsoft's own emulator, with one container.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::python::{installed, succeeds};
use crate::service::Service;

const PACKAGE: &str = "azurite@3.37.0";

/// The container that exists.
pub const CONTAINER: &str = "values";

/// The account and key that every Azurite has; they open nothing else.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Makes the container. Arguments: port, account, key, container.
const MAKE_CONTAINER: &str = r"
const [port, account, key, container] = process.argv.slice(1);
const date = new Date().toUTCString(), version = '2021-12-02';
const what = ['PUT', ...Array(11).fill(''), `x-ms-date:${date}`, `x-ms-version:${version}`,
    `/${account}/${account}/${container}`, 'restype:container'].join('\n');
const seal = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(what).digest('base64');
const path = `/${account}/${container}?restype=container`;
const headers = {'x-ms-date': date, 'x-ms-version': version, authorization: `SharedKey ${account}:${seal}`};
require('http').request({port, host: '127.0.0.1', method: 'PUT', path, headers}, answer => {
    if (answer.statusCode != 201) { console.error(`the container cannot be made: ${answer.statusCode}`); }
    process.exit(answer.statusCode == 201 ? 0 : 1);
}).end();
";

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct Azure(Service);

impl Azure {
    /// Installs what is needed, once: Node's `npm` has to be there.
    ///
    /// # Errors
    /// Why it cannot be had: the reason for which a test skips.
    pub fn available() -> Result<(), String> {
        azurite().map(drop)
    }

    /// Starts a server and makes the container.
    ///
    /// # Errors
    /// When there is none, or it does not start; with what it said.
    pub fn start() -> Result<Self> {
        let program = azurite()?;
        let service = Service::start(Path::new("node"), |folder, port| {
            let mut arguments = vec![program.into_os_string(), "--location".into(), folder.into()];
            let port = port.to_string();
            let others =
                ["--blobHost", "127.0.0.1", "--blobPort", &port, "--silent", "--skipApiVersionCheck"];
            arguments.extend(others.map(OsString::from));
            arguments.push("--disableTelemetry".into());
            arguments
        })?;
        let port = service.port().to_string();
        succeeds(Command::new("node").args(["-e", MAKE_CONTAINER, &port, ACCOUNT, KEY, CONTAINER]))?;
        Ok(Self(service))
    }

    /// What a client is set to.
    pub fn options(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}/{ACCOUNT}", self.0.port());
        [
            ("AZURE_STORAGE_ENDPOINT", endpoint.as_str()),
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

/// Azurite's own program for blobs.
fn azurite() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/npm");
    let place = installed(&folder, &PACKAGE.replace('@', "-"), PACKAGE, |place| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(place).arg(PACKAGE);
        succeeds(&mut npm)
    })?;
    Ok(place.join("node_modules/azurite/dist/src/blob/main.js"))
}
