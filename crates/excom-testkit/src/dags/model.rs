//! What must come of a plan: its tasks evaluated one after another by the rules of Airflow, without a runner.
//!
//! The rules are those of Airflow 3.3 for a run whose tasks are all done before those behind them are looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use excom_flow::TriggerRule;
use serde_json::{Value as Json, json};

use super::build::FLOOR;
use super::plan::{End, FILL, Over, Part, Plan, Step, Takes, kept, mapped, returned, skips};

/// A task instance, by task id and map index.
pub(super) type Name = (String, i32);

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outcome {
    /// Of the run.
    pub(super) state: String,
    pub(super) states: BTreeMap<Name, String>,
    /// The JSON text of each XCom.
    pub(super) xcoms: BTreeMap<(String, i32, String), String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Success,
    Failed,
    UpstreamFailed,
    Skipped,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::UpstreamFailed => "upstream_failed",
            Self::Skipped => "skipped",
        }
    }

    fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::UpstreamFailed)
    }
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Run,
    Not(State),
}

/// What a mapped group has.
#[derive(Debug, Clone)]
enum Elements {
    Known(Vec<Element>),
    /// What they are made of has no value.
    Missing,
}

/// An element, or that whoever takes it is skipped.
type Element = Option<Json>;

/// Why a body does not run.
enum Unready {
    Skip,
    Fail,
}

/// What comes of a plan.
pub(super) fn outcome(plan: &Plan) -> Outcome {
    let upstream = plan.upstream();
    let mut model = Model {
        plan,
        upstream: &upstream,
        downstream: (0..plan.tasks.len())
            .map(|task| (0..plan.tasks.len()).filter(|next| upstream[*next].contains(&task)).collect())
            .collect(),
        lengths: plan
            .tasks
            .iter()
            .flat_map(|step| &step.over)
            .chain(plan.groups.iter().filter_map(|group| group.over.as_ref()))
            .flat_map(Over::producers)
            .collect(),
        states: Vec::new(),
        xcoms: HashMap::new(),
        forced: BTreeSet::new(),
        groups: HashMap::new(),
    };
    for task in 0..plan.tasks.len() {
        let states = model.task(task);
        model.states.push(states);
    }
    model.outcome()
}

struct Model<'a> {
    plan: &'a Plan,
    upstream: &'a [BTreeSet<usize>],
    downstream: Vec<BTreeSet<usize>>,
    /// Tasks over whose result something is expanded.
    lengths: BTreeSet<usize>,
    /// Of each task that was looked at, the states of its instances.
    states: Vec<BTreeMap<i32, State>>,
    xcoms: HashMap<(usize, i32), BTreeMap<String, Json>>,
    /// Task instances that were chosen to be skipped; none is all of the task.
    forced: BTreeSet<(usize, Option<i32>)>,
    groups: HashMap<usize, Elements>,
}

