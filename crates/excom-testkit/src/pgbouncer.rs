//! A real PgBouncer in transaction mode before a PostgreSQL of a test. It is the system's; where it is missing and the
//! test runs as root, `apt-get` installs it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::Result;
use crate::postgres::Postgres;
use crate::service::Service;
use crate::system;

/// A running PgBouncer. It ends when it is dropped.
#[derive(Debug)]
pub struct PgBouncer {
    service: Service,
    server: u16,
}

impl PgBouncer {
    /// Whether PgBouncer is installed; what is missing, otherwise.
    ///
    /// # Errors
    /// What is missing, for the line that counts the test as skipped.
    pub fn available() -> Result<(), String> {
        system::program("pgbouncer", "pgbouncer").map(drop)
    }

    /// Starts one whose clients share so many connections to each database of a server, one for each transaction.
    ///
    /// # Errors
    /// When there is none, or it does not start; with what it said.
    pub fn start(server: &Postgres, connections: usize) -> Result<Self> {
        let program = system::program("pgbouncer", "pgbouncer")?;
        let (name, password) = (server.user(), server.password());
        let server = server.port();
        let mut problem = Ok(());
        let service = Service::start(&program, |folder, port| {
            problem = configure(folder, port, server, connections, name, password);
            let mut arguments: Vec<OsString> = vec![folder.join("pgbouncer.ini").into()];
            // It does not run as root.
            if fs::metadata(folder).is_ok_and(|made| made.uid() == 0) {
                arguments.extend(["-u".into(), "nobody".into()]);
            }
            arguments
        });
        problem?;
        Ok(Self { service: service?, server })
    }

    /// The URL of a database behind it, by its URL on the server.
    pub fn url(&self, url: &str) -> String {
        url.replace(&format!(":{}/", self.server), &format!(":{}/", self.service.port()))
    }
}

fn configure(
    folder: &Path,
    port: u16,
    server: u16,
    connections: usize,
    name: &str,
    password: &str,
) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let users = folder.join("users.txt");
    fs::write(&users, format!("\"{name}\" \"{password}\"\n"))?;
    fs::write(
        folder.join("pgbouncer.ini"),
        format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {connections}\nmax_client_conn = 1000\n",
            users.display()
        ),
    )?;
    Ok(())
}
