//! The HTTP operator, against a small server in the test.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::runner::RunState;
use excom_flow::{Cancellation, DagDefinition, Handle, Http, RunOptions, RunReport, Runner};

use crate::support::{engine, field, on_runtime, pushed, run, run_with};

/// A server on 127.0.0.1 that answers by the path, and remembers the requests.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (requests, own) = (seen.clone(), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, own) = (requests.clone(), own.clone());
                std::thread::spawn(move || serve(stream, &requests, &own));
            }
        });
        Self { url, seen }
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Reads one request and answers it.
fn serve(mut stream: TcpStream, requests: &Mutex<Vec<String>>, own: &str) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece).unwrap_or(0);
        request.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if length == 0 {
                return;
            }
            continue;
        };
        let expected = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length == 0 || body.len() >= expected.map_or(0, |length| length.parse().unwrap()) {
            break;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    requests.lock().unwrap().push(request);
    let answer = |status: &str, headers: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    };
    let other = own.replace("127.0.0.1", "localhost");
    let text = match path.split('?').next().unwrap() {
        "/json" => {
            answer("200 OK", "Content-Type: application/json; charset=utf-8\r\n", r#"{"a": [1, 2.50]}"#)
        }
        "/problem" => {
            answer("404 Not Found", "Content-Type: application/problem+json\r\n", r#"{"status": 404}"#)
        }
        "/text" => answer("200 OK", "Content-Type: text/plain\r\nX-Rows: 7\r\n", "{\"é\": 1}"),
        "/none" => "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned(),
        "/wrong" => answer("200 OK", "Content-Type: application/json\r\n", "<html>"),
        "/bytes" => answer("200 OK", "Content-Type: image/png\r\n", "\x1a"),
        "/busy" => answer("503 Service Unavailable", "", &"try later ".repeat(100)),
        "/large" => answer("200 OK", "", &"x".repeat(2000)),
        "/endless" => format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(2000)),
        "/away" => answer("302 Found", &format!("Location: {other}/json\r\n"), ""),
        "/here" => answer("302 Found", "Location: /json\r\n", ""),
        "/circle" => answer("302 Found", "Location: /circle\r\n", ""),
        "/silent" => {
            // Until the other side gives up.
            drop(stream.read(&mut piece));
            return;
        }
        path => panic!("{path}"),
    };
    // What stands for one byte that is no UTF-8.
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == 0x1a { 0xff } else { byte }).collect();
    drop(stream.write_all(&bytes));
}

