//! Whether pushes and pulls would work, as those hear it who watch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use excom_core::{Error, ErrorKind, Result, XComBackend};
use excom_server::Role;
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{advance, timeout};
use tower::ServiceExt as _;

use crate::client::Server;

/// A backend whose store may be away, and may answer when it is let.
#[derive(Debug)]
struct Store {
    away: AtomicBool,
    looks: AtomicUsize,
    answers: Semaphore,
}

impl Store {
    fn new() -> Arc<Self> {
        let answers = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { away: AtomicBool::new(false), looks: AtomicUsize::new(0), answers })
    }

    /// One that does not answer.
    fn silent() -> Arc<Self> {
        let store = Self::new();
        store.answers.forget_permits(Semaphore::MAX_PERMITS);
        store
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }
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
        drop(self.answers.acquire().await);
        match self.away.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Unavailable, "the store is away")),
            false => Ok(()),
        }
    }
}

/// What is answered to a request, with its status.
async fn asked(server: &Server, path: &str, token: &str) -> (u16, String) {
    let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let answer = server.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn ready(server: &Server) -> (u16, String) {
    asked(server, "/health/ready", "").await
}

async fn gauge(server: &Server) -> bool {
    let (status, metrics) = asked(server, "/metrics", &server.person(Role::Read)).await;
    let ready = metrics.contains("\nexcom_ready 1\n");
    assert!(status == 200 && (ready || metrics.contains("\nexcom_ready 0\n")), "{metrics}");
    // It is the store that is away here, and nothing else.
    let store = format!("\nexcom_store_ready {}\n", u8::from(ready));
    assert!(metrics.contains(&store) && metrics.contains("\nexcom_database_ready 1\n"), "{metrics}");
    ready
}

#[tokio::test(start_paused = true)]
async fn the_gauge_tells_what_the_readiness_told() {
    let store = Store::new();
    let server = Server::new().sharing(store.clone());
    for (away, status) in [(false, 200), (true, 503), (false, 200)] {
        store.away.store(away, Ordering::Relaxed);
        advance(Duration::from_secs(5)).await;
        assert_eq!(ready(&server).await.0, status);
        for _ in 0..3 {
            assert_eq!(gauge(&server).await, !away);
        }
    }
    assert_eq!(store.looks(), 3, "a scrape looks at nothing");
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_readiness_nobody_asks_looks_by_itself() {
    let store = Store::new();
    let server = Server::new().sharing(store.clone());
    store.away.store(true, Ordering::Relaxed);
    while gauge(&server).await {
        yield_now().await;
    }
    assert!(!gauge(&server).await);
    assert_eq!(store.looks(), 1, "not with each scrape");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_at_the_same_time_shares_a_look() {
    let store = Store::silent();
    let server = Server::new().sharing(store.clone());
    // Who does not wait for the answer has begun a look for the next ones.
    timeout(Duration::ZERO, ready(&server)).await.unwrap_err();
    let let_answer = async {
        while store.looks() == 0 {
            yield_now().await;
        }
        store.answers.add_permits(100);
    };
    let (answers, ()) = tokio::join!(join_all((0..20).map(|_| ready(&server))), let_answer);
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert_eq!(ready(&server).await.0, 200);
    assert_eq!(store.looks(), 1, "for all of them");

    // What was found is soon too old.
    store.away.store(true, Ordering::Relaxed);
    assert_eq!(ready(&server).await.0, 200);
    advance(Duration::from_secs(5)).await;
    let (status, told) = ready(&server).await;
    assert!(status == 503 && told.contains("the store is away"), "{told}");
    assert_eq!(store.looks(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_not_ready() {
    let store = Store::silent();
    let server = Server::new().sharing(store.clone());
    let answers = join_all((0..3).map(|_| ready(&server))).await;
    for (status, told) in &answers {
        assert!(*status == 503 && told.contains("has not answered for 5 seconds"), "{told}");
    }
    assert!(!gauge(&server).await);
    assert_eq!(store.looks(), 1);
}

/// Values that do without what is damaged are pushed and pulled as ever, and whoever asks does not have the file looked through.
#[tokio::test]
async fn what_is_damaged_inside_is_left_to_the_doctor() {
    let server = Server::new();
    server.damage("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'excom_dictionary'");
    let (status, told) = ready(&server).await;
    assert!(status == 200 && !told.contains("problems"), "{told}");
    assert!(gauge(&server).await);
    assert_eq!(server.engine.health().await.unwrap().problems.len(), 1);
}
