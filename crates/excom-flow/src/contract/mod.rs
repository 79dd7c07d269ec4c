//! Contracts: what each task of a DAG takes and gives, as JSON Schemas of its Rust types.
//!
//! A type that derives `JsonSchema` has a schema; of any other only the name is known, and every value is taken to
//! fit. The contract of a DAG is kept with every run under the DAG's version, which is a hash of it; [`diff`] says
//! what a change of a DAG breaks before it is deployed.
//!
//! ```
//! # extern crate excom_flow as excom;
//! use excom::prelude::*;
//!
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! struct Order { id: u64, price: f64 }
//!
//! #[task]
//! fn fetch() -> Vec<Order> { vec![Order { id: 1, price: 9.5 }] }
//!
//! #[task]
//! fn total(orders: Vec<Order>) -> f64 { orders.iter().map(|order| order.price).sum() }
//!
//! #[dag]
//! fn orders(dag: &Dag) { total(dag, fetch(dag)); }
//!
//! let contract = orders().contract()?;
//! assert_eq!(contract.tasks["fetch"].outputs["return_value"].to_string(), "[{id, price}]");
//! assert_eq!(contract.version(), orders().contract()?.version());
//! # Ok::<(), excom_core::Error>(())
//! ```

mod build;
mod check;
mod compare;
mod fit;
mod push;
mod schema;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use excom_core::value::ContentHash;
use excom_core::{RETURN_VALUE, Result, Value};
use serde::{Deserialize, Serialize};

pub use check::Mismatch;
pub use compare::{Breaks, Change, ChangeKind, diff};
pub use push::Contracts;
pub use schema::Schema;
pub use types::TypeSchema;
#[doc(hidden)]
pub use types::{KnownType, NamedOutputs, NoNamedOutputs, OutputTypes, TypeOf, Types, UnknownType};

use crate::dag::TriggerRule;
use crate::error::{invalid, within};

/// What the parts of a DAG take and give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Contract {
    /// The DAG's id.
    pub dag_id: String,
    /// Its parameters, by name.
    pub params: BTreeMap<String, Parameter>,
    /// Its tasks, by id.
    pub tasks: BTreeMap<String, TaskContract>,
}

/// A parameter of a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parameter {
    /// What its values are like.
    pub schema: Schema,
    /// Its value when a run gives none; without, every run must give one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
}

/// What a task takes and gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskContract {
    /// What it takes, by the argument's name.
    pub inputs: BTreeMap<String, Input>,
    /// What it pushes, by key; also what it does not declare and another task takes.
    pub outputs: BTreeMap<String, Schema>,
    /// The tasks directly before it.
    pub upstream: BTreeSet<String>,
    /// Whether it has one instance for each element of something.
    pub mapped: bool,
    /// When it may run.
    pub trigger_rule: TriggerRule,
    /// How many times it is tried again.
    pub retries: u32,
}

/// What a task takes as an argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Input {
    /// Where it comes from.
    pub from: Source,
    /// What values it can be read from.
    pub schema: Schema,
}

/// Where an argument comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// It is written in the DAG.
    Literal,
    /// A parameter of the DAG.
    Param(String),
    /// What a task pushes under a key.
    Output {
        /// The task.
        task: String,
        /// The key.
        key: String,
    },
    /// What the instances of a mapped task push under a key, as a list.
    Outputs {
        /// The task.
        task: String,
        /// The key.
        key: String,
    },
    /// An element of a sequence: the one that the instance of a mapped task stands for.
    ElementOf(Box<Self>),
    /// An entry of such an element, which is a dict of arguments.
    EntryOf(Box<Self>),
    /// Made of these by `map`, `filter`, `zip` or `concat`.
    MadeOf(Vec<Self>),
}

impl Source {
    /// The outputs that it is made of, each as task and key.
    pub fn outputs(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Literal | Self::Param(_) => Vec::new(),
            Self::Output { task, key } | Self::Outputs { task, key } => vec![(task, key)],
            Self::ElementOf(of) | Self::EntryOf(of) => of.outputs(),
            Self::MadeOf(several) => several.iter().flat_map(Self::outputs).collect(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = |key: &str| if key == RETURN_VALUE { String::new() } else { format!("`{key}` of ") };
        match self {
            Self::Literal => f.write_str("the DAG itself"),
            Self::Param(name) => write!(f, "the parameter `{name}`"),
            Self::Output { task, key: of } => write!(f, "{}task `{task}`", key(of)),
            Self::Outputs { task, key: of } => write!(f, "{}all instances of task `{task}`", key(of)),
            Self::ElementOf(of) => write!(f, "each element of {of}"),
            Self::EntryOf(of) => write!(f, "an entry of {of}"),
            Self::MadeOf(several) => {
                f.write_str("what is made of ")?;
                for (place, of) in several.iter().enumerate() {
                    write!(f, "{}{of}", if place == 0 { "" } else { " and " })?;
                }
                Ok(())
            }
        }
    }
}

impl Contract {
    /// Reads a contract as [`Contract::document`] writes it.
    ///
    /// # Errors
    /// When the value is no contract.
    pub fn read(document: &Value) -> Result<Self> {
        document
            .get()
            .map_err(|error| within("the contract of a DAG", error).hint("write one with `contracts export`"))
    }

    /// As JSON: the same text for the same contract.
    ///
    /// # Errors
    /// None that a contract of a DAG can have: it is made of what JSON can express.
    pub fn document(&self) -> Result<Value> {
        let mut json = serde_json::to_value(self)
            .map_err(|error| invalid("a contract cannot be written as JSON").because(error))?;
        json.sort_all_objects();
        Value::of(&json)
    }

    /// The DAG's version: a short hash of [`Contract::document`], the same in every process and build.
    pub fn version(&self) -> Arc<str> {
        self.document().map_or_else(|_| "".into(), |document| version(&document))
    }
}

fn version(document: &Value) -> Arc<str> {
    format!("{:016x}", ContentHash::of(document.bytes()).0).into()
}

/// A contract with what it is kept as.
#[derive(Debug)]
pub(crate) struct Versioned {
    pub(crate) contract: Arc<Contract>,
    pub(crate) document: Value,
    pub(crate) version: Arc<str>,
}

impl Versioned {
    pub(crate) fn new(contract: Contract) -> Result<Self> {
        let document = contract.document()?;
        let version = version(&document);
        Ok(Self { contract: Arc::new(contract), document, version })
    }
}
