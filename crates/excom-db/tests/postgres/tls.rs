//! TLS by libpq's parameters: whom a client trusts, and what it says of a server that it does not.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use excom_core::{ErrorKind, MetadataDb as _, Result};
use excom_db::postgres::{Db, Options};
use excom_testkit::certificates::Authority;
use excom_testkit::postgres::Postgres;
use excom_testkit::skip::skipped;

/// Writes a file that only the owner of a folder reads.
fn give(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let owner = std::fs::metadata(folder).unwrap();
    chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
}

/// A server for `localhost`, and a folder with what clients need.
fn secured() -> (Postgres, tempfile::TempDir) {
    let server = Postgres::start().unwrap();
    let (ours, others) = (Authority::new("ours").unwrap(), Authority::new("others").unwrap());
    let signed = ours.sign("server", &["localhost"]).unwrap();
    let data = server.data();
    give(&data, "server.crt", &signed.certificate);
    give(&data, "server.key", &signed.key);
    give(&data, "root.crt", ours.root());
    let hba = std::fs::read_to_string(data.join("pg_hba.conf")).unwrap();
    let hba = format!("hostssl all certified all cert\nhost all certified all reject\n{hba}");
    give(&data, "pg_hba.conf", &hba);
    server.sql("postgres", "CREATE USER certified SUPERUSER").unwrap();
    for set in ["ssl = on", "ssl_ca_file = 'root.crt'"] {
        server.sql("postgres", &format!("ALTER SYSTEM SET {set}")).unwrap();
    }
    server.crash().unwrap();
    let files = tempfile::tempdir().unwrap();
    let client = ours.sign("certified", &[]).unwrap();
    let stranger = others.sign("certified", &[]).unwrap();
    for (name, text) in [
        ("ours.pem", ours.root()),
        ("others.pem", others.root()),
        ("client.pem", &client.certificate),
        ("client.key", &client.key),
        ("stranger.pem", &stranger.certificate),
        ("stranger.key", &stranger.key),
    ] {
        give(files.path(), name, text);
    }
    (server, files)
}

#[test]
fn servers_are_trusted_as_the_url_says() {
    if let Err(why) = Postgres::available() {
        return skipped("tls::servers_are_trusted_as_the_url_says", &why);
    }
    let (server, files) = secured();
    let open = |user: &str, host: &str, parameters: &str| -> Result<()> {
        let url = server.url("postgres").replace("127.0.0.1", host).replace("sslmode=disable", "");
        let url = match user {
            "certified" => url.replace("excom:se%20cret%2F%25@", "certified@"),
            _ => url,
        };
        let files = files.path().display().to_string();
        let url = format!("{url}{}", parameters.replace("DIR", &files));
        pollster::block_on(async {
            let db = Db::open(&url, &Options::default()).await?;
            db.mark("m").await?;
            // Whether what is said there is encrypted.
            let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                WHERE application_name = 'excom'";
            let encrypted = server.sql("postgres", encrypted).unwrap();
            assert_eq!(encrypted, if parameters.contains("disable") { "f" } else { "t" }, "{parameters}");
            Ok(())
        })
    };
    for (host, parameters) in [
        ("127.0.0.1", "sslmode=disable"),
        ("127.0.0.1", ""),
        ("127.0.0.1", "sslmode=require"),
        ("127.0.0.1", "sslmode=require&sslrootcert=DIR/ours.pem"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=DIR/ours.pem"),
        ("localhost", "sslmode=verify-full&sslrootcert=DIR/ours.pem"),
    ] {
        open("", host, parameters).unwrap_or_else(|error| panic!("{parameters}: {error:?}"));
        // Its connections end soon after it.
        while server
            .sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'excom'")
            .unwrap()
            != "0"
        {
            std::thread::yield_now();
        }
    }
    for (host, parameters, what, hint) in [
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=DIR/ours.pem",
            "is not for that host",
            "sslmode=verify-ca",
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=DIR/others.pem",
            "authority that is not trusted",
            "sslrootcert=FILE",
        ),
        (
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=DIR/others.pem",
            "authority that is not trusted",
            "sslrootcert=FILE",
        ),
        // As with libpq, to name an authority is to ask for it.
        (
            "127.0.0.1",
            "sslmode=require&sslrootcert=DIR/others.pem",
            "authority that is not trusted",
            "sslrootcert",
        ),
        ("localhost", "sslmode=verify-full", "trust", "sslrootcert=FILE"),
        ("localhost", "sslmode=verify-ca&sslrootcert=DIR/none.pem", "none.pem cannot be read", "PEM"),
        ("localhost", "sslmode=verify-ca&sslrootcert=DIR/client.key", "client.key cannot be read", "PEM"),
        ("localhost", "sslmode=always", "`always` is no `sslmode`", "verify-full"),
        ("localhost", "sslcert=DIR/client.pem", "without the other", "key"),
    ] {
        let error = open("", host, parameters).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{parameters}: {error:?}");
        assert!(error.to_string().contains(what), "{parameters}: {error:?}");
        assert!(error.hints().iter().any(|said| said.contains(hint)), "{parameters}: {error:?}");
    }
    let client = "sslmode=verify-ca&sslrootcert=DIR/ours.pem&sslcert=DIR/client.pem&sslkey=DIR/client.key";
    open("certified", "127.0.0.1", client).unwrap();
    for parameters in ["sslmode=require", &client.replace("client.", "stranger.")] {
        let error = open("certified", "127.0.0.1", parameters).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{parameters}: {error:?}");
        assert!(error.to_string().contains("certificate"), "{parameters}: {error:?}");
    }
}

#[test]
fn a_server_without_tls_is_told() {
    let Some(server) = crate::support::server() else { return };
    let url = server.url("postgres").replace("sslmode=disable", "sslmode=require");
    let error = pollster::block_on(Db::open(&url, &Options::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(error.to_string().contains("does not support TLS"), "{error:?}");
    assert!(error.hints().iter().any(|hint| hint.contains("sslmode")), "{error:?}");
}
