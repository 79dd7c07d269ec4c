//! A server that is not there, or has no such database or user.

use excom_core::ErrorKind;

use crate::Server;
use crate::support::{Kind, open, own_server};

#[test]
fn a_server_that_is_away_is_told() {
    let Some(server) = own_server() else { return };
    let url = server.url(Server::FIRST);
    let missing = server.url("nothing_here");
    let stranger = url.replace("excom:", "stranger:");
    let opened = |url: &str| open(url).unwrap_err();
    let error = opened(&missing);
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(error.to_string().contains(Server::NOT_THERE), "{error}");
    let error = opened(&stranger);
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(!format!("{error:?}").contains(server.password()), "{error:?}");

    let db = open(&url).unwrap();
    drop(server);
    let error = pollster::block_on(excom_core::MetadataDb::mark(&db, "name")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let error = opened(&url);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(!format!("{error:?}").contains("se cret"), "{error:?}");
}
