//! Requests as spans of their senders' traces, and collectors that fail.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use excom_core::memory;
use excom_server::{AccessLog, Collector, Role, Service, ServiceOptions, Traces};
use excom_testkit::collector::{self, Mood, attributes};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::client::{Answer, Server};
use crate::waits::request;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const VALUE: &str = "/api/excom/v1/values/weather/r1/extract/3/a%20key";

/// A server whose spans go somewhere.
struct Watched {
    server: Server,
    traces: Traces,
    /// What the exporter runs in.
    runtime: Runtime,
}

impl Watched {
    /// Spans are sent at once, and given up after a second, if variables do not say otherwise.
    fn to(url: &str, variables: &[(&str, &str)]) -> Self {
        let usual = [("OTEL_BSP_SCHEDULE_DELAY", "1"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")];
        let variable = |name: &str| {
            let all = variables.iter().chain(&usual);
            Some(all.clone().find(|(set, _)| *set == name)?.1.to_owned())
        };
        let collector = Collector::of(Some(url), variable, |wrong| panic!("{wrong}")).unwrap().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let traces = runtime.block_on(async { Traces::to(collector) }).unwrap();
        let server = Server::set(|options| options.traces = Some(traces.clone()));
        Self { server, traces, runtime }
    }

    /// The same with large values outside of the database.
    fn offloading(self) -> Self {
        let backend = memory::Backend::new(Arc::new(memory::Store::new()), 1000);
        Self { server: self.server.with_backend(backend), ..self }
    }

    fn send(&self, token: &str, method: Method, path: &str, parent: &str) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, "xcoms.example:8794");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !parent.is_empty() {
            request = request.header("traceparent", parent).header("tracestate", "vendor=1");
        }
        self.server.send(request.body(Body::from("[\"unheard-of\"]")).unwrap())
    }

    /// A pull that was answered.
    fn pull(&self, parent: &str) {
        self.send(&self.server.person(Role::Read), Method::GET, VALUE, parent).is(404);
    }

    fn close(&self, within: Duration) -> excom_core::Result<()> {
        self.runtime.block_on(self.traces.close(within))
    }

    /// How many spans have become this.
    fn counted(&self, outcome: &str) -> u64 {
        let text = self.send(&self.server.person(Role::Read), Method::GET, "/metrics", "").is(200).text;
        let name = format!("excom_spans_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }
}

/// The spans of requests, without those of what they waited for.
fn served(requests: &[collector::Request]) -> Vec<Json> {
    collector::spans(requests).into_iter().filter(|span| span["kind"] == 2).collect()
}

fn parent(sampled: bool) -> String {
    format!("00-{TRACE}-{SPAN}-0{}", u8::from(sampled))
}

fn text<'a>(span: &'a Json, key: &str) -> &'a str {
    span[key].as_str().unwrap_or_default()
}

