//! A request's span, from its head to the end of its answer, and those of what it waits for.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::RequestExt as _;
use axum::extract::{MatchedPath, OriginalUri, RawPathParams, Request};
use axum::http::{Method, Version, header, uri::Authority};
use axum::response::Response;
use excom_core::Clock;
use excom_core::engine::{Step, Waiting, Watch};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Traces;
use super::context::Sender;
use super::otlp::{Attribute, Attributes, Ended, Kind};
use crate::access::{Client, Noted};
use crate::counted::Counted;

tokio::task_local! {
    /// The span of the request that is being answered.
    static CURRENT: Span;
}

/// The most parts of a request that have spans of their own; pulls of thousands have hundreds that are alike.
const PARTS: u32 = 32;

/// What an answer with several different ones is.
const MIXED: &str = "mixed";

/// A request's span while the request is under way. It ends with the last clone, which the answer's body has.
#[derive(Clone)]
pub(crate) struct Span(Arc<Open>);

struct Open {
    traces: Traces,
    clock: Arc<dyn Clock>,
    begun: Timestamp,
    since: Instant,
    /// As whose part the request was sent. That counts for who has a good token: anybody else might make up samples.
    sender: Option<Sender>,
    noted: Option<Noted>,
    place: OnceLock<Place>,
    /// The name and the attributes, of one that is sampled.
    about: OnceLock<(String, Attributes)>,
    told: Mutex<Told>,
    parts: AtomicU32,
}

/// Where a span is among others.
struct Place {
    trace: u128,
    id: u64,
    sender: Option<Sender>,
    sampled: bool,
}

/// What becomes known on the way.
#[derive(Debug, Default)]
struct Told {
    status: Option<u16>,
    answer: Option<&'static str>,
}

impl Traces {
    /// Begins a request's span.
    pub(crate) fn begin(&self, clock: &Arc<dyn Clock>, request: &Request) -> Span {
        Span(Arc::new(Open {
            traces: self.clone(),
            clock: Arc::clone(clock),
            begun: clock.now(),
            since: Instant::now(),
            sender: Sender::of(request.headers()),
            noted: request.extensions().get::<Noted>().cloned(),
            place: OnceLock::new(),
            about: OnceLock::new(),
            told: Mutex::default(),
            parts: AtomicU32::new(0),
        }))
    }
}

/// What a span tells of a request.
async fn about(request: &mut Request) -> (String, Attributes) {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (name, mut attributes) = described(request, route.as_ref().map(MatchedPath::as_str));
    if let Some(route) = route {
        // Without it the path begins below where the route is nested.
        let whole = request.extensions().get::<OriginalUri>().map_or(request.uri(), |OriginalUri(uri)| uri);
        attributes.push(("url.path", Attribute::text(whole.path().to_owned())));
        attributes.push(("http.route", Attribute::text(route.as_str().to_owned())));
        if let Ok(names) = request.extract_parts::<RawPathParams>().await {
            attributes.extend(named(&names));
        }
    }
    (name, attributes)
}

/// A span's name, and what OpenTelemetry's conventions for servers of HTTP ask for.
fn described(request: &Request, route: Option<&str>) -> (String, Attributes) {
    let text = |text: &str| Attribute::text(text.to_owned());
    let mut attributes = Attributes::new();
    let mut method = request.method().as_str();
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    if !known.contains(request.method()) {
        attributes.push(("http.request.method_original", text(method)));
        method = "HTTP";
    }
    let named = if method == "HTTP" { "_OTHER" } else { method };
    attributes.push(("http.request.method", text(named)));
    let client = request.extensions().get::<Client>();
    let scheme = if client.is_some_and(|client| client.tls) { "https" } else { "http" };
    attributes.push(("url.scheme", Attribute::text(scheme)));
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    if let Some(host) = host.as_ref().or(request.uri().authority()) {
        let host: &Authority = host;
        let usual = if scheme == "https" { 443 } else { 80 };
        attributes.push(("server.address", text(host.host())));
        attributes.push(("server.port", Attribute::Number(host.port_u16().unwrap_or(usual).into())));
    }
    if let Some(Client { address, .. }) = client {
        attributes.push(("client.address", Attribute::text(SocketAddr::ip(address).to_string())));
    }
    if let Some(agent) = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        attributes.push(("user_agent.original", text(agent)));
    }
    let version = if request.version() == Version::HTTP_10 { "1.0" } else { "1.1" };
    attributes.push(("network.protocol.version", Attribute::text(version)));
    (route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")), attributes)
}

/// The names of a task instance and an XCom, as far as a route has them.
fn named(names: &RawPathParams) -> Attributes {
    let of_task = names.iter().any(|(name, _)| name == "task_id");
    let attribute = |(name, value): (&str, &str)| {
        let name = match name {
            "dag_id" => "excom.dag_id",
            "run_id" | "dag_run_id" => "excom.run_id",
            "task_id" => "excom.task_id",
            "map_index" => {
                let index = value.parse().ok()?;
                return Some(("excom.map_index", Attribute::Number(index)));
            }
            // Elsewhere it is the name of a variable.
            "key" | "xcom_key" if of_task => "excom.key",
            _ => return None,
        };
        Some((name, Attribute::text(value.to_owned())))
    };
    names.iter().filter_map(attribute).collect()
}

impl Span {
    /// What is done meanwhile can tell something of the span.
    pub(crate) fn around<F: Future>(&self, answering: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.clone(), answering)
    }

    /// Notes the answer, and ends with it.
    pub(crate) fn ends_with(self, answer: Response) -> Response {
        self.0.told().status = Some(answer.status().as_u16());
        self.0.place();
        answer.map(|body| {
            Counted::body(body, move |_| {
                let _ = &self;
            })
        })
    }
}

