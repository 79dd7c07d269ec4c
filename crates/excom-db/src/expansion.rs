//! Over what is returned Airflow's tasks are mapped, as the document says that Airflow has stored of a DAG: its scheduler
//! needs the length of that, and no more elements than it expands over may be there. On PostgreSQL the server looks into
//! the document (`postgres/attached/schema/0002.sql`); here it is done where the server cannot. What was found is remembered
//! by the hash that Airflow has of a document, also that it is of no use.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use excom_core::db::Push;
use excom_core::{Error, ErrorKind, RETURN_VALUE, XComKey};
use flate2::read::ZlibDecoder;
use serde_json::Value;

/// What Airflow has for `[core] max_map_length` where nothing is set.
pub(crate) const MAX_MAP_LENGTH: u32 = 1024;

/// The most bytes of a document, which is whole in memory.
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// Documents that are remembered, each by a few names.
const REMEMBERED: usize = 1000;

/// Whether a push says how many task instances Airflow makes.
pub(crate) fn is_returned(key: &XComKey) -> bool {
    *key.key == *RETURN_VALUE && !key.ti.is_mapped()
}

/// The tasks over whose results others are mapped; none where that cannot be read.
pub(crate) type Sources = Arc<Option<HashSet<String>>>;

/// What is known of documents, by the hashes that Airflow has of them, and how many elements may be expanded over.
#[derive(Debug)]
pub(crate) struct Expansion {
    pub(crate) most: u32,
    known: Mutex<HashMap<String, Sources>>,
}

impl Expansion {
    /// Over so many elements tasks are mapped at most.
    pub(crate) fn up_to(most: u32) -> Self {
        Self { most, known: Mutex::default() }
    }

    /// What was found in a document, if it was read already.
    pub(crate) fn known(&self, dag_hash: &str) -> Option<Sources> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(dag_hash).cloned()
    }

    /// Reads a document, or where there is none what Airflow compressed it to.
    pub(crate) fn learn(&self, dag_hash: &str, document: Option<&str>, compressed: Option<&[u8]>) -> Sources {
        // Beside what it compressed, Airflow's document is JSON's null.
        let found = match document.filter(|text| *text != "null") {
            Some(text) => serde_json::from_str(text).ok().map(|dag| sources(&dag)),
            None => compressed.and_then(compressed_sources),
        };
        let found = Arc::new(found);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(dag_hash.to_owned(), found.clone());
        found
    }

    /// The length that Airflow is to be told of what a task returns; none for what no task is mapped over. Where that is
    /// not known it is told: nobody else reads it.
    ///
    /// # Errors
    /// `InvalidValue` for more elements than tasks are mapped over.
    pub(crate) fn length(&self, push: &Push, sources: Option<&Sources>) -> Result<Option<u64>, Error> {
        let Some(length) = push.shape.mapped_length() else { return Ok(None) };
        let sources = sources.and_then(|sources| (**sources).as_ref());
        match sources.map(|sources| sources.contains(&*push.key.ti.task_id)) {
            Some(false) => Ok(None),
            Some(true) if length > self.most.into() => Err(too_long(&push.key, length, self.most)),
            _ => Ok(Some(length)),
        }
    }
}

/// The refusal of a push of more elements than task instances may be made of.
pub(crate) fn too_long(key: &XComKey, length: u64, most: u32) -> Error {
    Error::new(
        ErrorKind::InvalidValue,
        format!(
            "{key} has {length} elements, and tasks are mapped over it: more than [core] max_map_length = {most}; nothing \
             was written"
        ),
    )
    .hint("return fewer and larger elements, or raise [core] max_map_length in Airflow and here")
}

/// The tasks over whose results others are mapped, by a document that Airflow compressed; none where that cannot be read.
fn compressed_sources(document: &[u8]) -> Option<HashSet<String>> {
    let mut text = String::new();
    ZlibDecoder::new(document).take(LARGEST_DOCUMENT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok().map(|dag| sources(&dag))
}

/// The tasks whose `return_value` tasks or groups of a DAG are expanded over.
fn sources(document: &Value) -> HashSet<String> {
    let mut found = HashSet::new();
    let dag = &document["dag"];
    for task in dag["tasks"].as_array().into_iter().flatten() {
        for input in ["expand_input", "op_kwargs_expand_input"] {
            returned(&task["__var"][input], &mut found);
        }
    }
    groups(&dag["task_group"], &mut found);
    found
}

/// What groups are expanded over, which lie in each other.
fn groups(value: &Value, found: &mut HashSet<String>) {
    if let Value::Object(group) = value
        && let Some(input) = group.get("expand_input")
    {
        returned(input, found);
    }
    inside(value).for_each(|inner| groups(inner, found));
}

/// References to results of tasks, however deep they are.
fn returned(value: &Value, found: &mut HashSet<String>) {
    if value["key"] == RETURN_VALUE
        && let Some(task) = value["task_id"].as_str()
    {
        found.insert(task.to_owned());
    }
    inside(value).for_each(|inner| returned(inner, found));
}

/// What a list or a dict consists of.
fn inside(value: &Value) -> impl Iterator<Item = &Value> {
    let (list, dict) = (value.as_array(), value.as_object());
    list.into_iter().flatten().chain(dict.into_iter().flat_map(|dict| dict.values()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    #[test]
    fn what_tasks_and_groups_are_expanded_over_is_found() {
        let reference = |task: &str| {
            format!(r#"{{"__type": "xcomref", "__var": {{"task_id": "{task}", "key": "return_value"}}}}"#)
        };
        let document = format!(
            r#"{{"dag": {{"tasks": [
                {{"__var": {{"expand_input": {{"type": "dict-of-lists", "value": {{"a": {}, "b": [{}]}}}}}}}},
                {{"__var": {{"op_kwargs_expand_input": {}, "op_args": [{}]}}}},
                {{"__var": {{"expand_input": {{"task_id": "not_returned", "key": "other"}}}}}}],
              "task_group": {{"children": {{"inner": ["taskgroup", {{"expand_input": {}}}]}}}}}}}}"#,
            reference("direct"),
            reference("nested"),
            reference("arguments"),
            reference("plain"),
            reference("grouped"),
        );
        let expansion = Expansion::up_to(MAX_MAP_LENGTH);
        let mut compressor = ZlibEncoder::new(Vec::new(), Compression::default());
        compressor.write_all(document.as_bytes()).unwrap();
        let compressed = compressor.finish().unwrap();
        let found = expansion.learn("h", Some(&document), None);
        for document in [None, Some("null")] {
            assert_eq!(expansion.learn("compressed", document, Some(&compressed)), found);
        }
        let mut found: Vec<&str> = (*found).as_ref().unwrap().iter().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, ["arguments", "direct", "grouped", "nested"]);
        assert!(expansion.known("h").is_some() && expansion.known("other").is_none());
        for none in [None, Some("no JSON"), Some("[NaN]")] {
            assert_eq!(*expansion.learn("other", none, None), None);
        }
        assert_eq!(*expansion.learn("other", None, Some(&compressed[..compressed.len() / 2])), None);
    }
}
