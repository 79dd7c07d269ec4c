//! What reporters are told.

use std::io::Write;
use std::sync::{Arc, Mutex};

use excom::prelude::*;
use excom_flow::runner::{Event, JsonReporter, PlainReporter, Reporter};
use excom_flow::{DagDefinition, RunOptions, Runner};

use crate::support::{engine, run_with};

/// A writer that can be read afterwards.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[task(retries = 1, retry_delay = "10s")]
fn flaky(ti: &TaskInstance) -> Result<Vec<u8>> {
    if ti.try_number() == 1 { Err("not yet".into()) } else { Ok(vec![1, 2]) }
}

#[task]
fn broken(_days: Vec<u8>) -> Result<u8> {
    Err(excom_core::Error::new(excom_core::ErrorKind::Full, "no room\nat all")
        .hint("remove something")
        .into())
}

#[task]
fn behind(_n: u8) {}

fn told(reporter: Arc<dyn Reporter>) {
    let definition = DagDefinition::new("d", |dag| {
        behind(dag, broken(dag, flaky(dag)));
    });
    run_with(&Runner::new(engine()).reporter(reporter), &definition, RunOptions::new());
}

#[test]
fn plain_lines() {
    let page = Page::default();
    told(Arc::new(PlainReporter::new(page.clone())));
    let text = page.text();
    let expected = [
        "run d r: 3 tasks",
        "flaky: started",
        "flaky: try 1 of 2 failed, next in 10.0 s: not yet",
        "flaky: try 2 started",
        "flaky: success in 0.0 ms",
        "    return_value = [1,2] (list[2], 5 bytes)",
        "broken: started",
        "broken: failed in 0.0 ms",
        "    no room",
        "    at all",
        "    hint: remove something",
        "    it had read `return_value` of flaky: list[2], pushed by attempt 2 at 2026-11-21T10:00:10Z",
        "behind: upstream_failed",
        "run d r: failed in 10.0 s",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn json_objects() {
    let page = Page::default();
    told(Arc::new(JsonReporter::new(page.clone())));
    let events: Vec<serde_json::Value> =
        page.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let expected = [
        "run_started",
        "task_started",
        "task_retry",
        "task_started",
        "task_finished",
        "task_started",
        "task_finished",
        "task_finished",
        "run_finished",
    ];
    assert_eq!(names, expected);
    assert_eq!(events[0]["run_id"], "r");
    assert_eq!(events[2]["delay_ms"], 10_000.0);
    let pushed = &events[4]["pushed"][0];
    assert_eq!(
        *pushed,
        serde_json::json!({"key": "return_value", "size": 5, "kind": "list", "len": 2, "preview": "[1,2]"})
    );
    assert_eq!(events[6]["failure"]["hints"][0], "remove something");
    assert_eq!(events[8]["state"], "failed");
    assert_eq!(events[8]["tasks"][0]["tries"], 2);
}

#[test]
fn a_reporter_of_ones_own() {
    struct Count(Mutex<usize>);
    impl Reporter for Count {
        fn report(&self, event: &Event<'_>) {
            if matches!(event, Event::TaskFinished { .. }) {
                *self.0.lock().unwrap() += 1;
            }
        }
    }
    let count = Arc::new(Count(Mutex::new(0)));
    told(count.clone());
    assert_eq!(*count.0.lock().unwrap(), 3);
}