/// It is known whether whoever sent the request has a good token, so that it is part of the trace that it names.
pub(crate) async fn entered(request: &mut Request, is_known: bool) {
    let Ok(Span(open)) = CURRENT.try_with(Span::clone) else { return };
    let sender = open.sender.clone().filter(|_| is_known);
    if open.place.get_or_init(|| open.placed(sender)).sampled {
        // Only what is sent is put together.
        drop(open.about.set(about(request).await));
    }
}

/// Notes what a pull was answered.
pub(crate) fn answered(code: &'static str) {
    let note = |Span(open): &Span| {
        let answer = &mut open.told().answer;
        *answer = Some(if answer.is_none_or(|before| before == code) { code } else { MIXED });
    };
    let _ = CURRENT.try_with(note);
}

impl Open {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the span is; by itself when nobody with a good token said otherwise.
    fn place(&self) -> &Place {
        self.place.get_or_init(|| self.placed(None))
    }

    fn placed(&self, sender: Option<Sender>) -> Place {
        let trace = match &sender {
            Some(sender) => sender.trace,
            None => (u128::from(self.id()) << 64) | u128::from(self.id()),
        };
        let sampled = self.traces.0.collector.sampler.takes(trace, sender.as_ref());
        if (sampled || sender.is_some())
            && let Some(noted) = &self.noted
        {
            noted.trace(trace);
        }
        Place { trace, id: self.id(), sender, sampled }
    }

    /// The time, which goes on evenly since the request began.
    fn now(&self) -> Timestamp {
        self.begun.checked_add(self.since.elapsed()).unwrap_or(self.begun)
    }

    /// A number that no other span has.
    fn id(&self) -> u64 {
        self.clock.random().max(1)
    }
}

/// What the engine waits for, as spans below that of the request that is being answered.
#[derive(Debug)]
pub(crate) struct Steps;

/// A step that is under way. The request's span has not ended before it.
struct Part {
    within: Span,
    name: &'static str,
    store: Option<String>,
    begun: Timestamp,
}

impl Watch for Steps {
    fn begins(&self, step: Step<'_>) -> Option<Waiting> {
        let within = CURRENT.try_with(Span::clone).ok()?;
        if !within.0.place.get()?.sampled || within.0.parts.fetch_add(1, Ordering::Relaxed) >= PARTS {
            return None;
        }
        let (name, store) = match step {
            Step::Entries => ("database entries", None),
            Step::Produced => ("database produced", None),
            Step::Push => ("database push", None),
            Step::Read(store) => ("store read", Some(store.to_owned())),
            Step::Write(store) => ("store write", Some(store.to_owned())),
            _ => return None,
        };
        let begun = within.0.now();
        Some(Arc::new(Part { within, name, store, begun }))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let open = &self.within.0;
        let place = open.place();
        let store = self.store.take().map(|store| ("excom.store", Attribute::text(store)));
        open.traces.take(Ended {
            trace: place.trace,
            id: open.id(),
            parent: Some(place.id),
            elsewhere: false,
            state: place.sender.as_ref().map(|sender| sender.state.clone()).unwrap_or_default(),
            name: self.name.into(),
            kind: Kind::Internal,
            begun: self.begun,
            ended: open.now(),
            attributes: store.into_iter().collect(),
            failed: false,
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.place();
        let told = std::mem::take(&mut *self.told());
        let Some(place) = self.place.take().filter(|place| place.sampled) else { return };
        // It broke off before anybody knew who asked.
        let Some((name, mut attributes)) = self.about.take() else { return };
        if let Some(status) = told.status {
            attributes.push(("http.response.status_code", Attribute::Number(status.into())));
        }
        let error = match told.status {
            None => Some("cancelled".to_owned()),
            Some(status) => (status >= 500).then(|| status.to_string()),
        };
        let failed = error.is_some();
        attributes.extend(error.map(|error| ("error.type", Attribute::text(error))));
        let parts = self.parts.load(Ordering::Relaxed);
        if parts > PARTS {
            attributes.push(("excom.parts", Attribute::Number(parts.into())));
        }
        attributes.extend(told.answer.map(|answer| ("excom.answer", Attribute::text(answer))));
        self.traces.take(Ended {
            trace: place.trace,
            id: place.id,
            parent: place.sender.as_ref().map(|sender| sender.span),
            elsewhere: place.sender.is_some(),
            state: place.sender.map(|sender| sender.state).unwrap_or_default(),
            name: name.into(),
            kind: Kind::Server,
            begun: self.begun,
            ended: self.now(),
            attributes,
            failed,
        });
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use excom_core::memory;

    use super::*;
    use crate::telemetry::Collector;

    #[tokio::test]
    async fn only_what_is_sent_is_put_together() {
        let collector = Collector::of(Some("http://127.0.0.1:9"), |_| None, |_| {}).unwrap().unwrap();
        let traces = Traces::to(collector).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(memory::Clock::new());
        for (flags, is_known, is_sent) in [("00", true, false), ("01", true, true), ("00", false, true)] {
            let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let mut request = Request::builder().header("traceparent", parent).body(Body::empty()).unwrap();
            let span = traces.begin(&clock, &request);
            span.around(entered(&mut request, is_known)).await;
            assert_eq!(span.0.about.get().is_some(), is_sent, "{flags} {is_known}");
        }
    }
}
