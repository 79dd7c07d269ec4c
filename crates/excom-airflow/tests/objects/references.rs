//! Which texts are references, and where they lead.

use std::sync::Arc;

use excom_airflow::objects::{BasePath, Compression};
use excom_core::{ErrorKind, TaskInstanceKey, Value, memory};

use crate::{all, backend};

const UUID: &str = "0b4f9a52-6f0c-4f7e-8a3f-0d0c8a1f2b3c";

fn ti() -> TaskInstanceKey {
    TaskInstanceKey::new("d", "manual__2026-11-21T10:00:00+00:00", "t", -1).unwrap()
}

#[test]
fn a_reference_leads_to_an_object_of_its_own_task_instance() {
    let base: BasePath = "s3://aws@bucket/a/base/".parse().unwrap();
    for (start, suffix) in [("s3://aws@bucket", ""), ("s3://bucket", ".gz"), ("S3://other@bucket", ".zst")] {
        let text = format!("{start}/a/base/d/{}/t/{UUID}{suffix}", ti().run_id);
        let (name, compression) = base.locate(&ti(), &text).unwrap();
        assert_eq!(name.as_str(), format!("d/{}/t/{UUID}{suffix}", ti().run_id));
        assert_eq!(compression.suffix(), suffix);
    }
    // Roots, and a run id of two parts.
    let ti = TaskInstanceKey::new("d", "a/b", "t", -1).unwrap();
    for (base, text) in [("s3://bucket/", "s3://bucket"), ("file:///", "file://")] {
        let base: BasePath = base.parse().unwrap();
        assert_eq!(base.to_string(), text);
        assert!(base.locate(&ti, &format!("{text}/d/a/b/t/{UUID}")).is_ok());
    }
}

#[test]
fn every_other_text_is_refused_by_the_rule_that_it_breaks() {
    let base: BasePath = "s3://aws@bucket/base".parse().unwrap();
    let run = ti().run_id;
    let no_url = "it is no URL";
    let outside = "it is not below s3://aws@bucket/base";
    let climbs = "it has `.` or `..` in its path";
    let folder = format!("it is not in the folder of d/{run}/t");
    let name = "its last part is not a UUID with the suffix of a compression, or none";
    for (text, rule) in [
        ("".to_owned(), no_url),
        ("text".to_owned(), no_url),
        (format!("/base/d/{run}/t/{UUID}"), no_url),
        (format!("file:///base/d/{run}/t/{UUID}"), outside),
        (format!("s3://aws@other/base/d/{run}/t/{UUID}"), outside),
        (format!("s3://bucket@other/base/d/{run}/t/{UUID}"), outside),
        (format!("s3://aws@bucket/based/d/{run}/t/{UUID}"), outside),
        (format!("s3://aws@bucket//base/d/{run}/t/{UUID}"), outside),
        (format!("s3://aws@bucket/base/d/{run}/t/../secret/{UUID}"), climbs),
        (format!("s3://aws@bucket/base/../base/d/{run}/t/{UUID}"), climbs),
        (format!("s3://aws@bucket/base/./d/{run}/t/{UUID}"), climbs),
        (format!("s3://aws@bucket/base/d/{run}/t2/{UUID}"), &folder),
        (format!("s3://aws@bucket/base/d/{run}/%74/{UUID}"), &folder),
        (format!("s3://aws@bucket/base//d/{run}/t/{UUID}"), &folder),
        (format!("s3://aws@bucket/base/d/other/t/{UUID}"), &folder),
        (format!("s3://aws@bucket/base/e/{run}/t/{UUID}"), &folder),
        (format!("s3://aws@bucket/base/d/{run}/t/x/{UUID}"), name),
        (format!("s3://aws@bucket/base/d/{run}/t/{UUID}.exe"), name),
        (format!("s3://aws@bucket/base/d/{run}/t/{UUID}?versionId=1"), name),
        (format!("s3://aws@bucket/base/d/{run}/t/{}", UUID.to_uppercase()), name),
        (format!("s3://aws@bucket/base/d/{run}/t/notes.gz"), name),
        (format!("s3://aws@bucket/base/d/{run}/t/"), name),
        (format!("s3://aws@bucket/base/d/{run}/t/{UUID}/"), name),
        (format!("s3://aws@bucket/base/d/{run}/t"), &folder),
    ] {
        let error = base.locate(&ti(), &text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert_eq!(error.to_string(), format!("`{text}` is no reference to an object: {rule}"));
    }
}

#[test]
fn a_text_that_is_no_reference_is_the_value() {
    let backend = backend(Arc::new(memory::Store::new()), "s3://aws@bucket/base", Compression::None);
    for text in [
        "\"text\"",
        "{\"a\": 1}",
        "null",
        "\"s3://aws@bucket/base/d/r/secret/0b4f9a52-6f0c-4f7e-8a3f-0d0c8a1f2b3c\"",
        "\"s3://aws@bucket/base/d/manual__2026-11-21T10:00:00+00:00/t/../secret/0b4f9a52-6f0c-4f7e-8a3f-0d0c8a1f2b3c\"",
    ] {
        let value = Value::parse(text).unwrap();
        let found = pollster::block_on(backend.resolve(&ti(), value)).unwrap();
        assert_eq!(all(found).unwrap(), text.as_bytes());
    }
}

#[test]
fn a_base_path_is_a_url() {
    for (text, what) in
        [("/var/xcom", "has no scheme"), ("", "has no scheme"), ("file:///a/../b", "has an empty part")]
    {
        let error = text.parse::<BasePath>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(what) && !error.hints().is_empty(), "{error:?}");
    }
}

#[test]
fn ids_that_lead_out_of_their_folder_have_none() {
    let base: BasePath = "s3://aws@bucket/base".parse().unwrap();
    for (dag, run, task, why) in [
        ("..", "r", "t", "the DAG id `..` cannot be a folder"),
        ("d", "r", "..", "the task id `..` cannot be a folder"),
        ("d", "r", "a/b", "it has a `/`"),
        ("/d", "r", "t", "it has a `/`"),
        ("d", "/r", "t", "a part of it is empty"),
        ("d", "r/..", "t", "a part of it is empty"),
        ("d", "r//s", "t", "a part of it is empty"),
        ("d", ".", "t", "a part of it is empty"),
    ] {
        let ti = TaskInstanceKey::new(dag, run, task, -1).unwrap();
        let error = base.locate(&ti, &format!("s3://bucket/base/{dag}/{run}/{task}/{UUID}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName);
        assert!(error.to_string().contains(why) && !error.hints().is_empty(), "{error:?}");
    }
}