#[test]
fn a_request_is_part_of_its_senders_trace() {
    let collector = collector::Collector::start().unwrap();
    let secret = [("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of%20ours"), ("OTEL_SERVICE_NAME", "xcoms")];
    let watched = Watched::to(&collector.url(), &secret);
    let token = watched.server.person(Role::Write);
    watched.send(&token, Method::PUT, VALUE, &parent(true)).is(201);
    let part = VALUE.replace("values", "query");
    let found = watched.send(&token, Method::GET, &format!("{part}?path=$[0]"), &parent(true)).is(200);
    assert_eq!(found.json(), json!({"values": ["unheard-of"]}));
    let requests = collector.until(|requests| served(requests).len() >= 2);
    assert!(requests[0].line.starts_with("POST /v1/traces HTTP/1.1"), "{requests:?}");
    assert_eq!(requests[0].head["x-key"], "of ours");
    assert_eq!(requests[0].head["content-type"], "application/json");
    let resource = attributes(&requests[0].document["resourceSpans"][0]["resource"]);
    assert_eq!(resource["service.name"], "xcoms");

    let spans = served(&requests);
    let (push, pull) = (&spans[0], &spans[1]);
    for span in [push, pull] {
        assert_eq!((text(span, "traceId"), text(span, "parentSpanId")), (TRACE, SPAN));
        assert_eq!((text(span, "traceState"), span["kind"].as_u64()), ("vendor=1", Some(2)));
        assert_eq!(span["flags"], 0x301, "sampled, and its parent is elsewhere");
        assert!(text(span, "startTimeUnixNano") <= text(span, "endTimeUnixNano"));
        assert_eq!(span["status"], json!({}));
    }
    assert_ne!(text(push, "spanId"), text(pull, "spanId"));
    let route = "/api/excom/v1/query/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}";
    assert_eq!(text(pull, "name"), format!("GET {route}"));
    let expected = [
        ("excom.answer", "found"),
        ("excom.dag_id", "weather"),
        ("excom.key", "a key"),
        ("excom.map_index", "3"),
        ("excom.run_id", "r1"),
        ("excom.task_id", "extract"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", route),
        ("network.protocol.version", "1.1"),
        ("server.address", "xcoms.example"),
        ("server.port", "8794"),
        ("url.path", &part),
        ("url.scheme", "http"),
    ];
    let told = attributes(pull);
    assert_eq!(told.iter().map(|(key, value)| (&**key, &**value)).collect::<Vec<_>>(), expected);
    assert_eq!(attributes(push)["http.response.status_code"], "201");
    assert!(!attributes(push).contains_key("excom.answer"));
    let all = format!("{requests:?}");
    assert!(!all.contains("unheard-of") && !all.contains(&token) && !all.contains("$["), "{all}");
}

#[test]
fn the_senders_decision_holds() {
    let collector = collector::Collector::start().unwrap();
    let watched = Watched::to(&collector.url(), &[]);
    watched.pull(&parent(false));
    watched.pull("");
    // None that can be followed: a trace of its own.
    watched.pull(&format!("00-{TRACE}-{SPAN}"));
    // Nor one of somebody who has no token.
    watched.send("", Method::GET, VALUE, &parent(true)).is(401);
    watched.send("", Method::GET, "/nowhere/secret", &parent(true)).is(404);
    // Who looks how it is makes no traces.
    watched.send("", Method::GET, "/health/live", &parent(true)).is(200);
    watched.send("", Method::GET, "/execution/health", &parent(true)).is(200);
    watched.send("", Method::POST, "/health/live", &parent(true)).is(405);
    // A method that a route does not have.
    watched.send("", Method::POST, VALUE, &parent(true)).is(405);
    watched.close(Duration::from_secs(60)).unwrap();
    let spans = served(&collector.until(|requests| served(requests).len() >= 5));
    let names: Vec<&str> = spans.iter().map(|span| text(span, "name").split(' ').next().unwrap()).collect();
    assert_eq!(names, ["GET", "GET", "GET", "GET", "POST"], "{spans:?}");
    let mut traces: Vec<&str> = spans.iter().map(|span| text(span, "traceId")).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 5, "each its own");
    for span in &spans {
        assert!(text(span, "traceId") != TRACE && text(span, "parentSpanId").is_empty(), "{span}");
        assert_eq!((span["flags"].as_u64(), text(span, "traceState")), (Some(0x101), ""));
    }
    assert_eq!(attributes(&spans[2])["http.response.status_code"], "401");
    assert!(!spans[3].to_string().contains("secret"), "{}", spans[3]);
    let told = attributes(&spans[4]);
    assert_eq!((&*told["http.response.status_code"], &*told["excom.dag_id"]), ("405", "weather"));
}

