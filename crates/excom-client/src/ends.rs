//! How XComs end: cleared, deleted, or past their time.

use std::sync::Arc;
use std::time::Duration;

use excom_core::Result;
use excom_core::db::{Removed, Scope};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::client::Client;
use crate::place;

/// What retention removes. Without an age and a count it is what the server's settings say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prune {
    /// Only XComs of this DAG.
    pub dag_id: Option<Arc<str>>,
    /// Those that were pushed longer ago, in whole seconds.
    pub older_than: Option<Duration>,
    /// All but those of so many newest runs, for each task of a DAG.
    pub keep_last: Option<u32>,
}

/// What would go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WouldGo {
    /// How many entries.
    pub entries: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// The same by rule, DAG and key.
    pub due: Vec<Due>,
}

/// XComs of a DAG under a key that a rule catches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The rule, as it is set.
    pub rule: Arc<str>,
    /// The DAG.
    pub dag_id: Arc<str>,
    /// The key.
    pub key: Arc<str>,
    /// How many entries.
    pub entries: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

#[derive(Serialize)]
struct Asked<'a> {
    dry_run: bool,
    dag_id: Option<&'a str>,
    older_than: Option<u64>,
    keep_last: Option<u32>,
}

/// How many ended.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    Cleared(u64),
    Deleted(u64),
}

impl Client {
    /// Moves XComs to the history, and tells how many. When no answer came it is repeated: then it tells 0, unless somebody
    /// has pushed again meanwhile, whose value goes to the history too.
    ///
    /// # Errors
    /// As [`Engine::clear`](excom_core::Engine::clear); when the server cannot be reached.
    pub async fn clear(&self, scope: &Scope) -> Result<u64> {
        self.end(scope, false).await
    }

    /// Deletes XComs with their history and bytes, and tells how many. It is not repeated when no answer came: what somebody
    /// has pushed meanwhile would be gone for good.
    ///
    /// # Errors
    /// As [`Engine::delete`](excom_core::Engine::delete); when the server cannot be reached.
    pub async fn delete(&self, scope: &Scope) -> Result<u64> {
        self.end(scope, true).await
    }

    async fn end(&self, scope: &Scope, forever: bool) -> Result<u64> {
        let path = match scope {
            Scope::Key(key) => place::xcom("values", key)?,
            Scope::TaskInstance(ti) => place::task_instance("task-instances", ti)?,
        };
        let call = Call::new(Method::DELETE, path).with("forever", forever);
        let call = if forever { call.once() } else { call };
        let (Ended::Cleared(count) | Ended::Deleted(count)) = self.ask(&call).await?;
        Ok(count)
    }

    /// Removes what is past its time, however long it takes. Repeated because no answer came it goes on, and tells what
    /// was left.
    ///
    /// # Errors
    /// When the server cannot be reached, or the token may not.
    pub async fn prune(&self, prune: &Prune) -> Result<Removed> {
        self.ask(&prune.call(false)?).await
    }

    /// What [`Client::prune`] would remove. Nothing changes.
    ///
    /// # Errors
    /// As [`Client::prune`].
    pub async fn due(&self, prune: &Prune) -> Result<WouldGo> {
        self.ask(&prune.call(true)?).await
    }
}

impl Prune {
    fn call(&self, dry_run: bool) -> Result<Call> {
        let asked = Asked {
            dry_run,
            dag_id: self.dag_id.as_deref(),
            older_than: self.older_than.map(|age| age.as_secs()),
            keep_last: self.keep_last,
        };
        Ok(Call::document(Method::POST, place::own("prune", [])?, &asked)?.patient())
    }
}