/// Requests a path as task `t`.
fn get(
    server: &Server,
    path: &str,
    change: impl Fn(Handle<'_, Http>) -> Handle<'_, Http> + Send + Sync + 'static,
) -> (RunReport, Option<String>) {
    let url = format!("{}{path}", server.url);
    let definition = DagDefinition::new("d", move |dag| {
        change(dag.http("t", "GET", url.as_str()));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    (report, pushed(&engine, "d", "t", "return_value"))
}

fn failure(
    server: &Server,
    path: &str,
    change: impl Fn(Handle<'_, Http>) -> Handle<'_, Http> + Send + Sync + 'static,
) -> String {
    let (report, value) = get(server, path, change);
    assert_eq!((report.tasks[0].state, value), (TaskState::Failed, None), "{path}");
    report.tasks[0].failure.clone().unwrap().message
}

#[test]
fn the_answer_is_json_when_it_says_so_and_else_text() {
    let server = Server::start();
    let value = |path: &str| {
        let (report, value) = get(&server, path, |task| task);
        assert!(report.succeeded(), "{report:?}");
        value
    };
    assert_eq!(value("/json").unwrap(), r#"{"a": [1, 2.50]}"#);
    assert_eq!(value("/text").unwrap(), r#""{\"é\": 1}""#);
    assert_eq!(value("/none"), None);
    assert_eq!(value("/here").unwrap(), r#"{"a": [1, 2.50]}"#);
    assert_eq!(value("/away").unwrap(), r#"{"a": [1, 2.50]}"#);
    let (report, value) = get(&server, "/problem", |task| task.expect_status([200, 404]));
    assert!(report.succeeded());
    assert_eq!(value.unwrap(), r#"{"status": 404}"#);
}

#[test]
fn headers_and_bodies_are_fields_and_stay_out_of_the_log() {
    #[task]
    fn rows() -> Vec<Option<u8>> {
        vec![Some(1), None]
    }
    #[task]
    fn token() -> String {
        "se-cret {{ ds }}".into()
    }
    let server = Server::start();
    let url = server.url.clone();
    let definition = DagDefinition::new("d", move |dag| {
        let json = format!("{url}/json?token=se-cret&run={{{{ run_id }}}}");
        let posted = dag.http("json", "POST", json.replace("http://", "http://user:se-cret@"));
        posted.header("X-Token", token(dag)).json(rows(dag));
        dag.http("text", "PUT", format!("{url}/text"))
            .header("Content-Type", "text/csv")
            .body("a,{{ run_id }}");
    });
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let report = run_with(&Runner::new(engine.clone()).logs(folder.path()), &definition, RunOptions::new());
    assert!(report.succeeded(), "{report:?}");
    for (task, name) in [("json", "url"), ("json", "header.X-Token"), ("json", "body"), ("text", "body")] {
        assert_eq!(field(&engine, "d", task, name), "\"***\"", "{task} {name}");
    }
    let requests = server.requests();
    let find = |method: &str| requests.iter().find(|request| request.starts_with(method)).unwrap();
    let post = find("POST /json?token=se-cret&run=r ");
    assert!(post.contains("x-token: se-cret {{ ds }}\r\n") && post.ends_with("\r\n\r\n[1,null]"), "{post}");
    assert!(
        post.contains("content-type: application/json\r\n") && post.contains("authorization: Basic "),
        "{post}"
    );
    let put = find("PUT /text ");
    assert!(put.contains("content-type: text/csv\r\n") && put.ends_with("\r\n\r\na,r"), "{put}");
    let log = std::fs::read_to_string(report.task("json").unwrap().log.as_ref().unwrap()).unwrap();
    assert!(log.contains(&format!("POST {}/json: 200 OK, 16 bytes", server.url)), "{log}");
    assert!(!log.contains("se-cret"), "{log}");
}

#[test]
fn answers_that_are_refused() {
    let server = Server::start();
    let told = failure(&server, "/busy?token=se-cret", |task| task);
    let expected =
        format!("GET {}/busy: the server answered 503 Service Unavailable; it says: try later", server.url);
    assert!(told.starts_with(&expected) && told.len() < 700 && told.ends_with('…'), "{told}");
    assert!(failure(&server, "/text", |task| task.expect_status([201])).contains("answered 200 OK"));
    assert!(failure(&server, "/wrong", |task| task).contains("says that it is JSON, and is not"));
    assert!(failure(&server, "/bytes", |task| task).contains("its content type is `image/png`"));
    for path in ["/large", "/endless"] {
        let told = failure(&server, path, |task| task.size_limit(1999));
        assert!(told.contains("over 1999 bytes"), "{told}");
        assert!(get(&server, path, |task| task.size_limit(2000)).0.succeeded(), "{path}");
    }
    let told = failure(&server, "/text", |task| {
        task.check(|answer| match (answer.status(), answer.header("x-rows"), answer.body().as_str()) {
            (200, Some("7"), r#""{\"é\": 1}""#) => Err("seven rows are too few".into()),
            other => panic!("{other:?}"),
        })
    });
    assert_eq!(told, "seven rows are too few");
}

#[test]
fn redirects_are_bounded_and_do_not_carry_secrets_away() {
    let server = Server::start();
    let told = failure(&server, "/circle", |task| task);
    assert!(told.contains("more than ten redirects"), "{told}");
    let told = failure(&server, "/away", |task| task.header("X-Token", "se-cret"));
    assert!(told.contains("redirects to another host"), "{told}");
    assert!(
        !server
            .requests()
            .iter()
            .any(|request| request.starts_with("GET /json") && request.contains("se-cret"))
    );
    assert!(get(&server, "/here", |task| task.header("X-Token", "se-cret")).0.succeeded());
}

#[test]
fn requests_that_cannot_be_made() {
    let server = Server::start();
    let told = failure(&server, "/silent?token=se-cret", |task| task.timeout(Duration::from_millis(50)));
    assert!(told.contains("timed out") && !told.contains("se-cret"), "{told}");
    let definition = DagDefinition::new("d", |dag| {
        dag.http("closed", "GET", "http://127.0.0.1:1/x?token=se-cret");
        dag.http("scheme", "GET", "ftp://u:se-cret@127.0.0.1/x");
        dag.http("url", "GET", "http://u:se-cret@:/");
        dag.http("method", "GE T", "http://127.0.0.1:1");
        dag.http("header", "GET", "http://127.0.0.1:1").header("X-Token", "se-cret\n");
        dag.http("name", "GET", "http://127.0.0.1:1").header("X Token", "se-cret");
    });
    let report = run(&engine(), &definition);
    for (task, expected) in [
        ("closed", "GET http://127.0.0.1:1/x: "),
        ("scheme", "`ftp` is no scheme of HTTP"),
        ("url", "the URL cannot be read: "),
        ("method", "`GE T` is no HTTP method"),
        ("header", "the value of header `X-Token` has a character"),
        ("name", "`X Token` cannot be the name of a header"),
    ] {
        let told = report.task(task).unwrap().failure.clone().unwrap().message;
        assert!(told.starts_with(expected) && !told.contains("se-cret"), "{told}");
    }
}

#[test]
fn a_cancelled_run_gives_the_request_up() {
    let server = Server::start();
    let url = format!("{}/silent", server.url);
    let definition = DagDefinition::new("d", move |dag| {
        dag.http("t", "GET", url.as_str());
    });
    let cancellation = Cancellation::new();
    let options = RunOptions::new().run_id("r").cancellation(cancellation.clone());
    let runner = Runner::new(engine());
    let began = Instant::now();
    let report = on_runtime(async {
        let cancel = async {
            while server.requests().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            cancellation.cancel();
        };
        tokio::join!(runner.run(&definition, options), cancel).0.unwrap()
    });
    assert_eq!(report.state, RunState::Cancelled);
    assert!(report.tasks[0].failure.as_ref().unwrap().message.contains("given up"));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
