//! The gate: what every request passes before its route, in one step. Each of axum's layers is cloned for every request
//! with all that is behind it, so a stack of them costs more than most requests do.

use std::panic::AssertUnwindSafe;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::access::{CORRELATION, Noted};
use crate::app::App;
use crate::auth::{Audience, Entered, enter, refreshing};
use crate::execution::Spoken;
use crate::metrics;
use crate::refusal::Refusal;
use crate::request::whole;
use crate::telemetry::entered;

/// Requests to what is no route.
const NO_ROUTE: &str = "none";

/// How the routes begin of those who look how the server is.
const WATCHING: [&str; 3] = [metrics::ROUTE, "/health/", "/execution/health"];

/// What stands before some routes.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    app: App,
    /// Whose tokens are good; without any nobody is asked who it is.
    audiences: &'static [Audience],
    whole: bool,
    for_workers: bool,
}

impl Gate {
    /// Anybody gets in, and sends nothing that matters.
    pub(crate) fn open(app: &App) -> Self {
        Self { app: app.clone(), audiences: &[], whole: false, for_workers: false }
    }

    /// Only whoever has a good token gets in; what it sends is read whole before it is answered.
    pub(crate) fn for_tokens(app: &App, audiences: &'static [Audience]) -> Self {
        Self { audiences, whole: true, ..Self::open(app) }
    }

    /// The same, but for who answers to take what is sent as it comes.
    pub(crate) fn streaming(self) -> Self {
        Self { whole: false, ..self }
    }

    /// The same for Airflow's workers, who name a version and each request.
    pub(crate) fn for_workers(self) -> Self {
        Self { for_workers: true, ..self }
    }

    /// Answers for a worker in the version that it speaks.
    async fn answer(&self, mut request: Request, next: Next) -> Response {
        if !self.for_workers {
            return self.enter(request, next).await.into_response();
        }
        let name = request.headers().get(CORRELATION).cloned();
        let mut answer = match Spoken::note(&mut request) {
            Ok(told) => {
                let mut answer = self.enter(request, next).await.into_response();
                Spoken::say(told, answer.headers_mut());
                answer
            }
            Err(refusal) => {
                entered(&mut request, false).await;
                refusal.into_response()
            }
        };
        name.into_iter().for_each(|name| drop(answer.headers_mut().insert(CORRELATION, name)));
        answer
    }

    /// Lets in whoever has a good token, before anything else of a request is read, as often as its name may ask.
    async fn enter(&self, mut request: Request, next: Next) -> Result<Response, Refusal> {
        if self.audiences.is_empty() {
            entered(&mut request, false).await;
            return Ok(next.run(request).await);
        }
        let who = enter(&self.app, self.audiences, &mut request).await;
        entered(&mut request, who.is_ok()).await;
        let who = who?;
        let app = &self.app;
        let run = async |request| match self.whole {
            true => match whole(app, request).await {
                Ok(request) => next.run(request).await,
                Err(refusal) => refusal.into_response(),
            },
            false => next.run(request).await,
        };
        let answer = app.limits.pass(who.name(), request, run).await;
        Ok(match &who {
            Entered::Person(_) => answer,
            Entered::Task(task) => refreshing(app, task, answer),
        })
    }
}

/// Lets a request through, counts it, and answers also what a mistake of ours has ended in the middle.
pub(crate) async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let (begun, _under_way) = (Instant::now(), gate.app.metrics.begun());
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    Noted::route(&request, &route);
    // Bodies are bounded by who reads them.
    DefaultBodyLimit::disable().apply(&mut request);
    let method = request.method().clone();
    let span = match &gate.app.options.traces {
        // Whoever looks all the time how it is makes no traces.
        Some(traces) if traces.are_on() && !WATCHING.iter().any(|watching| route.starts_with(watching)) => {
            Some(traces.begin(gate.app.engine.clock(), &request))
        }
        _ => None,
    };
    let answering = AssertUnwindSafe(gate.answer(request, next)).catch_unwind();
    let answer = match &span {
        Some(span) => span.around(answering).await,
        None => answering.await,
    };
    let answer = answer.unwrap_or_else(|_| {
        let message = "something went wrong that should not; the server's standard error tells what";
        Refusal::because(StatusCode::INTERNAL_SERVER_ERROR, "panic", message).into_response()
    });
    gate.app.metrics.observe(&route, &method, begun, &answer);
    match span {
        Some(span) => span.ends_with(answer),
        None => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::body::Body;
    use axum::handler::Handler as _;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use excom_core::Engine;
    use excom_core::memory::{Clock, Db};
    use excom_testkit::collector::{self, attributes};
    use tower::ServiceExt as _;

    use super::*;
    use crate::app::Options;
    use crate::auth::Keys;
    use crate::telemetry::{Collector, Traces};

    async fn mistake() -> StatusCode {
        panic!("a mistake, on purpose")
    }

    #[test]
    fn a_mistake_of_ours_is_answered() {
        let engine = Engine::builder(Arc::new(Db::new()), Arc::new(Clock::new())).build();
        let app = App::new(engine, Keys::secret(b"sixteen bytes or more").unwrap(), Options::default());
        let gate = from_fn_with_state(Gate::open(&app), pass);
        let router: Router = Router::new().route("/", get(mistake)).route_layer(gate);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let answer = runtime.block_on(router.oneshot(Request::new(Body::empty()))).unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn a_mistake_of_ours_shows_in_its_span() {
        let collector = collector::Collector::start().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let to = Collector::of(Some(&collector.url()), |_| None, |_| {}).unwrap().unwrap();
            let traces = Traces::to(to).unwrap();
            let options = Options { traces: Some(traces.clone()), ..Options::default() };
            let engine = Engine::builder(Arc::new(Db::new()), Arc::new(Clock::new())).build();
            let app = App::new(engine, Keys::secret(b"sixteen bytes or more").unwrap(), options);
            let router: Router =
                Router::new().fallback(mistake.layer(from_fn_with_state(Gate::open(&app), pass)));
            drop(router.oneshot(Request::new(Body::empty())).await.unwrap());
            traces.close(std::time::Duration::from_secs(60)).await.unwrap();
        });
        let span = &collector.spans(1)[0];
        assert_eq!(span["status"]["code"], 2, "{span}");
        assert_eq!(attributes(span)["error.type"], "500");
    }
}
