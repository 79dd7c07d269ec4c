//! A server with its clients, without a socket.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use excom_core::{Engine, XComBackend, memory};
use excom_db::sqlite;
use excom_server::{App, Keys, Options, Role, person_token};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const SECRET: &[u8] = b"a secret of the tests, long enough";

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) head: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    pub(crate) fn refreshed(&self) -> Option<String> {
        Some(self.head.get("refreshed-api-token")?.to_str().ok()?.to_owned())
    }
}

/// What routes answer.
pub(crate) fn send(router: Router, request: Request<Body>) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = router.oneshot(request).await.unwrap();
        let (status, head) = (answer.status(), answer.headers().clone());
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        Answer { status, head, text: String::from_utf8(body.to_vec()).unwrap() }
    })
}

/// A server in memory.
pub(crate) struct Server {
    pub(crate) app: App,
    router: Router,
    pub(crate) engine: Engine,
    folder: TempDir,
    pub(crate) clock: Arc<memory::Clock>,
    keys: Keys,
    options: Options,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(|settings| settings)
    }

    /// One with keys of its own.
    pub(crate) fn trusting(keys: Keys) -> Self {
        Self::made(|settings| settings, keys, Options::default())
    }

    /// One with options of its own.
    pub(crate) fn set(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        change(&mut options);
        Self::made(|settings| settings, Keys::secret(SECRET).unwrap(), options)
    }

    pub(crate) fn with(
        settings: impl FnOnce(excom_core::engine::Settings) -> excom_core::engine::Settings,
    ) -> Self {
        Self::made(settings, Keys::secret(SECRET).unwrap(), Options::default())
    }

    fn made(
        settings: impl FnOnce(excom_core::engine::Settings) -> excom_core::engine::Settings,
        keys: Keys,
        options: Options,
    ) -> Self {
        let clock = Arc::new(memory::Clock::new());
        let folder = tempfile::tempdir().unwrap();
        let db = sqlite::Db::open(&folder.path().join("excom.db"), sqlite::Options::default()).unwrap();
        let engine = Engine::builder(Arc::new(db), clock.clone())
            .settings(settings(excom_core::engine::Settings::default()))
            .build();
        let app = App::new(engine.clone(), keys.clone(), options.clone());
        Self { router: app.router(), app, engine, folder, clock, keys, options }
    }

    /// All routes.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// The same engine behind other keys.
    pub(crate) fn with_keys(&self, keys: Keys) -> Router {
        App::new(self.engine.clone(), keys, Options::default()).router()
    }

    /// One whose requests, and answers with several values, have a bound.
    pub(crate) fn limited(body_limit: u64) -> Self {
        let mut options = Options::default();
        options.body_limit = body_limit;
        let server = Self::new();
        let engine = server.engine.clone();
        server.over(engine, options)
    }

    /// One that keeps values over 1000 bytes outside of the database.
    pub(crate) fn offloading() -> Self {
        let server = Self::new();
        let backend = memory::Backend::new(Arc::new(memory::Store::new()), 1000);
        let engine = Engine::builder(server.engine.db().clone(), server.clock.clone());
        let engine = engine.backend(Arc::new(backend)).build();
        let options = server.options.clone();
        server.over(engine, options)
    }

    /// The same with values in a backend.
    pub(crate) fn with_backend(self, backend: memory::Backend) -> Self {
        self.sharing(Arc::new(backend))
    }

    /// The same with a backend that the test has too.
    pub(crate) fn sharing(self, backend: Arc<dyn XComBackend>) -> Self {
        let engine = self.engine.clone().with_backend(backend);
        let options = self.options.clone();
        self.over(engine, options)
    }

    fn over(self, engine: Engine, options: Options) -> Self {
        let app = App::new(engine.clone(), self.keys.clone(), options.clone());
        Self { router: app.router(), app, engine, options, ..self }
    }

    /// Changes the database behind everybody's back.
    pub(crate) fn damage(&self, statement: &str) {
        let connection = rusqlite::Connection::open(self.folder.path().join("excom.db")).unwrap();
        assert_eq!(connection.execute(statement, []).unwrap(), 1);
    }

    pub(crate) fn send(&self, request: Request<Body>) -> Answer {
        send(self.router(), request)
    }

    /// A call with a token, and a document as its body.
    pub(crate) fn call(&self, token: &str, method: Method, path: &str, body: Option<&Json>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        self.send(request.header(header::CONTENT_TYPE, "application/json").body(body).unwrap())
    }

    pub(crate) fn person(&self, role: Role) -> String {
        let keys = self.keys.clone();
        person_token(keys, self.clock.clone(), "ana", role, Duration::from_secs(3600)).unwrap().into_secret()
    }

    /// Makes a run known.
    pub(crate) fn run(&self, run_id: &str) {
        let run = json!({"dag_id": "weather", "run_id": run_id, "logical_date": "2026-11-21T10:00:00Z"});
        self.call(&self.person(Role::Admin), Method::POST, "/api/excom/v1/runs", Some(&run)).is(201);
    }

    /// A task instance that waits for a worker: its id, and the token to start it with.
    pub(crate) fn queued(&self, task_id: &str, map_index: i32, try_number: u32) -> (String, String) {
        let instance = json!({
            "dag_id": "weather", "run_id": "r1", "task_id": task_id, "map_index": map_index,
            "try_number": try_number, "max_tries": 2,
        });
        let admin = self.person(Role::Admin);
        let queued =
            self.call(&admin, Method::POST, "/api/excom/v1/task-instances", Some(&instance)).is(201).json();
        (queued["id"].as_str().unwrap().to_owned(), queued["token"].as_str().unwrap().to_owned())
    }

    /// A task instance that runs.
    pub(crate) fn running(&self, task_id: &str, map_index: i32) -> Worker<'_> {
        self.started(self.queued(task_id, map_index, 1))
    }

    pub(crate) fn started(&self, (id, token): (String, String)) -> Worker<'_> {
        let started =
            self.call(&token, Method::PATCH, &format!("/execution/task-instances/{id}/run"), Some(&begin()));
        let token = started.is(200).refreshed().unwrap();
        Worker { server: self, id, token }
    }
}

/// What a supervisor says when it begins.
pub(crate) fn begin() -> Json {
    json!({
        "state": "running", "hostname": "vm", "unixname": "root", "pid": 12, "start_date": "2026-11-21T10:00:01Z",
    })
}

/// The supervisor of a task that runs.
pub(crate) struct Worker<'a> {
    pub(crate) server: &'a Server,
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Worker<'_> {
    pub(crate) fn call(&self, method: Method, path: &str, body: Option<&Json>) -> Answer {
        self.server.call(&self.token, method, &format!("/execution{path}"), body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None)
    }

    /// A call about its own task instance.
    pub(crate) fn own(&self, method: Method, what: &str, body: &Json) -> Answer {
        self.call(method, &format!("/task-instances/{}/{what}", self.id), Some(body))
    }

    pub(crate) fn push(&self, path: &str, value: &Json) -> Answer {
        self.call(Method::POST, &format!("/xcoms/weather/r1/{path}"), Some(value))
    }

    pub(crate) fn ends(&self, state: &str) -> Answer {
        self.own(Method::PATCH, "state", &json!({"state": state, "end_date": "2026-11-21T10:00:09Z"}))
    }
}
