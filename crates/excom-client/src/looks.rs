//! What is known of XComs beside their values.

use excom_core::db::{Filter, Page};
use excom_core::engine::{Direction, Trace, TraceOptions, Used};
use excom_core::entry::PastEntry;
use excom_core::{EntryInfo, Error, ErrorKind, Result, TaskInstanceKey, UNMAPPED, Value, Version, XComKey};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::call::{Call, Failure, Told};
use crate::client::Client;
use crate::place;
use crate::wire::List;

/// The most entries of a page, and versions of a history, that a server tells at once.
const PAGE: u32 = 1000;

/// The most nested levels of a trace: two for each value of the 100 that it is deep, and what is around.
const DEEPEST: usize = 256;

impl Client {
    /// Entries without their values.
    ///
    /// # Errors
    /// When the server cannot be reached; [`ErrorKind::Forbidden`] when the token may not see all that the filter lets
    /// through.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<&XComKey>,
        limit: u32,
    ) -> Result<Page<EntryInfo>> {
        #[derive(Deserialize)]
        struct Told {
            items: Vec<EntryInfo>,
            next: Option<XComKey>,
        }
        let Filter { dag_id, run_id, task_id, map_index, key } = filter;
        let mut page = Page { items: Vec::new(), next: after.cloned() };
        loop {
            let left = limit.saturating_sub(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
            if left == 0 {
                return Ok(page);
            }
            let list = List {
                dag_id: dag_id.as_ref(),
                run_id: run_id.as_ref(),
                task_id: task_id.as_ref(),
                map_index: *map_index,
                key: key.as_ref(),
                after: page.next.as_ref(),
                limit: left.min(PAGE),
            };
            let told: Told = self.ask(&Call::document(Method::POST, place::own("list", [])?, &list)?).await?;
            page.items.extend(told.items);
            page.next = told.next;
            if page.next.is_none() {
                return Ok(page);
            }
        }
    }

    /// How much the values of a run have together, or of all runs of a DAG, and may have. None where the run is not
    /// known, or none of the DAG.
    ///
    /// # Errors
    /// As [`Client::list`]; [`ErrorKind::InvalidName`].
    pub async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Option<Used>> {
        TaskInstanceKey::new(dag_id, run_id.unwrap_or("_"), "_", UNMAPPED)?;
        let call = Call::get(place::own("usage", std::iter::once(dag_id).chain(run_id))?);
        let text = self.unless_none(&call).await?;
        text.map(|text| self.read(&text)).transpose()
    }

    /// What a list would show of one XCom, when it is there.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn preview(&self, key: &XComKey) -> Result<Option<EntryInfo>> {
        let text = self.unless_none(&Call::get(place::xcom("preview", key)?)).await?;
        text.map(|text| self.read(&text)).transpose()
    }

    /// Earlier versions of an XCom, newest first, at most 1000.
    ///
    /// # Errors
    /// When the server cannot be reached; [`ErrorKind::Forbidden`].
    pub async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        #[derive(Deserialize)]
        struct Told {
            history: Vec<PastEntry>,
        }
        let call = Call::get(place::xcom("history", key)?).with("limit", limit.min(PAGE));
        let told: Told = self.ask(&call).await?;
        Ok(told.history)
    }

    /// The tree of a version's origins or consequences: of the version given, or of the entry, or of the last version
    /// when there is no entry. None when there is nothing.
    ///
    /// # Errors
    /// When the server cannot be reached; [`ErrorKind::Forbidden`] when the token may not read the XCom.
    pub async fn trace(
        &self,
        key: &XComKey,
        version: Option<Version>,
        options: TraceOptions,
    ) -> Result<Option<Trace>> {
        #[derive(Deserialize)]
        struct Told {
            trace: Trace,
        }
        let direction = match options.direction {
            Direction::Backwards => "backwards",
            Direction::Forwards => "forwards",
        };
        let call = Call::get(place::xcom("trace", key)?)
            .with("direction", direction)
            .maybe("version", version)
            .with("depth", options.depth)
            .with("children", options.children);
        let Some(text) = self.unless_none(&call).await? else { return Ok(None) };
        if depth(&text) > DEEPEST {
            let message = format!("{} tells a trace with over {DEEPEST} levels", self.address());
            return Err(Error::new(ErrorKind::Incompatible, message));
        }
        let mut json = serde_json::Deserializer::from_slice(&text);
        // Its depth is bounded.
        json.disable_recursion_limit();
        let told = Told::deserialize(&mut json).map_err(|cause| self.nonsense(&cause))?;
        Ok(Some(told.trace))
    }

    /// The parts of a value that a JSONPath (RFC 9535) leads to, as a list.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses the path; without a value the answer as an error.
    pub async fn query(&self, key: &XComKey, path: &str) -> Result<Value> {
        #[derive(Deserialize)]
        struct Told {
            values: Box<RawValue>,
        }
        let text = match self.tried(&Call::get(place::xcom("query", key)?).with("path", path)).await {
            Ok(text) => text,
            Err(Failure { told: self::Told::Refused(refused), .. }) if refused.is_answer() => {
                return Err(match self.explain(key).await? {
                    answer if answer.found().is_some() => refused.error,
                    answer => answer.into_error(),
                });
            }
            Err(failure) => return Err(failure.into()),
        };
        let told: Told = self.read(&text)?;
        Value::parse(told.values.get().to_owned())
    }
}

/// How deep lists and dicts are nested in a text.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn depth_is_counted_outside_of_texts() {
        assert_eq!(depth(br#"{"a": [1, {"b": "[[[\"{{{"}], "c": []}"#), 3);
        assert_eq!(depth(b"1"), 0);
    }
}
