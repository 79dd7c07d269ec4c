//! The plan of a hunt as a DAG.

use std::sync::Arc;
use std::time::Duration;

use excom::{DagDefinition, Field, Fields, Operator, RETURN_VALUE, TaskInstance, XComArg};
use excom_flow::{Many, expand};
use serde_json::{Value as Json, json};

use super::plan::{Kind, Plan};

/// The id of every DAG of a hunt.
pub(super) const DAG: &str = "hunt";

/// Its run.
pub(super) const RUN: &str = "r";

/// A task as an operator.
#[derive(Debug, Clone)]
struct Planned {
    task: usize,
    plan: Arc<Plan>,
    takes: Vec<Field>,
}

impl Operator for Planned {
    type Output = Json;

    fn fields(&mut self) -> Fields<'_> {
        let named = |(place, field)| (format!("take{place}").into(), field);
        self.takes.iter_mut().enumerate().map(named).collect()
    }

    async fn execute(self, ti: TaskInstance) -> excom_flow::Result<Json> {
        let step = &self.plan.tasks[self.task];
        let taken: Vec<Json> = self.takes.iter().map(Field::get).collect::<Result<_, _>>()?;
        let taken = taken.iter().map(largest).max().unwrap_or(0);
        let value = self.plan.value(self.task, ti.map_index(), ti.try_number(), taken);
        let value = match step.kind {
            Kind::List(length) => json!(vec![value; usize::try_from(length)?]),
            _ => json!(value),
        };
        if step.fails == Some(ti.map_index()) && ti.try_number() == 1 {
            // What a try pushed before it failed is cleared by the next one.
            ti.axcom_push(RETURN_VALUE, &value).await?;
            return Err("as planned".into());
        }
        Ok(value)
    }
}

/// The largest number in a value.
fn largest(value: &Json) -> u64 {
    match value {
        Json::Array(values) => values.iter().map(largest).max().unwrap_or(0),
        other => other.as_u64().unwrap_or(0),
    }
}

/// The DAG of a plan.
pub(super) fn definition(plan: &Plan) -> DagDefinition {
    let plan = Arc::new(plan.clone());
    DagDefinition::new(DAG, move |dag| {
        let mut added: Vec<(XComArg<Json>, XComArg<Json, Many>)> = Vec::new();
        for (task, step) in plan.tasks.iter().enumerate() {
            let is_mapped = |task: usize| matches!(plan.tasks[task].kind, Kind::Mapped(..));
            let taken = step.takes.iter().map(|task| match is_mapped(*task) {
                true => Field::from(added[*task].1),
                false => Field::from(added[*task].0),
            });
            let mut takes: Vec<Field> = taken.collect();
            if let Kind::Mapped(over, _) = step.kind {
                let elements = match is_mapped(over) {
                    true => added[over].1.elements(),
                    false => added[over].0.output::<Vec<Json>>(RETURN_VALUE).elements(),
                };
                takes.push(Field::from(expand(elements)));
            }
            let operator = Planned { task, plan: plan.clone(), takes };
            let handle = dag.add(&step.name, operator).retries(1).retry_delay(Duration::from_millis(1));
            added.push((handle.output(), handle.outputs()));
        }
    })
}