impl Model<'_> {
    fn task(&mut self, task: usize) -> BTreeMap<i32, State> {
        if let Some(group) = self.plan.mapped_group(task) {
            let elements = self.group(group);
            return match elements {
                Elements::Known(elements) if !elements.is_empty() => (0..)
                    .zip(&elements)
                    .map(|(map_index, element)| (map_index, self.instance(task, map_index, Some(element))))
                    .collect(),
                without => {
                    let state = match (self.verdict(task, -1), without) {
                        (Verdict::Not(state), _) => state,
                        (Verdict::Run, Elements::Known(_)) => State::Skipped,
                        (Verdict::Run, Elements::Missing) => State::UpstreamFailed,
                    };
                    BTreeMap::from([(-1, state)])
                }
            };
        }
        let step = &self.plan.tasks[task];
        if step.over.is_empty() {
            return BTreeMap::from([(-1, self.instance(task, -1, None))]);
        }
        let unexpanded = |state| BTreeMap::from([(-1, state)]);
        if let Verdict::Not(state) = self.verdict(task, -1) {
            return unexpanded(state);
        }
        let factors: Option<Vec<Vec<Element>>> = step.over.iter().map(|over| self.elements(over)).collect();
        let Some(factors) = factors else { return unexpanded(State::UpstreamFailed) };
        // The last factor varies fastest.
        let mut rows: Vec<Vec<Element>> = vec![Vec::new()];
        for factor in &factors {
            let longer = |row: &Vec<Element>| {
                factor.iter().map(|element| [row.clone(), vec![element.clone()]].concat()).collect::<Vec<_>>()
            };
            rows = rows.iter().flat_map(longer).collect();
        }
        if rows.is_empty() {
            return unexpanded(State::Skipped);
        }
        (0..).zip(&rows).map(|(map_index, row)| (map_index, self.run(task, map_index, None, row))).collect()
    }

    fn instance(&mut self, task: usize, map_index: i32, element: Option<&Element>) -> State {
        match self.verdict(task, map_index) {
            Verdict::Run => self.run(task, map_index, element, &[]),
            Verdict::Not(state) => state,
        }
    }

    fn group(&mut self, group: usize) -> Elements {
        if !self.groups.contains_key(&group) {
            let over = self.plan.groups[group].over.as_ref();
            let elements = over.and_then(|over| self.elements(over));
            self.groups.insert(group, elements.map_or(Elements::Missing, Elements::Known));
        }
        self.groups[&group].clone()
    }

    /// The elements of a sequence; none when a task that it is made of has no value.
    fn elements(&self, over: &Over) -> Option<Vec<Element>> {
        let both = |left: &Over, right: &Over| Some((self.elements(left)?, self.elements(right)?));
        let pair = |left: &Element, right: &Element| Some(json!([left.clone()?, right.clone()?]));
        Some(match over {
            Over::Literal(elements) => elements.iter().cloned().map(Some).collect(),
            Over::Task(task) => match self.value(*task, -1, excom::RETURN_VALUE)? {
                Json::Array(elements) => elements.into_iter().map(Some).collect(),
                Json::Object(entries) => {
                    entries.into_iter().map(|(name, value)| Some(json!([name, value]))).collect()
                }
                _ => return None,
            },
            Over::Mapped(task) => {
                let indexes = self.states[*task].keys().filter(|map_index| **map_index >= 0);
                indexes
                    .filter_map(|map_index| self.value(*task, *map_index, excom::RETURN_VALUE))
                    .map(Some)
                    .collect()
            }
            Over::Map(of) => {
                self.elements(of)?.iter().map(|element| Some(mapped(element.as_ref()?))).collect()
            }
            Over::Skips(of) => self
                .elements(of)?
                .into_iter()
                .map(|element| element.filter(|element| !skips(element)))
                .collect(),
            Over::Filter(of) => {
                let keeps = |element: &Element| element.as_ref().is_some_and(kept);
                self.elements(of)?.into_iter().filter(keeps).collect()
            }
            Over::Zip(left, right) => {
                let (left, right) = both(left, right)?;
                left.iter().zip(&right).map(|(left, right)| pair(left, right)).collect()
            }
            Over::ZipFill(left, right) => {
                let (left, right) = both(left, right)?;
                let (first, second) = (Some(json!(FILL.0)), Some(json!(FILL.1)));
                (0..left.len().max(right.len()))
                    .map(|i| pair(left.get(i).unwrap_or(&first), right.get(i).unwrap_or(&second)))
                    .collect()
            }
            Over::Concat(left, right) => {
                let (left, right) = both(left, right)?;
                [left, right].concat()
            }
        })
    }

    fn value(&self, task: usize, map_index: i32, key: &str) -> Option<Json> {
        self.xcoms.get(&(task, map_index))?.get(key).cloned()
    }

    fn together(&self, one: usize, other: usize) -> bool {
        let group = self.plan.mapped_group(one);
        group.is_some() && group == self.plan.mapped_group(other)
    }

    /// The states of a task that an instance of another is behind.
    fn states_before(&self, before: usize, task: usize, map_index: i32) -> Vec<State> {
        match self.together(before, task) {
            true => self.states[before].get(&map_index).copied().into_iter().collect(),
            false => self.states[before].values().copied().collect(),
        }
    }

    fn verdict(&self, task: usize, map_index: i32) -> Verdict {
        if self.forced.contains(&(task, None)) || self.forced.contains(&(task, Some(map_index))) {
            return Verdict::Not(State::Skipped);
        }
        let step = &self.plan.tasks[task];
        let is_teardown = matches!(step.part, Part::Teardown(..));
        if step.rule != TriggerRule::Always && !is_teardown {
            let around: Vec<State> = self
                .setups_around(task)
                .into_iter()
                .flat_map(|setup| self.states_before(setup, task, map_index))
                .collect();
            if around.iter().any(|state| state.is_failure()) {
                return Verdict::Not(State::UpstreamFailed);
            }
            if around.contains(&State::Skipped) {
                return Verdict::Not(State::Skipped);
            }
        }
        let before: Vec<State> =
            self.upstream[task].iter().flat_map(|up| self.states_before(*up, task, map_index)).collect();
        let setups: Vec<State> = self.upstream[task]
            .iter()
            .filter(|up| self.plan.tasks[**up].part == Part::Setup)
            .flat_map(|up| self.states_before(*up, task, map_index))
            .collect();
        if before.is_empty() { Verdict::Run } else { rule(step.rule, &before, &setups) }
    }

    /// The setups that must have succeeded for a task, those directly before it aside.
    fn setups_around(&self, task: usize) -> Vec<usize> {
        let behind_task = Plan::behind(&[task], self.upstream);
        let is_around = |setup: &usize| {
            let teardowns: Vec<usize> = self.downstream[*setup]
                .iter()
                .copied()
                .filter(|next| matches!(self.plan.tasks[*next].part, Part::Teardown(..)))
                .collect();
            self.plan.tasks[*setup].part == Part::Setup
                && *setup != task
                && !self.upstream[task].contains(setup)
                && Plan::behind(&[*setup], self.upstream).contains(&task)
                && (teardowns.is_empty() || teardowns.iter().any(|teardown| behind_task.contains(teardown)))
        };
        (0..self.plan.tasks.len()).filter(is_around).collect()
    }

    /// What a task instance takes, in order; the elements of its expansion last.
    fn taken(
        &self,
        task: usize,
        map_index: i32,
        element: Option<&Element>,
        row: &[Element],
    ) -> Result<Vec<Json>, Unready> {
        let step = &self.plan.tasks[task];
        let mut taken = Vec::new();
        let mut missing = false;
        for takes in &step.takes {
            taken.push(match takes {
                Takes::Literal(value) => value.clone(),
                Takes::Template => json!(FLOOR.to_string()),
                Takes::One(from) | Takes::Output(from, _) => {
                    let index = if self.together(*from, task) { map_index } else { -1 };
                    let key = match takes {
                        Takes::Output(_, key) => key,
                        _ => excom::RETURN_VALUE,
                    };
                    let value = self.value(*from, index, key);
                    // What other sequences say is heard of first.
                    missing |= value.is_none();
                    value.unwrap_or_default()
                }
                Takes::Many(from) => self.states[*from]
                    .keys()
                    .filter(|map_index| **map_index >= 0)
                    .map(|map_index| self.value(*from, *map_index, excom::RETURN_VALUE).unwrap_or_default())
                    .collect(),
                Takes::All(over) => {
                    let elements = self.elements(over).ok_or(Unready::Fail)?;
                    elements.into_iter().collect::<Option<Vec<Json>>>().ok_or(Unready::Skip)?.into()
                }
                Takes::Element => match element {
                    Some(element) => element.clone().ok_or(Unready::Skip)?,
                    None => Json::Null,
                },
            });
        }
        for element in row {
            taken.push(element.clone().ok_or(Unready::Skip)?);
        }
        if missing { Err(Unready::Fail) } else { Ok(taken) }
    }

    fn run(&mut self, task: usize, map_index: i32, element: Option<&Element>, row: &[Element]) -> State {
        let step = &self.plan.tasks[task];
        let taken = match self.taken(task, map_index, element, row) {
            Ok(taken) => taken,
            Err(Unready::Skip) => return State::Skipped,
            Err(Unready::Fail) => return State::Failed,
        };
        let tries = step.retries + 1;
        let mut fails = step.fails >= tries;
        let mut last = if fails { tries } else { step.fails + 1 };
        let value = returned(step, map_index, &taken);
        let skips = step.end == End::Skip || (step.end == End::SkipOdd && map_index % 2 == 1);
        let value = (step.push && !value.is_null()).then_some(value);
        let is_sequence = matches!(value, Some(Json::Array(_) | Json::Object(_)));
        if !fails && !skips && self.lengths.contains(&task) && !is_sequence {
            (fails, last) = (true, tries);
        }
        let mut pushed = BTreeMap::new();
        if step.notes {
            pushed.insert("note".to_owned(), json!(last));
        }
        if step.pokes > 0 {
            pushed.insert("pokes".to_owned(), json!(step.pokes));
        }
        let state = match (fails, skips) {
            (true, _) => State::Failed,
            (_, true) => State::Skipped,
            _ => {
                self.succeed(task, map_index, step, value, &mut pushed);
                State::Success
            }
        };
        self.xcoms.insert((task, map_index), pushed);
        state
    }

    fn succeed(
        &mut self,
        task: usize,
        map_index: i32,
        step: &Step,
        value: Option<Json>,
        pushed: &mut BTreeMap<String, Json>,
    ) {
        let chosen = self.choice(task);
        let ids = |tasks: &BTreeSet<usize>| tasks.iter().map(|task| self.plan.id(*task)).collect::<Vec<_>>();
        if let Some(chosen) = &chosen {
            if matches!(step.end, End::Branch(_)) && !self.downstream[task].is_empty() {
                let followed = self.downstream[task].difference(chosen).copied().collect();
                pushed.insert("skipmixin_key".to_owned(), json!({"followed": ids(&followed)}));
            } else if !chosen.is_empty() {
                pushed.insert("skipmixin_key".to_owned(), json!({"skipped": ids(chosen)}));
            }
        }
        let chosen = chosen.unwrap_or_default();
        if chosen.is_empty() || map_index >= 0 {
            if let (true, Some(Json::Object(entries))) = (step.multiple, &value) {
                pushed.extend(entries.clone());
            }
            pushed.extend(value.map(|value| (excom::RETURN_VALUE.to_owned(), value)));
        }
        for skipped in chosen {
            if self.together(task, skipped) {
                self.forced.insert((skipped, Some(map_index)));
            } else if !self.plan.is_mapped(task) {
                self.forced.insert((skipped, None));
            }
        }
    }

    /// The tasks that a task's choice skips, if it makes one.
    fn choice(&self, task: usize) -> Option<BTreeSet<usize>> {
        let direct = &self.downstream[task];
        let is_teardown = |task: &usize| matches!(self.plan.tasks[*task].part, Part::Teardown(..));
        let working = |tasks: &BTreeSet<usize>| tasks.iter().copied().filter(|t| !is_teardown(t)).collect();
        match &self.plan.tasks[task].end {
            End::SkipDirect => Some(working(direct)),
            End::SkipAll => {
                let from: Vec<usize> = direct.iter().copied().collect();
                Some(working(&Plan::behind(&from, self.upstream)))
            }
            End::Branch(followed) => {
                let mut kept = Vec::new();
                for id in followed {
                    match (0..self.plan.tasks.len()).find(|task| self.plan.id(*task) == *id) {
                        Some(task) => kept.push(task),
                        None => {
                            let group = self.plan.groups.iter().position(|group| group.id == *id);
                            kept.extend(
                                group.iter().flat_map(|group| self.plan.first(*group, self.upstream)),
                            );
                        }
                    }
                }
                Some(direct.difference(&Plan::behind(&kept, self.upstream)).copied().collect())
            }
            _ => None,
        }
    }

    /// Whether the run failed, by its last tasks.
    fn failed(&self) -> bool {
        (0..self.plan.tasks.len()).any(|task| {
            let is_last = self.downstream[task]
                .iter()
                .all(|next| matches!(self.plan.tasks[*next].part, Part::Teardown(..)));
            let counts = !matches!(self.plan.tasks[task].part, Part::Teardown(_, false));
            counts && is_last && self.states[task].values().any(|state| state.is_failure())
        })
    }

    fn outcome(&self) -> Outcome {
        let mut outcome = Outcome {
            state: if self.failed() { "failed" } else { "success" }.to_owned(),
            ..Outcome::default()
        };
        for (task, states) in self.states.iter().enumerate() {
            for (map_index, state) in states {
                outcome.states.insert((self.plan.id(task), *map_index), state.name().to_owned());
            }
        }
        for ((task, map_index), pushed) in &self.xcoms {
            for (key, value) in pushed {
                outcome.xcoms.insert((self.plan.id(*task), *map_index, key.clone()), value.to_string());
            }
        }
        outcome
    }
}

