//! An S3 for a test: the server of moto, an imitation of Amazon's services in Python, with one bucket.

use std::ffi::OsString;

use crate::Result;
use crate::python::environment;
use crate::service::Service;

/// What the virtual environment has; moto's server without extras speaks S3.
const PACKAGES: [&str; 1] = ["moto[s3,server]==5.2.5"];

/// The bucket that exists.
pub const BUCKET: &str = "values";

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct S3(Service);

impl S3 {
    /// Installs what is needed, once.
    ///
    /// # Errors
    /// Why it cannot be had: the reason for which a test skips.
    pub fn available() -> Result<(), String> {
        environment("moto-5.2.5", &PACKAGES).map(drop)
    }

    /// Starts a server and makes the bucket.
    ///
    /// # Errors
    /// When there is none, or it does not start; with what it said.
    pub fn start() -> Result<Self> {
        let program = environment("moto-5.2.5", &PACKAGES)?.join("bin/moto_server");
        let arguments = |port: u16| ["-H", "127.0.0.1", "-p", &port.to_string()].map(OsString::from).to_vec();
        let service = Service::start(&program, |_, port| arguments(port))?;
        let made = service.request("PUT", &format!("/{BUCKET}"))?;
        if !made.starts_with("HTTP/1.1 200") {
            return Err(format!("the bucket cannot be made: {made}").into());
        }
        Ok(Self(service))
    }

    /// What a client is set to, as in the environment of Amazon's own tools.
    pub fn options(&self) -> Vec<(String, String)> {
        self.options_through(self.0.port())
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// As [`S3::options`], for clients that come through another port.
    pub fn options_through(&self, port: u16) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{port}");
        [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "excom-test"),
            ("AWS_SECRET_ACCESS_KEY", "secret/of+the=test"),
            ("AWS_REGION", "us-east-1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// How many uploads were begun and neither completed nor aborted.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn unfinished(&self) -> Result<usize> {
        Ok(self.0.request("GET", &format!("/{BUCKET}?uploads"))?.matches("<UploadId>").count())
    }
}
