//! Another server is where the database was: it is known that it is not the one, so no XCom seems never to have been
//! pushed.

use std::sync::Arc;

use excom_core::{Caller, Engine, ErrorKind, Value, XComKey, memory};
use excom_db::mysql::{Db, Options};
use excom_testkit::mysql::Mysql;
use excom_testkit::proxy::{Proxy, Weather};
use excom_testkit::skip::skipped;

use crate::support::pulled;

fn open(url: &str) -> Engine {
    let db = pollster::block_on(Db::open(url, &Options::default())).unwrap();
    Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build()
}

#[test]
fn another_database_at_the_address_is_refused() {
    if let Err(why) = Mysql::available() {
        return skipped("failover::another_database_at_the_address_is_refused", &why);
    }
    let (server, replica) = (Mysql::start().unwrap(), Mysql::start().unwrap());
    let proxy = Proxy::start(server.port(), false, 21).unwrap();
    let url = server.url("excom").replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let engine = open(&url);
    let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
    let push = |value: u32| {
        let value = Value::of(&value).unwrap();
        pollster::block_on(engine.push(&Caller::user("test"), &key, value.into())).map(drop)
    };
    let fail_over = |to: &Mysql| {
        proxy.set(Weather::Away);
        proxy.lead_to(to.port());
        proxy.settle().unwrap();
    };
    let refused = |told: &str| {
        let health = pollster::block_on(engine.health()).map(drop);
        for result in [pulled(&engine, &key).map(drop), push(2), health] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(error.to_string().contains(told), "{error:?}");
            assert!(error.hints().iter().any(|hint| hint.contains("failover")), "{error:?}");
        }
    };
    push(1).unwrap();
    fail_over(&replica);
    refused("none of Excom's tables are there");
    assert_eq!(replica.sql("excom", "SHOW TABLES").unwrap(), "", "nothing is made there");

    // Somebody else begins with it.
    let other = open(&url);
    refused("its tables are of another one");
    assert_eq!(pulled(&other, &key).unwrap_err().kind(), ErrorKind::NoValue);

    // The database is back.
    fail_over(&server);
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(3).unwrap();
}
