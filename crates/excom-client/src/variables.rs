//! Variables, for people: a task's go through its [channel](Client::channel).

use excom_core::Result;
use excom_core::engine::{VariableSet, VariableValue};
use excom_core::variable::{Variable, check_key};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::client::Client;
use crate::place;

/// The most variables that a server tells at once.
const PAGE: u32 = 64;

/// A variable of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ListedVariable {
    /// What the server's database holds.
    #[serde(flatten)]
    pub variable: Variable,
    /// The server's environment variable that is read instead.
    pub overridden_by: Option<String>,
}

/// The path of a variable, which has to have a name: without one it would be that of the list.
fn path(key: &str) -> Result<String> {
    check_key(key)?;
    place::own("variables", [key])
}

impl Client {
    /// A variable, if there is one: of the server's environment, or else of its database.
    ///
    /// # Errors
    /// When the server cannot be reached; [`ErrorKind::Forbidden`](excom_core::ErrorKind::Forbidden) for a token without
    /// the role `admin`.
    pub async fn variable(&self, key: &str) -> Result<Option<VariableValue>> {
        let text = self.unless_none(&Call::get(path(key)?)).await?;
        text.map(|text| self.read(&text)).transpose()
    }

    /// Sets a variable; without a description the one before stays.
    ///
    /// # Errors
    /// As [`Client::variable`], but the role `write` is enough; what the engine refuses.
    pub async fn set_variable(
        &self,
        key: &str,
        text: &str,
        description: Option<&str>,
    ) -> Result<VariableSet> {
        #[derive(Serialize)]
        struct New<'a> {
            text: &'a str,
            description: Option<&'a str>,
        }
        let new = New { text, description };
        self.ask(&Call::document(Method::PUT, path(key)?, &new)?).await
    }

    /// Deletes a variable from the server's database; tells whether there was one.
    ///
    /// # Errors
    /// As [`Client::variable`].
    pub async fn delete_variable(&self, key: &str) -> Result<bool> {
        #[derive(Deserialize)]
        struct Told {
            deleted: bool,
        }
        let told: Told = self.ask(&Call::new(Method::DELETE, path(key)?)).await?;
        Ok(told.deleted)
    }

    /// Variables of the server's database whose keys begin with a prefix, in order of their keys, only those behind the key
    /// given, at most so many.
    ///
    /// # Errors
    /// As [`Client::variable`].
    pub async fn variables(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ListedVariable>> {
        #[derive(Deserialize)]
        struct Told {
            items: Vec<ListedVariable>,
            next: Option<String>,
        }
        let (mut found, mut after) = (Vec::new(), after.map(str::to_owned));
        loop {
            let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
            if left == 0 {
                return Ok(found);
            }
            let call = Call::get(place::own("variables", [])?)
                .with("prefix", prefix)
                .maybe("after", after)
                .with("limit", left.min(PAGE));
            let told: Told = self.ask(&call).await?;
            found.extend(told.items);
            after = told.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }
}
