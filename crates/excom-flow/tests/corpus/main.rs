//! Templates as Airflow renders them: each case of `cases.jsonl` is rendered here and compared with what
//! Airflow made of it; and the recording itself is compared with Airflow, where that can be installed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod airflow;
mod channel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use excom_core::{Caller, Engine, TaskInstanceKey, Value, XComKey, memory};
use excom_flow::{Field, Operator, Params, PreviousRun, RunFacts, TaskFacts, TaskInstance};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value as Json;

use channel::WithVariables;

/// One template, what Airflow makes of it, and how Excom differs where it means to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    template: String,
    /// The run has no logical date.
    #[serde(default)]
    undated: bool,
    /// It is rendered to a value.
    #[serde(default)]
    native: bool,
    /// The text that Airflow makes.
    text: Option<String>,
    /// The value that Airflow makes, by native rendering.
    #[serde(default, deserialize_with = "present")]
    value: Option<Json>,
    /// The exception that Airflow ends with.
    error: Option<String>,
    /// What Excom makes where it differs on purpose: a text or value, or null for an error.
    #[serde(default, deserialize_with = "present")]
    ours: Option<Json>,
    /// Why it differs.
    why: Option<String>,
    /// The text changes from one rendering to the next, so Airflow's is not compared.
    #[serde(default)]
    unstable: bool,
}

/// Tells `null` from nothing.
fn present<'de, D: serde::Deserializer<'de>>(json: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(json).map(Some)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("cases.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn json(facts: &Json) -> Value {
    Value::of(facts).unwrap()
}

fn moment(facts: &Json) -> Option<Timestamp> {
    facts.as_str().map(|text| text.parse().unwrap())
}

fn interval(facts: &Json) -> Option<(Timestamp, Timestamp)> {
    moment(&facts["data_interval_start"]).zip(moment(&facts["data_interval_end"]))
}

/// The task instance of `facts.json`.
fn task_instance(facts: &Json, dated: bool) -> TaskInstance {
    let text = |name: &str| facts[name].as_str().unwrap();
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    let (dag_id, run_id) = (text("dag_id"), text("run_id"));
    for (task_id, value) in facts["xcoms"].as_object().unwrap() {
        let key = XComKey::new(dag_id, run_id, task_id.as_str(), -1, "return_value").unwrap();
        pollster::block_on(engine.push(&Caller::user("test"), &key, json(value).into())).unwrap();
    }
    let key = TaskInstanceKey::new(dag_id, run_id, text("task_id"), -1).unwrap();
    let attempt = pollster::block_on(engine.start(&key, 1)).unwrap();
    let variables = facts["variables"].as_object().unwrap();
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect();
    let channel =
        WithVariables { inner: engine.channel(attempt.clone()), variables, rendered: Mutex::default() };

    let mut run = RunFacts::default();
    // What the run was given counts as parameters too, as in Airflow.
    let params = facts["params"].as_object().unwrap().iter().chain(facts["conf"].as_object().unwrap());
    run.params = params.map(|(name, value)| (name.clone(), json(value))).collect::<Params>();
    if dated {
        run.logical_date = moment(&facts["logical_date"]);
        run.data_interval = interval(facts);
    }
    run.run_after = moment(&facts["run_after"]);
    run.start_date = moment(&facts["start_date"]);
    run.conf = Some(json(&facts["conf"]));
    let mut previous = PreviousRun::default();
    previous.start_date = moment(&facts["previous_success"]["start_date"]);
    previous.end_date = moment(&facts["previous_success"]["end_date"]);
    previous.data_interval = interval(&facts["previous_success"]);
    run.previous_success = Some(previous);
    run.template_searchpath = vec![folder().join("files")];
    let mut task = TaskFacts::default();
    task.operator = "Me".to_owned();
    task.owner = text("owner").to_owned();
    task.retries = u32::try_from(facts["retries"].as_u64().unwrap()).unwrap();
    task.start_date = moment(&facts["start_date"]);
    let try_number = u32::try_from(facts["try_number"].as_u64().unwrap()).unwrap();
    TaskInstance::new(Arc::new(channel), key)
        .in_run(run.into())
        .of_task(task.into())
        .as_try(attempt.id, try_number)
}

/// Returns its one field as it was rendered.
#[derive(Debug, Clone)]
struct Me {
    field: Field,
    native: bool,
}

impl Operator for Me {
    type Output = Json;

    fn fields(&mut self) -> Vec<(std::borrow::Cow<'static, str>, &mut Field)> {
        vec![("field".into(), &mut self.field)]
    }

    fn template_ext(&self) -> &'static [&'static str] {
        &[".sql"]
    }

    fn render_template_as_native_obj(&self) -> Option<bool> {
        Some(self.native)
    }

    async fn execute(self, _: TaskInstance) -> excom_flow::Result<Json> {
        Ok(self.field.get()?)
    }
}

fn render(case: &Case, ti: &TaskInstance) -> Result<Json, String> {
    let me = Me { field: case.template.as_str().into(), native: case.native };
    ti.render_templates(me)
        .map_err(|error| format!("{error:?}"))
        .and_then(|me| me.field.get::<Json>().map_err(|e| e.to_string()))
}

#[test]
fn templates_render_as_in_airflow() {
    let facts: Json =
        serde_json::from_str(&std::fs::read_to_string(folder().join("facts.json")).unwrap()).unwrap();
    let (cases, mut wrong) = (cases(), Vec::new());
    for case in &cases {
        let theirs = match (&case.text, &case.value) {
            (Some(text), None) => Some(Json::from(text.as_str())),
            (None, Some(value)) => Some(value.clone()),
            _ => None,
        };
        let expected = match &case.ours {
            Some(ours) => Some(ours.clone()).filter(|ours| !ours.is_null()),
            None => theirs,
        };
        let ours = render(case, &task_instance(&facts, !case.undated));
        if case.unstable && case.ours.is_none() && ours.is_ok() {
            continue;
        }
        if ours.as_ref().ok() != expected.as_ref() {
            let shown =
                |json: &Json| json.as_str().map_or_else(|| json.to_string(), |text| format!("{text:?}"));
            let expected = expected.as_ref().map_or_else(|| "an error".to_owned(), shown);
            let ours = ours.as_ref().map_or_else(Clone::clone, shown);
            wrong.push(format!("{:?}\n  expected {expected}\n  got      {ours}", case.template));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 400, "only {} cases", cases.len());
}

#[test]
fn every_difference_has_a_reason() {
    for case in cases() {
        assert_eq!(case.ours.is_some(), case.why.is_some(), "{}", case.template);
    }
}

#[test]
fn the_recording_is_what_airflow_says() {
    let cases: Vec<Case> = cases();
    match airflow::render_all(&folder()) {
        Ok(rendered) => {
            assert_eq!(rendered.len(), cases.len());
            for (case, rendered) in cases.iter().zip(rendered) {
                let recorded = (&case.text, &case.value, &case.error);
                let now = (&rendered.text, &rendered.value, &rendered.error);
                assert!(case.unstable || recorded == now, "{}: {recorded:?}, now {now:?}", case.template);
            }
        }
        Err(why) => airflow::skipped("the_recording_is_what_airflow_says", &why),
    }
}
