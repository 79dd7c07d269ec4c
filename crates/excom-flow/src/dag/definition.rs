//! What a DAG is before it is built: its id, its parameters and the function that builds it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use excom_core::{Result, Value};
use serde::de::DeserializeOwned;

use super::{Dag, Graph};
use crate::contract::{Contract, Versioned};
use crate::params::{Given, Param, ParamSpec, Params};

/// A DAG: an id, parameters, and a pure function that builds it. `#[dag]` makes it from a function.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// #[task]
/// fn double(n: i64) -> i64 { 2 * n }
///
/// /// Doubles a number.
/// #[dag(id = "doubling")]
/// fn doubling(dag: &Dag, #[param(default = 21)] number: Param<i64>) {
///     double(dag, number);
/// }
///
/// let definition = doubling();
/// assert_eq!((definition.id(), definition.doc()), ("doubling", "Doubles a number."));
/// assert_eq!(definition.params()[0].default.as_ref().unwrap().as_str(), "21");
/// ```
#[derive(Clone)]
pub struct DagDefinition {
    id: Arc<str>,
    doc: &'static str,
    params: Vec<ParamSpec>,
    template_searchpath: Vec<PathBuf>,
    native_templates: bool,
    build: Arc<dyn Fn(&Dag) + Send + Sync>,
    /// Made when it is first asked for, so that many runs of a DAG pay once.
    versioned: Arc<OnceLock<Arc<Versioned>>>,
}

impl fmt::Debug for DagDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DagDefinition")
            .field("id", &self.id)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl DagDefinition {
    /// A DAG that a function builds. The function must add the same tasks every time: a task that runs
    /// somewhere else builds the DAG again.
    pub fn new(id: &str, build: impl Fn(&Dag) + Send + Sync + 'static) -> Self {
        Self {
            id: id.into(),
            doc: "",
            params: Vec::new(),
            template_searchpath: Vec::new(),
            native_templates: false,
            build: Arc::new(build),
            versioned: Arc::default(),
        }
    }

    /// The same DAG with a text on what it is for.
    #[must_use]
    pub fn with_doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// The same DAG with a parameter.
    #[must_use]
    pub fn with_param(mut self, param: ParamSpec) -> Self {
        self.params.push(param);
        self.versioned = Arc::default();
        self
    }

    /// The same DAG with a folder more in which template files are. Without any, it is the current folder.
    #[must_use]
    pub fn template_searchpath(mut self, folder: impl Into<PathBuf>) -> Self {
        self.template_searchpath.push(folder.into());
        self
    }

    /// The same DAG, its templates rendered to values rather than to text.
    #[must_use]
    pub fn render_template_as_native_obj(mut self, native: bool) -> Self {
        self.native_templates = native;
        self
    }

    /// The folders in which template files are.
    pub fn template_folders(&self) -> &[PathBuf] {
        &self.template_searchpath
    }

    /// Whether templates are rendered to values rather than to text.
    pub fn native_templates(&self) -> bool {
        self.native_templates
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is for; empty when it does not say.
    pub fn doc(&self) -> &'static str {
        self.doc
    }

    /// The parameters that a run may bring.
    pub fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    /// Builds it and checks it.
    ///
    /// # Errors
    /// What is wrong with it: two tasks with one id, a cycle, an argument of another DAG, a default
    /// that does not fit its parameter.
    pub fn graph(&self) -> Result<Graph> {
        let dag = Dag::new(self.id.clone());
        for problem in self.params.iter().filter_map(ParamSpec::problem) {
            dag.problem(crate::error::invalid(problem));
        }
        (self.build)(&dag);
        Graph::finish(dag, &self.params)
    }

    /// What its tasks take and give.
    ///
    /// # Errors
    /// As [`DagDefinition::graph`].
    pub fn contract(&self) -> Result<Contract> {
        Ok(self.graph()?.contract())
    }

    /// The contract with its version, made once.
    pub(crate) fn versioned(&self, graph: &Graph) -> Result<Arc<Versioned>> {
        if let Some(versioned) = self.versioned.get() {
            return Ok(versioned.clone());
        }
        let versioned = Arc::new(Versioned::new(graph.contract())?);
        Ok(self.versioned.get_or_init(|| versioned).clone())
    }

    /// The parameters of a run: those given, and the defaults of the others.
    ///
    /// # Errors
    /// For an unknown name (with the nearest known), a value of the wrong type, and a parameter without
    /// default that is not given.
    pub fn resolve(&self, given: &BTreeMap<String, Given>) -> Result<Params> {
        Params::resolve(&self.id, &self.params, given)
    }
}

/// A parameter of a type, for the functions that `#[dag]` makes.
pub fn param<T: DeserializeOwned>(name: &'static str) -> Param<T> {
    Param::new(name)
}

impl From<Value> for Given {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<&str> for Given {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Given {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
