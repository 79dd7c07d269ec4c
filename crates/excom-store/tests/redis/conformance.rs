//! The suite that every value store passes, on every kind of server.

use std::sync::Arc;

use excom_core::ValueStore;
use excom_store::{Redis as Store, RedisOptions};
use excom_testkit::redis::{Certificates, Cluster, Redis};

use crate::support::{client, open, options, redis, valkey};

fn passes(store: Store) {
    let store: Arc<dyn ValueStore> = Arc::new(store);
    excom_core::conformance::value_store(&store);
}

#[test]
fn a_server_is_a_value_store() {
    let Some(program) = redis("a_server_is_a_value_store") else { return };
    let server = Redis::start(&program, "").unwrap();
    passes(open(&server.url()));
    let left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut client(&server.url())).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_cluster_is_a_value_store() {
    let Some(program) = redis("a_cluster_is_a_value_store") else { return };
    let cluster = Cluster::start(&program, "").unwrap();
    passes(open(&cluster.url()));
}

#[test]
fn valkey_that_syncs_every_second_is_a_value_store() {
    let Some(program) = valkey("valkey_that_syncs_every_second_is_a_value_store") else { return };
    let server = Redis::start(&program, "appendfsync everysec\n").unwrap();
    passes(open(&server.url().replace("redis", "valkey")));
}

#[test]
fn a_valkey_cluster_that_syncs_every_second_is_a_value_store() {
    let Some(program) = valkey("a_valkey_cluster_that_syncs_every_second_is_a_value_store") else { return };
    let cluster = Cluster::start(&program, "appendfsync everysec\n").unwrap();
    passes(open(&cluster.url()));
}

#[test]
fn tls_a_user_and_a_password() {
    let Some(program) = redis("tls_a_user_and_a_password") else { return };
    let certificates = Certificates::new().unwrap();
    let server = Redis::start_with_tls(&program, &certificates).unwrap();
    let mut admin = client(&server.url());
    redis::cmd("ACL")
        .arg(&["SETUSER", "excom", "on", ">se cret/%", "~excom:*", "+@all"])
        .exec(&mut admin)
        .unwrap();
    let url = server.tls_url().replace("//", "//excom:se%20cret%2F%25@");
    let trusting = RedisOptions { root_certificate: Some(certificates.root.into_bytes()), ..options() };
    passes(Store::open(&url, trusting).unwrap());
}
