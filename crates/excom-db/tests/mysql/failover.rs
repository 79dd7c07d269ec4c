//! Another server is where the database was: it is known that it is not the one, so no XCom seems never to have been
//! pushed.

use excom_core::ErrorKind;
use excom_testkit::mysql::Mysql;
use excom_testkit::proxy::{Proxy, Weather};

use crate::alone::Alone;
use crate::faults::{key, pulled, push};

#[test]
fn another_database_at_the_address_is_refused() {
    let Some(alone) = Alone::start("failover::another_database_at_the_address_is_refused") else { return };
    let (replica, key) = (alone.replica(), key("t"));
    let proxy = Proxy::start(alone.port(), false, 21).unwrap();
    let url = alone.url().replace(&format!(":{}/", alone.port()), &format!(":{}/", proxy.port()));
    alone.expects(std::slice::from_ref(&key));
    let engine = Alone::engine(&url).unwrap();
    let fail_over = |to: &Mysql| {
        proxy.set(Weather::Away);
        proxy.lead_to(to.port());
        proxy.settle().unwrap();
    };
    let refused = |told: &str| {
        let health = pollster::block_on(engine.health()).map(drop);
        for result in [pulled(&engine, &key).map(drop), push(&engine, &key, 2), health] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(error.to_string().contains(told), "{error:?}");
            assert!(error.hints().iter().any(|hint| hint.contains("failover")), "{error:?}");
        }
    };
    push(&engine, &key, 1).unwrap();
    fail_over(&replica);
    refused("none of Excom's tables are there");
    assert_eq!(replica.sql(alone.database(), "SHOW TABLES").unwrap(), "", "nothing is made there");

    // Somebody else begins with it.
    alone.begin(&replica);
    let other = Alone::engine(&url).unwrap();
    refused("its tables are of another one");
    assert_eq!(pulled(&other, &key).unwrap_err().kind(), ErrorKind::NoValue);

    // The database is back.
    fail_over(&alone);
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(&engine, &key, 3).unwrap();
}