#[test]
fn answers_of_several_are_told_together() {
    let collector = collector::Collector::start().unwrap();
    let watched = Watched::to(&collector.url(), &[]);
    let token = watched.server.person(Role::Write);
    watched.send(&token, Method::PUT, VALUE, "").is(201);
    let xcom = |key: &str| json!({"task_id": "extract", "map_index": 3, "key": key});
    for keys in [["a key", "other"], ["other", "none"]] {
        let asked = json!({"dag_id": "weather", "run_id": "r1", "xcoms": keys.map(xcom)});
        watched.server.call(&token, Method::POST, "/api/excom/v1/pull", Some(&asked)).is(200);
    }
    let spans = served(&collector.until(|requests| served(requests).len() >= 3));
    assert_eq!(attributes(&spans[1])["excom.answer"], "mixed");
    assert_eq!(attributes(&spans[2])["excom.answer"], "missing");
}

#[test]
fn what_a_request_waits_for_has_spans_of_its_own() {
    let collector = collector::Collector::start().unwrap();
    let watched = Watched::to(&collector.url(), &[]).offloading();
    let token = watched.server.person(Role::Write);
    let large = json!("x".repeat(2000));
    watched.server.call(&token, Method::PUT, VALUE, Some(&large)).is(201);
    watched.server.call(&token, Method::GET, VALUE, None).is(200);
    watched.send(&token, Method::GET, VALUE, &parent(false)).is(200);
    watched.close(Duration::from_secs(60)).unwrap();
    let spans = collector::spans(&collector.taken());
    let requests = served(&collector.taken());
    assert_eq!(requests.len(), 2);
    for (request, expected) in
        requests.iter().zip([["store write", "database push"], ["database entries", "store read"]])
    {
        let id = text(request, "spanId");
        let parts: Vec<&Json> = spans.iter().filter(|span| text(span, "parentSpanId") == id).collect();
        let names: Vec<&str> = parts.iter().map(|part| text(part, "name")).collect();
        assert_eq!(names, expected, "{spans:?}");
        for part in parts {
            assert_eq!((&part["traceId"], &part["flags"]), (&request["traceId"], &json!(0x101)));
            let store = attributes(part).get("excom.store").cloned();
            assert_eq!(store.is_some(), text(part, "name").starts_with("store"), "{part}");
        }
    }
}

#[test]
fn a_client_that_goes_away_shows() {
    let collector = collector::Collector::start().unwrap();
    let watched = Watched::to(&collector.url(), &[]);
    watched.server.run("r1");
    let xcoms = json!([{"task_id": "extract", "map_index": -1}]);
    let asked = json!({"dag_id": "weather", "run_id": "r1", "xcoms": xcoms, "seconds": 30});
    let asked = request(&watched.server, Method::POST, "wait", "application/json", &asked);
    let waiting = watched.server.router().oneshot(asked);
    let gone = async { tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err() };
    assert!(watched.runtime.block_on(gone));
    watched.close(Duration::from_secs(60)).unwrap();
    let spans = served(&collector.taken());
    let (span, told) = (&spans[1], attributes(&spans[1]));
    assert_eq!((&span["status"], &*told["error.type"]), (&json!({"code": 2}), "cancelled"));
    assert!(!told.contains_key("http.response.status_code"), "{span}");
}

#[test]
fn what_waits_is_sent_when_the_server_stops() {
    let collector = collector::Collector::start().unwrap();
    let watched = Watched::to(&collector.url(), &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]);
    for _ in 0..3 {
        watched.pull(&parent(true));
    }
    watched.close(Duration::from_secs(60)).unwrap();
    assert_eq!(served(&collector.taken()).len(), 3);
    // Each looked into the database.
    assert_eq!(watched.counted("sent"), 6);
    // None is after that.
    watched.pull(&parent(true));
    assert_eq!(
        watched.counted("dropped"),
        2,
        "the pull and its look into the database; questions like this have none"
    );
}

#[test]
fn a_collector_that_comes_back_has_them() {
    let collector = collector::Collector::start().unwrap();
    let watched = Watched::to(&collector.url(), &[("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")]);
    collector.is(Mood::Refuses(503));
    watched.pull(&parent(true));
    collector.until_asked(1);
    collector.is(Mood::Takes);
    watched.close(Duration::from_secs(60)).unwrap();
    assert_eq!(served(&collector.taken()).len(), 1);
    assert_eq!((watched.counted("sent"), watched.counted("failed")), (2, 0));
}

