//! What tasks wait for around setups and teardowns.

use super::Task;
use crate::dag::{Role, TriggerRule};

/// Finds what tasks wait for beside those directly before them, as in Airflow: what lies between a setup and its
/// teardown, or behind a setup without one, needs that setup; and a teardown waits for all that lies between.
pub(super) fn enclose(tasks: &mut [Task]) {
    let setups: Vec<u32> =
        (0..).zip(&*tasks).filter(|(_, task)| task.settings.role == Role::Setup).map(|(i, _)| i).collect();
    for setup in setups {
        let behind = reach(tasks, &[setup], |task| &task.downstream);
        let teardowns: Vec<u32> = tasks[setup as usize]
            .downstream
            .iter()
            .copied()
            .filter(|task| tasks[*task as usize].settings.role.is_teardown())
            .collect();
        let before = reach(tasks, &teardowns, |task| &task.upstream);
        let is_inside = |task: &u32| {
            behind[*task as usize]
                && (teardowns.is_empty() || before[*task as usize])
                && *task != setup
                && !tasks[*task as usize].settings.role.is_teardown()
        };
        let inside: Vec<u32> = (0..).take(tasks.len()).filter(is_inside).collect();
        // All rules but these wait for everything directly before a task, and so for all that is further up.
        let hurries = inside.iter().any(|task| tasks[*task as usize].settings.trigger_rule.is_early());
        for task in &inside {
            let rule = tasks[*task as usize].settings.trigger_rule;
            if rule != TriggerRule::Always && !tasks[*task as usize].upstream.contains(&setup) {
                tasks[*task as usize].enclosing.push(setup);
                tasks[setup as usize].encloses.push(*task);
            }
        }
        for teardown in teardowns.iter().filter(|_| hurries) {
            let before = reach(tasks, &[*teardown], |task| &task.upstream);
            for task in inside.iter().filter(|task| before[**task as usize]) {
                tasks[*teardown as usize].enclosing.push(*task);
                tasks[*task as usize].encloses.push(*teardown);
            }
        }
    }
}

/// Which tasks can be reached from some, themselves included.
fn reach(tasks: &[Task], from: &[u32], next: impl Fn(&Task) -> &Vec<u32>) -> Vec<bool> {
    let mut reached = vec![false; tasks.len()];
    let mut open = from.to_vec();
    while let Some(task) = open.pop() {
        if !std::mem::replace(&mut reached[task as usize], true) {
            open.extend(next(&tasks[task as usize]));
        }
    }
    reached
}
