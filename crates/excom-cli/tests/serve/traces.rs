//! Spans of a served process, and the requests of Airflow's own worker in its task's trace.

use std::fs;

use excom_testkit::collector::{Collector, Mood, Request, attributes, spans};
use excom_testkit::python::Python;
use excom_testkit::skip::skipped;
use serde_json::Value as Json;

use crate::process::{exchange, ready};
use crate::workers::RUN_DAG;
use crate::{Served, excom};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const DAG: &str = "
from airflow.sdk import dag, task

@dag
def traced():
    @task
    def extract():
        return [1, 2]

    @task
    def load(rows):
        return len(rows)

    load(extract())

traced()
";

/// Reads documents with OpenTelemetry's own definition of them, which refuses what it does not have, and tells the
/// names of their spans. Ids are hexadecimal in OTLP, where protobuf's JSON has base64.
const READ: &str = "
import base64, json, sys
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
names = []
for document in json.load(open(sys.argv[1])):
    for span in document['resourceSpans'][0]['scopeSpans'][0]['spans']:
        for key in {'traceId', 'spanId', 'parentSpanId'} & span.keys():
            span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    for span in ParseDict(document, ExportTraceServiceRequest()).resource_spans[0].scope_spans[0].spans:
        assert len(span.trace_id) == 16 and len(span.span_id) == 8
        assert span.kind == (span.SPAN_KIND_SERVER if span.name[0].isupper() else span.SPAN_KIND_INTERNAL)
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        names.append(span.name)
json.dump(names, open(sys.argv[2], 'w'))
";

/// A pull as part of a trace.
fn pull(server: &Served) {
    let head = "GET /api/excom/v1/values/d/r/t/-1/k HTTP/1.1\r\nhost: excom\r\nconnection: close\r\n";
    let head = format!("{head}traceparent: {PARENT}\r\nauthorization: Bearer {}\r\n\r\n", server.token);
    let answer = exchange(&server.address, &head);
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

/// What stands in a setting or variables, served, asked and stopped.
fn sent(settings: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::set(&folder.path().join("home"), settings);
    ready(&server);
    pull(&server);
    assert!(server.stop().success());
}

#[test]
fn spans_go_where_settings_or_variables_say() {
    let [named, other] = [Collector::start().unwrap(), Collector::start().unwrap()];
    let (url, others) = (named.url(), other.url());
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*others);
    let late = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    sent(&[("EXCOM__SERVER__TRACES", &url), variable, late]);
    let names: Vec<Json> = spans(&named.taken()).into_iter().map(|span| span["name"].clone()).collect();
    let route = "GET /api/excom/v1/values/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}";
    assert_eq!(names, ["database entries", route], "sent when it stops");
    assert_eq!(other.taken().len(), 0);
    let told = &named.taken()[0].document["resourceSpans"][0]["resource"];
    assert_eq!(attributes(told)["service.name"], "excom");
    sent(&[("EXCOM__SERVER__TRACES", "off"), variable]);
    sent(&[variable, ("OTEL_SDK_DISABLED", "true")]);
    assert_eq!(other.taken().len(), 0);
    sent(&[variable]);
    assert_eq!(spans(&other.taken())[0]["traceId"], TRACE);

    let folder = tempfile::tempdir().unwrap();
    let mut serve = excom(&folder.path().join("home"));
    serve.args(["serve", "--dev"]).env("EXCOM__SERVER__TRACES", "grpc://collector:4317");
    let refused = String::from_utf8(serve.output().unwrap().stderr).unwrap();
    assert!(refused.contains("[server] traces") && refused.contains("http://127.0.0.1:4318"), "{refused}");
    // One that takes nothing, and a sampler that nobody knows, are told, and nothing else comes of it.
    other.is(Mood::Refuses(400));
    sent(&[variable, ("OTEL_TRACES_SAMPLER", "xray")]);
}

#[test]
fn what_a_task_of_airflow_asks_is_part_of_its_trace() {
    let python = match Python::with_airflow() {
        Ok(python) => python,
        Err(why) => return skipped("traces::what_a_task_of_airflow_asks_is_part_of_its_trace", &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let dags = folder.path().join("dags");
    fs::create_dir(&dags).unwrap();
    fs::write(dags.join("traced.py"), DAG).unwrap();
    let collector = Collector::start().unwrap();
    let server =
        Served::set(&folder.path().join("home"), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())]);
    let mut command = python.run(RUN_DAG);
    command.args([&server.address, &server.token]).arg(dags.join("traced.py")).args(["traced", "manual__1"]);
    command
        .env("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite://")
        .env("AIRFLOW__CORE__LOAD_EXAMPLES", "False");
    let output = command.env("TRACEPARENT", PARENT).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(server.stop().success());

    let requests = collector.taken();
    let all = spans(&requests);
    let of_task: Vec<&Json> = all.iter().filter(|span| span["traceId"] == TRACE).collect();
    let route = "/execution/xcoms/{dag_id}/{run_id}/{task_id}/{*key}";
    let one = |method: &str, task: &str| {
        let name = format!("{method} {route}");
        let found =
            of_task.iter().find(|span| span["name"] == *name && attributes(span)["excom.task_id"] == task);
        attributes(found.unwrap_or_else(|| panic!("no {method} for {task} in {all:#?}")))
    };
    let (push, pull) = (one("POST", "extract"), one("GET", "extract"));
    assert_eq!((&*push["excom.dag_id"], &*push["excom.run_id"]), ("traced", "manual__1"));
    assert_eq!((&*push["excom.key"], &*pull["excom.answer"]), ("return_value", "found"));
    one("POST", "load");
    assert!(all.len() > of_task.len(), "who starts the tasks is not part of it");
    reads(&python, folder.path(), &requests, &all);
}

/// OpenTelemetry's own definition has what was sent.
fn reads(python: &Python, folder: &std::path::Path, requests: &[Request], all: &[Json]) {
    let (documents, names) = (folder.join("documents.json"), folder.join("names.json"));
    let sent: Vec<&Json> = requests.iter().map(|request| &request.document).collect();
    fs::write(&documents, serde_json::to_vec(&sent).unwrap()).unwrap();
    let output = python.run(READ).args([&documents, &names]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names: Vec<String> = serde_json::from_slice(&fs::read(&names).unwrap()).unwrap();
    let expected: Vec<&str> = all.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, expected);
}