#[test]
fn a_collector_that_fails_keeps_nobody_waiting() {
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = collector::Collector::start().unwrap();
    silent.is(Mood::Silent);
    let refusing = collector::Collector::start().unwrap();
    refusing.is(Mood::Refuses(400));
    for (url, refuses) in [(format!("http://{gone}"), false), (silent.url(), false), (refusing.url(), true)] {
        let few = [("OTEL_BSP_MAX_QUEUE_SIZE", "2"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")];
        let watched = Watched::to(&url, &few);
        // Some are on their way, two wait, and there is no room for the others.
        for _ in 0..20 {
            watched.pull(&parent(true));
        }
        let told = watched.close(Duration::from_millis(200));
        if !refuses {
            let told = told.unwrap_err().to_string();
            assert!(told.contains("spans of the last requests did not reach"), "{told}");
        }
        let counted = ["sent", "failed", "dropped"].map(|outcome| watched.counted(outcome));
        // Each has a span for the database too; questions like these have none.
        assert_eq!((counted[0], counted[1] + counted[2]), (0, 40), "{url}: {counted:?}");
        assert!(counted[1] > 0 && (refuses || counted[2] >= 34), "{url}: {counted:?}");
    }
}

#[test]
fn that_spans_are_lost_is_told_once() {
    let refusing = collector::Collector::start().unwrap();
    refusing.is(Mood::Refuses(401));
    let watched = Watched::to(&refusing.url(), &[]);
    let (tell, told) = std::sync::mpsc::channel();
    let traces = watched.traces.clone();
    let keeping = watched.runtime.spawn(async move {
        traces.keep(|trouble| tell.send(format!("{trouble} {:?}", trouble.hints())).unwrap()).await;
    });
    for requests in 1..=3 {
        watched.pull(&parent(true));
        refusing.until_asked(requests);
    }
    let first = told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(first.contains(&refusing.url()) && first.contains("answers 401"), "{first}");
    assert!(first.contains("[server] traces"), "{first}");
    drop(watched.close(Duration::from_secs(60)));
    keeping.abort();
    assert!(told.try_iter().next().is_none(), "not twice in a minute");
}

#[test]
fn the_access_log_and_spans_name_the_same_trace() {
    let collector = collector::Collector::start().unwrap();
    let watched = Watched::to(&collector.url(), &[]);
    let folder = tempfile::tempdir().unwrap();
    let log = AccessLog::file(&folder.path().join("access.log")).unwrap();
    let token = watched.server.person(Role::Read);
    let address = watched.runtime.block_on(async {
        let service = Service::bind("127.0.0.1:0", ServiceOptions::default()).await.unwrap();
        let service = service.with_access_log(log.clone());
        service.readiness().open(&watched.server.app);
        let address = service.address();
        tokio::spawn(service.run(std::future::pending()));
        address
    });
    let ask = |parent: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!("GET {VALUE} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        write!(stream, "{head}authorization: Bearer {token}\r\ntraceparent: {parent}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    };
    thread::scope(|scope| drop(scope.spawn(|| ask(&parent(true))).join()));
    ask("none");
    ask(&parent(false));
    let spans = served(&collector.until(|requests| served(requests).len() >= 2));
    log.close();
    let text_of_log = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    let lines: Vec<Json> = text_of_log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let traces: Vec<&str> = lines.iter().map(|line| text(line, "trace_id")).collect();
    assert_eq!(traces, [TRACE, text(&spans[1], "traceId"), TRACE]);
    let told = attributes(&spans[0]);
    assert_eq!((&*told["client.address"], &*told["server.address"]), ("127.0.0.1", "127.0.0.1"));
    assert_eq!(told["server.port"], address.port().to_string());
}
