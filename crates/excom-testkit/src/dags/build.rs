//! A plan as a DAG of the public API: every task is an operator that behaves as its plan says, and writes
//! down each time that its body runs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use excom::{Dag, DagDefinition, Field, Handle, Operator, ParamSpec, Skip, TaskInstance, XComArg};
use excom_flow::{IntoElements, Many, Reschedule, SkipDownstream, Upstream, XComSequence, expand};
use serde_json::{Value as Json, json};

use super::plan::{After, End, FILL, Over, Part, Plan, Step, Takes, hash, kept, mapped, returned, skips};

/// The id of every DAG of the proof.
pub(super) const DAG: &str = "proof";

/// What the parameter `floor` is.
pub(super) const FLOOR: u64 = 12;

/// What surrounds the bodies of one run.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// Where each start of a body is written down.
    pub(super) side: PathBuf,
    /// What chooses how long bodies take.
    pub(super) delays: u64,
    /// The longest, in microseconds.
    pub(super) longest: u64,
    pub(super) active: Arc<Mutex<HashMap<usize, u32>>>,
    /// Limits that were broken.
    pub(super) broken: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub(super) fn new(side: PathBuf, delays: u64, longest: u64) -> Self {
        Self { side, delays, longest, active: Arc::default(), broken: Arc::default() }
    }

    fn delay(&self, id: &str, map_index: i32, try_number: u32) -> Duration {
        let parts = [id, &map_index.to_string(), &try_number.to_string(), &self.delays.to_string()];
        Duration::from_micros(hash(&parts) % self.longest.max(1))
    }

    /// Counts a body until what this gives is dropped.
    fn enter(&self, task: usize, most: Option<u32>, id: &str) -> Active {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let running = active.entry(task).or_default();
        *running += 1;
        if most.is_some_and(|most| *running > most) {
            let message = format!("{running} instances of {id} run at once");
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        }
        Active(task, self.active.clone())
    }
}

/// A body that runs.
struct Active(usize, Arc<Mutex<HashMap<usize, u32>>>);

impl Drop for Active {
    fn drop(&mut self) {
        let mut active = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = active.get_mut(&self.0) {
            *running -= 1;
        }
    }
}

/// A task as an operator.
#[derive(Debug, Clone)]
struct Scripted {
    number: usize,
    plan: Arc<Plan>,
    world: World,
    takes: Vec<Field>,
}

impl Operator for Scripted {
    type Output = Json;

    fn fields(&mut self) -> Vec<(Cow<'static, str>, &mut Field)> {
        let named = |(place, field)| (Cow::Owned(format!("take{place}")), field);
        self.takes.iter_mut().enumerate().map(named).collect()
    }

    async fn execute(self, ti: TaskInstance) -> excom_flow::Result<Json> {
        let step = &self.plan.tasks[self.number];
        let line = format!("{} {} {}\n", ti.task_id(), ti.map_index(), ti.try_number());
        OpenOptions::new().create(true).append(true).open(&self.world.side)?.write_all(line.as_bytes())?;
        let _active = self.world.enter(self.number, step.at_once, ti.task_id());
        tokio::time::sleep(self.world.delay(ti.task_id(), ti.map_index(), ti.try_number())).await;
        if step.notes {
            ti.axcom_push("note", &ti.try_number()).await?;
        }
        if step.pokes > 0 {
            let pokes: Option<u32> = ti.xcom_pull(()).key("pokes").map_indexes(ti.map_index()).aget().await?;
            let pokes = pokes.unwrap_or(0);
            if pokes < step.pokes {
                ti.axcom_push("pokes", &(pokes + 1)).await?;
                return Err(Reschedule::after(Duration::from_micros(300)).into());
            }
        }
        if ti.try_number() <= step.fails {
            return Err("as planned".into());
        }
        match &step.end {
            End::Skip => return Err(Skip::new().into()),
            End::SkipOdd if ti.map_index() % 2 == 1 => return Err(Skip::because("odd").into()),
            End::Branch(followed) => ti.skip_downstream(SkipDownstream::AllBut(followed.clone())),
            End::SkipDirect => ti.skip_downstream(SkipDownstream::Direct),
            End::SkipAll => ti.skip_downstream(SkipDownstream::All),
            _ => {}
        }
        let taken: Vec<Json> = self.takes.iter().map(Field::get).collect::<Result<_, _>>()?;
        Ok(returned(step, ti.map_index(), &taken))
    }
}

/// What was added.
struct Added {
    one: XComArg<Json>,
    many: XComArg<Json, Many>,
    order: Upstream,
}