/// Airflow's trigger rules, for tasks that have some before them, all of which are done.
fn rule(rule: TriggerRule, before: &[State], setups: &[State]) -> Verdict {
    use State::{Failed, Skipped, Success, UpstreamFailed};
    let any = |state: State| before.contains(&state);
    let failure = any(Failed) || any(UpstreamFailed);
    let not = |state: State| Verdict::Not(state);
    match rule {
        TriggerRule::AllSuccess if failure => not(UpstreamFailed),
        TriggerRule::AllSuccess if any(Skipped) => not(Skipped),
        TriggerRule::AllFailed if any(Success) || any(Skipped) => not(Skipped),
        TriggerRule::AllDoneMinOneSuccess if any(Skipped) => not(Skipped),
        TriggerRule::AllDoneMinOneSuccess if !any(Success) => not(UpstreamFailed),
        TriggerRule::AllSkipped if any(Success) || failure => not(Skipped),
        TriggerRule::OneFailed if !failure => not(Skipped),
        TriggerRule::OneSuccess if !any(Success) => not(if failure { UpstreamFailed } else { Skipped }),
        TriggerRule::OneDone if !any(Success) && !any(Failed) => not(Skipped),
        TriggerRule::NoneFailed if failure => not(UpstreamFailed),
        TriggerRule::NoneFailedMinOneSuccess if failure => not(UpstreamFailed),
        TriggerRule::NoneFailedMinOneSuccess if !any(Success) => not(Skipped),
        TriggerRule::NoneSkipped if any(Skipped) => not(Skipped),
        TriggerRule::AllDoneSetupSuccess if !setups.is_empty() && !setups.contains(&Success) => {
            let all_skipped = setups.iter().all(|state| *state == Skipped);
            not(if all_skipped { Skipped } else { UpstreamFailed })
        }
        _ => Verdict::Run,
    }
}
