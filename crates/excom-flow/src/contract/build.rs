//! The contract of a graph: the schemas of its tasks' types, and where each argument comes from.

use std::collections::{BTreeMap, HashMap};

use excom_core::RETURN_VALUE;

use super::schema::Schema;
use super::types::TypeSchema;
use super::{Contract, Input, Parameter, Source, TaskContract};
use crate::dag::{Graph, Over, Taken, Task};
use crate::params::ParamSpec;
use crate::sequence::Elements;

impl Graph {
    /// What its tasks take and give.
    pub fn contract(&self) -> Contract {
        let mut schemas = Schemas::default();
        let params =
            self.params().iter().map(|spec| (spec.name.to_owned(), parameter(spec, &mut schemas))).collect();
        let mut tasks: BTreeMap<String, TaskContract> = self
            .tasks()
            .iter()
            .map(|task| (task.id().to_owned(), self.task_contract(task, &mut schemas)))
            .collect();
        for (task, key, schema) in expected(&tasks) {
            if let Some(producer) = tasks.get_mut(&task) {
                let known = producer.outputs.entry(key).or_insert_with(|| schema.clone());
                if known.is_anything() && !schema.is_anything() {
                    *known = schema;
                }
            }
        }
        Contract { dag_id: self.dag_id().to_string(), params, tasks }
    }

    fn task_contract(&self, task: &Task, schemas: &mut Schemas) -> TaskContract {
        let types = task.work.types();
        let inputs = task.inputs.iter().map(|(name, taken)| {
            let ty = types.arguments.iter().find(|(argument, _)| *argument == &**name);
            let schema = ty.map_or_else(Schema::anything, |(_, ty)| schemas.read(*ty));
            (name.to_string(), Input { from: self.source(task, taken), schema })
        });
        TaskContract {
            inputs: inputs.collect(),
            outputs: outputs(task, schemas).into_iter().collect(),
            upstream: task.upstream().map(ToOwned::to_owned).collect(),
            mapped: task.is_mapped(),
            trigger_rule: task.settings().trigger_rule,
            retries: task.settings().retries,
        }
    }

    fn source(&self, task: &Task, taken: &Taken) -> Source {
        let element = |of: Option<&Elements>| {
            Source::ElementOf(Box::new(of.map_or(Source::Literal, |of| self.sequence(of))))
        };
        match taken {
            Taken::Literal(_) => Source::Literal,
            Taken::Param(name) => Source::Param((*name).to_owned()),
            Taken::XCom { task, key } => Source::Output { task: self.name(*task), key: key.to_string() },
            Taken::Gather { task, key, .. } | Taken::Stream { task, key } => {
                Source::Outputs { task: self.name(*task), key: key.to_string() }
            }
            Taken::Element => {
                element(task.group.and_then(|group| self.groups().get(group as usize)).map(|g| &g.elements))
            }
            Taken::Factor(factor) => element(task.over.as_ref().and_then(|over| over.factors().get(*factor))),
            Taken::All(elements) => self.sequence(elements),
            Taken::Kwarg => {
                let of = task.over.as_ref().and_then(|over| match over {
                    Over::Kwargs(elements) => Some(elements),
                    Over::Product(_) => None,
                });
                Source::EntryOf(Box::new(element(of)))
            }
        }
    }

    fn sequence(&self, elements: &Elements) -> Source {
        match elements {
            Elements::Literal(_) | Elements::Invalid(_) => Source::Literal,
            Elements::Param(name) => Source::Param((*name).to_owned()),
            Elements::XCom { task, key, many: false } => {
                Source::Output { task: self.name(task.index), key: (*key).to_owned() }
            }
            Elements::XCom { task, key, many: true } => {
                Source::Outputs { task: self.name(task.index), key: (*key).to_owned() }
            }
            made => {
                let mut leaves = Vec::new();
                made.leaves(&mut |leaf| leaves.push(leaf));
                Source::MadeOf(leaves.into_iter().map(|leaf| self.sequence(leaf)).collect())
            }
        }
    }

    fn name(&self, task: u32) -> String {
        self.tasks().get(task as usize).map(|task| task.id().to_owned()).unwrap_or_default()
    }
}

/// Schemas that are made already.
#[derive(Default)]
struct Schemas {
    read: HashMap<(usize, &'static str), Schema>,
    written: HashMap<(usize, &'static str), Schema>,
}

impl Schemas {
    fn read(&mut self, ty: TypeSchema) -> Schema {
        self.read.entry(ty.identity()).or_insert_with(|| ty.read()).clone()
    }

    fn written(&mut self, ty: TypeSchema) -> Schema {
        self.written.entry(ty.identity()).or_insert_with(|| ty.written()).clone()
    }
}

fn parameter(spec: &ParamSpec, schemas: &mut Schemas) -> Parameter {
    let default = spec.default.as_ref().and_then(|default| default.get().ok());
    Parameter { schema: schemas.read(spec.ty()), default }
}

/// What a task declares that it pushes.
fn outputs(task: &Task, schemas: &mut Schemas) -> Vec<(String, Schema)> {
    let types = task.work.types();
    let mut outputs = Vec::new();
    let returned = schemas.written(types.returned);
    if task.settings().multiple_outputs {
        outputs.extend(types.outputs.iter().map(|(key, ty)| ((*key).to_owned(), schemas.written(*ty))));
        if outputs.is_empty() {
            outputs = returned.properties();
        }
        outputs.retain(|(key, _)| key != RETURN_VALUE);
    }
    if task.settings().do_xcom_push && !returned.is_null() {
        outputs.push((RETURN_VALUE.to_owned(), returned));
    }
    outputs
}

/// What tasks take of others: task, key, and what is read there.
fn expected(tasks: &BTreeMap<String, TaskContract>) -> Vec<(String, String, Schema)> {
    let inputs = tasks.values().flat_map(|task| task.inputs.values());
    inputs
        .filter_map(|input| match &input.from {
            Source::Output { task, key } => Some((task.clone(), key.clone(), input.schema.clone())),
            _ => None,
        })
        .collect()
}