/// The plan as a DAG.
pub(super) fn definition(plan: &Arc<Plan>, world: &World) -> DagDefinition {
    let (plan, world) = (plan.clone(), world.clone());
    let floor = ParamSpec::required::<u64>("floor", "u64").with_default::<u64>(FLOOR);
    DagDefinition::new(DAG, move |dag| Building::new(&plan, &world).build(dag)).with_param(floor)
}

struct Building<'a> {
    plan: &'a Arc<Plan>,
    world: &'a World,
    added: Vec<Added>,
    groups: Vec<Upstream>,
}

impl<'a> Building<'a> {
    fn new(plan: &'a Arc<Plan>, world: &'a World) -> Self {
        Self { plan, world, added: Vec::new(), groups: Vec::new() }
    }

    fn build(mut self, dag: &Dag) {
        while let Some(step) = self.plan.tasks.get(self.added.len()) {
            let Some(number) = step.group else {
                self.add(dag, None);
                continue;
            };
            let plan = self.plan.clone();
            let group = &plan.groups[number];
            let members = plan.tasks.iter().filter(|step| step.group == Some(number)).count();
            let over = group.over.as_ref().map(|over| expand(self.sequence(over)));
            let mut added = match over {
                None => dag.group(&group.id, |dag| (0..members).for_each(|_| self.add(dag, None))),
                Some(over) => dag.expand_group(&group.id, over, |dag, element: XComArg<Json>| {
                    (0..members).for_each(|_| self.add(dag, Some(element)));
                }),
            };
            for after in &group.after {
                added = added.after(self.order(*after));
            }
            self.groups.push(Upstream::from(&added));
        }
    }

    fn order(&self, after: After) -> Upstream {
        match after {
            After::Task(task) => self.added[task].order,
            After::Group(group) => self.groups[group],
        }
    }

    fn add(&mut self, dag: &Dag, element: Option<XComArg<Json>>) {
        let number = self.added.len();
        let step: &Step = &self.plan.tasks[number];
        let mut takes: Vec<Field> = Vec::new();
        for taken in &step.takes {
            takes.push(match taken {
                Takes::Literal(value) => Field::value(value),
                Takes::Template => "{{ params.floor }}".into(),
                Takes::One(task) => self.added[*task].one.into(),
                Takes::Output(task, key) => self.added[*task].one.output::<Json>(key).into(),
                Takes::Many(task) => self.added[*task].many.into(),
                Takes::All(over) => self.sequence(over).into(),
                Takes::Element => match element {
                    Some(element) => element.into(),
                    None => Field::value(&()),
                },
            });
        }
        takes.extend(step.over.iter().map(|over| Field::from(expand(self.sequence(over)))));
        let operator = Scripted { number, plan: self.plan.clone(), world: self.world.clone(), takes };
        let mut task: Handle<'_, Scripted> = dag
            .add(&step.name, operator)
            .retries(step.retries)
            .retry_delay(Duration::from_micros(200))
            .do_xcom_push(step.push)
            .multiple_outputs(step.multiple)
            .trigger_rule(step.rule);
        for after in &step.after {
            task = task.after(self.order(*after));
        }
        task = match step.part {
            Part::Work => task,
            Part::Setup => task.setup(),
            Part::Teardown(setup, counts) => {
                let task = task.teardown_of(self.added[setup].order);
                if counts { task.on_failure_fail_dagrun() } else { task }
            }
        };
        if let Some(most) = step.at_once {
            task = task.max_active_tis_per_dagrun(most);
        }
        self.added.push(Added { one: task.output(), many: task.outputs(), order: Upstream::from(task) });
    }

    fn sequence(&self, over: &Over) -> XComSequence<Json> {
        match over {
            Over::Literal(elements) => IntoElements::<Json>::into_elements(elements.clone()),
            Over::Task(task) => self.added[*task].one.output::<Vec<Json>>(excom::RETURN_VALUE).elements(),
            Over::Mapped(task) => self.added[*task].many.elements(),
            Over::Map(of) => self.sequence(of).map(|element| mapped(&element)),
            Over::Skips(of) => self.sequence(of).try_map(|element| {
                if skips(&element) { Err(Skip::because("its element says so").into()) } else { Ok(element) }
            }),
            Over::Filter(of) => self.sequence(of).filter(kept),
            Over::Zip(left, right) => pairs(self.sequence(left).zip(self.sequence(right))),
            Over::ZipFill(left, right) => {
                let fill: (Json, Json) = (json!(FILL.0), json!(FILL.1));
                pairs(self.sequence(left).zip_fill(self.sequence(right), fill))
            }
            Over::Concat(left, right) => self.sequence(left).concat(self.sequence(right)),
        }
    }
}

/// Pairs as JSON lists.
fn pairs(zipped: XComSequence<(Json, Json)>) -> XComSequence<Json> {
    zipped.map(|(left, right)| json!([left, right]))
}
