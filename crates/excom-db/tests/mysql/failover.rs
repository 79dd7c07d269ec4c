//! Another server, or another state, is where the database was: it is known that it is not the one, so no XCom seems
//! never to have been pushed.

use excom_core::db::Scope;
use excom_core::{Caller, Engine, ErrorKind};
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

/// A server with a follower, an engine that is led to the first, and what leads it to another.
fn followed(test: &str) -> Option<(Alone, Mysql, Proxy, Engine)> {
    let alone = Alone::with_log(test)?;
    alone.expects(&[key("t"), key("other")]);
    let replica = Mysql::start().unwrap();
    replica.follow(&alone).unwrap();
    let proxy = Proxy::start(alone.port(), false, 21).unwrap();
    let url = alone.url().replace(&format!(":{}/", alone.port()), &format!(":{}/", proxy.port()));
    let engine = Alone::engine(&url).unwrap();
    Some((alone, replica, proxy, engine))
}

fn lead(proxy: &Proxy, to: &Mysql) {
    proxy.set(Weather::Away);
    proxy.lead_to(to.port());
    proxy.settle().unwrap();
}

#[test]
fn an_older_state_is_refused() {
    let Some((alone, replica, proxy, engine)) = followed("failover::an_older_state_is_refused") else {
        return;
    };
    let key = key("t");
    push(&engine, &key, 1).unwrap();
    replica.catch_up(&alone).unwrap();
    replica.sql("excom", "STOP SLAVE").unwrap();
    push(&engine, &key, 2).unwrap();
    lead(&proxy, &replica);
    for result in [pulled(&engine, &key).map(drop), push(&engine, &key, 3)] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("an older state"), "{error:?}");
    }
    lead(&proxy, &alone);
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "2");
    // Who begins with it takes it as it is.
    lead(&proxy, &replica);
    let url = alone.url().replace(&format!(":{}/", alone.port()), &format!(":{}/", replica.port()));
    let engine = Alone::engine(&url).unwrap();
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(&engine, &key, 4).unwrap();
}

#[test]
fn what_has_all_that_was_acknowledged_goes_on() {
    let test = "failover::what_has_all_that_was_acknowledged_goes_on";
    let Some((alone, replica, proxy, engine)) = followed(test) else { return };
    let (kept, gone) = (key("t"), key("other"));
    for value in 1..4 {
        push(&engine, &kept, value).unwrap();
        push(&engine, &gone, value).unwrap();
    }
    let delete = || {
        let scope = Scope::Key(gone.clone());
        pollster::block_on(engine.delete(&Caller::user("test"), &scope)).unwrap();
    };
    // The newest entry is not there any more.
    delete();
    alone.crash().unwrap();
    assert_eq!(pulled(&engine, &kept).unwrap().as_str(), "3", "a restart loses nothing");
    assert_eq!(pulled(&engine, &gone).unwrap_err().kind(), ErrorKind::NoValue);
    push(&engine, &gone, 5).unwrap();
    delete();

    replica.catch_up(&alone).unwrap();
    lead(&proxy, &replica);
    assert_eq!(pulled(&engine, &kept).unwrap().as_str(), "3");
    push(&engine, &kept, 6).unwrap();
    assert_eq!(pulled(&engine, &kept).unwrap().as_str(), "6");
}
