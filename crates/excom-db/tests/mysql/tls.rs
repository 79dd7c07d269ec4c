//! TLS: whom a client trusts, and what it says of a server that it does not.

use excom_core::{ErrorKind, MetadataDb as _, Result};
use excom_db::mysql::{Db, Options};
use excom_testkit::certificates::Authority;
use excom_testkit::mysql::Mysql;
use excom_testkit::skip::skipped;

#[test]
fn servers_are_trusted_as_the_url_says() {
    use std::os::unix::fs::PermissionsExt as _;

    if let Err(why) = Mysql::available() {
        return skipped("tls::servers_are_trusted_as_the_url_says", &why);
    }
    let (ours, others) = (Authority::new("ours").unwrap(), Authority::new("others").unwrap());
    let signed = ours.sign("server", &["localhost"]).unwrap();
    let client = ours.sign("certified", &[]).unwrap();
    let files = tempfile::tempdir().unwrap();
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, text) in [
        ("ours.pem", ours.root()),
        ("others.pem", others.root()),
        ("server.pem", &signed.certificate),
        ("server.key", &signed.key),
        ("client.pem", &client.certificate),
        ("client.key", &client.key),
    ] {
        std::fs::write(files.path().join(name), text).unwrap();
    }
    let option = |name: &str, file: &str| format!("--{name}={}", files.path().join(file).display());
    let options =
        [option("ssl-ca", "ours.pem"), option("ssl-cert", "server.pem"), option("ssl-key", "server.key")];
    let server = Mysql::start_with(&options.each_ref().map(String::as_str)).unwrap();
    server
        .sql("excom", "CREATE USER certified@'%' REQUIRE X509; GRANT ALL ON excom.* TO certified@'%'")
        .unwrap();
    let open = |user: &str, host: &str, parameters: &str| -> Result<()> {
        let url = server.url("excom").replace("127.0.0.1", host);
        let url = match user {
            "certified" => url.replace("excom:se%20cret%2F%25@", "certified@"),
            _ => url,
        };
        let url = format!("{url}?{}", parameters.replace("DIR", &files.path().display().to_string()));
        pollster::block_on(async {
            let db = Db::open(&url, &Options::default()).await?;
            db.mark("m").await.map(drop)
        })
    };
    for (host, parameters) in [
        ("127.0.0.1", "ssl_mode=disabled"),
        ("127.0.0.1", "ssl_mode=required"),
        ("127.0.0.1", "ssl_mode=verify_ca&ssl_ca=DIR/ours.pem"),
        ("localhost", "ssl-mode=VERIFY_IDENTITY&ssl-ca=DIR/ours.pem"),
    ] {
        open("", host, parameters).unwrap_or_else(|error| panic!("{parameters}: {error:?}"));
    }
    for (host, parameters, what, hint) in [
        ("127.0.0.1", "ssl_ca=DIR/ours.pem", "is not for that host", "ssl_mode=verify_ca"),
        ("localhost", "ssl_ca=DIR/others.pem", "authority that is not trusted", "ssl_ca=FILE"),
        (
            "127.0.0.1",
            "ssl_mode=verify_ca&ssl_ca=DIR/others.pem",
            "authority that is not trusted",
            "ssl_ca=FILE",
        ),
        ("localhost", "ssl_mode=verify_identity", "authority that is not trusted", "ssl_ca=FILE"),
        ("localhost", "ssl_ca=DIR/none.pem", "none.pem", "PEM"),
        ("localhost", "ssl_mode=required&ssl_cert=DIR/client.pem", "without the other", "mysql://"),
    ] {
        let error = open("", host, parameters).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{parameters}: {error:?}");
        assert!(error.to_string().contains(what), "{parameters}: {error:?}");
        assert!(error.hints().iter().any(|said| said.contains(hint)), "{parameters}: {error:?}");
    }
    let client = "ssl_mode=verify_ca&ssl_ca=DIR/ours.pem&ssl_cert=DIR/client.pem&ssl_key=DIR/client.key";
    open("certified", "127.0.0.1", client).unwrap();
    let error = open("certified", "127.0.0.1", "ssl_mode=required").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(error.hints().iter().any(|hint| hint.contains("ssl_cert")), "{error:?}");
}

#[test]
fn a_server_without_tls_is_told() {
    if let Err(why) = Mysql::available() {
        return skipped("tls::a_server_without_tls_is_told", &why);
    }
    let Some(server) = crate::support::server() else { return };
    let url = server.url("excom") + "?ssl_mode=required";
    let error = pollster::block_on(Db::open(&url, &Options::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(error.hints().iter().any(|hint| hint.contains("ssl_mode")), "{error:?}");
}
