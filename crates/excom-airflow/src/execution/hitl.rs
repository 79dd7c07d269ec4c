//! What a task asks people, and what one of them answered: Airflow's human in the loop.

use excom_core::AttemptId;
use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value as Json};

use crate::python;

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitlUser {
    /// How tokens name them.
    pub id: String,
    /// How people do.
    pub name: String,
}

/// What a task asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HitlRequest {
    /// The task instance that asks.
    pub ti_id: AttemptId,
    /// What can be chosen; never empty.
    pub options: Vec<String>,
    /// What it is about.
    pub subject: String,
    /// More about it, in Markdown.
    #[serde(default)]
    pub body: Option<String>,
    /// What is taken when nobody answers in time.
    #[serde(default)]
    pub defaults: Option<Vec<String>>,
    /// Whether several options can be chosen.
    #[serde(default, deserialize_with = "or_none")]
    pub multiple: bool,
    /// The fields of a form, by their names.
    #[serde(default, deserialize_with = "or_none")]
    pub params: Map<String, Json>,
    /// Who may answer; everybody, when there is nobody.
    #[serde(default, deserialize_with = "or_none")]
    pub assigned_users: Vec<HitlUser>,
}

/// Workers may send null for what there is none of.
fn or_none<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What is sent as an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HitlChoice {
    /// The options; never empty.
    pub chosen_options: Vec<String>,
    /// The fields of the form.
    #[serde(default)]
    pub params_input: Map<String, Json>,
}

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HitlAnswer {
    /// The options.
    pub chosen_options: Vec<String>,
    /// The fields of the form.
    pub params_input: Map<String, Json>,
    /// When.
    pub responded_at: Timestamp,
    /// Who; nobody, when the defaults were taken.
    pub responded_by_user: Option<HitlUser>,
}

/// What an answer is for the method with which the task goes on.
#[derive(Serialize)]
struct Event<'a> {
    chosen_options: &'a [String],
    params_input: &'a Map<String, Json>,
    #[serde(with = "python::datetime")]
    responded_at: Timestamp,
    responded_by_user: Option<&'a HitlUser>,
    timedout: bool,
}

impl HitlAnswer {
    /// The arguments of the method with which the task goes on, with the answer as its event.
    ///
    /// ```
    /// use excom_airflow::execution::HitlAnswer;
    ///
    /// let answer = HitlAnswer {
    ///     chosen_options: vec!["Approve".to_owned()],
    ///     params_input: serde_json::Map::new(),
    ///     responded_at: "2026-11-21T10:00:00Z".parse()?,
    ///     responded_by_user: None,
    /// };
    /// let arguments = answer.among(None)?;
    /// assert!(arguments.get().starts_with(r#"{"event":{"chosen_options":["Approve"]"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the arguments are not an object.
    pub fn among(&self, arguments: Option<&RawValue>) -> serde_json::Result<Box<RawValue>> {
        let event = Event {
            chosen_options: &self.chosen_options,
            params_input: &self.params_input,
            responded_at: self.responded_at,
            responded_by_user: self.responded_by_user.as_ref(),
            timedout: false,
        };
        let given: Option<IndexMap<String, Box<RawValue>>> =
            arguments.map_or(Ok(None), |arguments| serde_json::from_str(arguments.get()))?;
        let mut given = given.unwrap_or_default();
        given.insert("event".to_owned(), to_raw_value(&event)?);
        to_raw_value(&given)
    }
}

/// How an answer is told to the task.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct HitlTold {
    /// Whether there is one.
    pub response_received: bool,
    /// Who gave it.
    pub responded_by_user: Option<HitlUser>,
    /// When.
    pub responded_at: Option<Timestamp>,
    /// The options.
    pub chosen_options: Vec<String>,
    /// The fields of the form.
    pub params_input: Map<String, Json>,
}

impl From<Option<HitlAnswer>> for HitlTold {
    fn from(answer: Option<HitlAnswer>) -> Self {
        let Some(answer) = answer else { return Self::default() };
        let HitlAnswer { chosen_options, params_input, responded_at, responded_by_user } = answer;
        Self {
            response_received: true,
            responded_by_user,
            responded_at: Some(responded_at),
            chosen_options,
            params_input,
        }
    }
}
