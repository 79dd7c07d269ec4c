//! Whether pushes and pulls would work, as those hear it who watch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use excom_core::{Error, ErrorKind, Result, XComBackend};
use excom_server::Role;
use tokio::task::yield_now;
use tower::ServiceExt as _;

use crate::client::Server;

/// A backend whose store may be away.
#[derive(Debug, Default)]
struct Store {
    away: AtomicBool,
    looks: AtomicUsize,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("store")
    }
}

#[async_trait]
impl XComBackend for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn inline_limit(&self) -> u64 {
        1000
    }

    async fn check(&self) -> Result<()> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        match self.away.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Unavailable, "the store is away")),
            false => Ok(()),
        }
    }
}

fn gauge(server: &Server) -> bool {
    let told = server.call(&server.person(Role::Read), Method::GET, "/metrics", None).is(200).text;
    says_ready(&told)
}

fn says_ready(metrics: &str) -> bool {
    let ready = metrics.contains("\nexcom_ready 1\n");
    assert!(ready || metrics.contains("\nexcom_ready 0\n"), "{metrics}");
    ready
}

fn ready(server: &Server, status: u16) -> String {
    server.call("", Method::GET, "/health/ready", None).is(status).text
}

#[test]
fn the_gauge_tells_what_the_readiness_told() {
    let store = Arc::new(Store::default());
    let server = Server::new().sharing(store.clone());
    for (away, status) in [(false, 200), (true, 503), (false, 200)] {
        store.away.store(away, Ordering::Relaxed);
        ready(&server, status);
        for _ in 0..3 {
            assert_eq!(gauge(&server), !away);
        }
    }
    assert_eq!(store.looks.load(Ordering::Relaxed), 3, "a scrape looks at nothing");
}

#[test]
fn a_server_whose_readiness_nobody_asks_looks_by_itself() {
    let store = Arc::new(Store::default());
    let server = Server::new().sharing(store.clone());
    store.away.store(true, Ordering::Relaxed);
    let token = server.person(Role::Read);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scrape = async || {
            let request = Request::get("/metrics").header(header::AUTHORIZATION, format!("Bearer {token}"));
            let answer = server.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            says_ready(std::str::from_utf8(&body).unwrap())
        };
        while scrape().await {
            yield_now().await;
        }
        assert!(!scrape().await);
    });
    assert_eq!(store.looks.load(Ordering::Relaxed), 1, "not with each scrape");
}

/// Values that do without what is damaged are pushed and pulled as ever.
#[test]
fn what_is_damaged_is_told_and_keeps_nobody_from_pushing() {
    let server = Server::new();
    server.damage("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'excom_dictionary'");
    assert!(ready(&server, 200).contains("\"problems\""));
    assert!(gauge(&server));
}
