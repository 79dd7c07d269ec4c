//! What a task is told at its start.

use std::sync::Arc;

use excom_flow::runner::isolation::TaskOrder;

use super::super::extension::{Announcement, RunOnWire, VERSION};
use super::super::message::{BundleInfo, Context, DagRun, StartupDetails, TaskInstance};

/// What a task is told: all that Airflow's supervisor says, as far as there is such a thing here, and what
/// only ours does.
pub(super) fn details(order: &TaskOrder) -> StartupDetails {
    let (key, run) = (&order.key, &order.run);
    let text = |text: &str| text.to_owned();
    let interval = run.data_interval.or(run.logical_date.map(|date| (date, date))).unzip();
    StartupDetails {
        ti: TaskInstance {
            id: order.attempt.to_string(),
            dag_id: text(&key.dag_id),
            run_id: text(&key.run_id),
            task_id: text(&key.task_id),
            try_number: order.try_number,
            map_index: Some(key.map_index),
            dag_version_id: String::new(),
            hostname: None,
            queue: None,
            context_carrier: None,
        },
        dag_rel_path: String::new(),
        bundle_info: BundleInfo::default(),
        start_date: order.started_at,
        ti_context: Context {
            dag_run: DagRun {
                dag_id: text(&key.dag_id),
                run_id: text(&key.run_id),
                logical_date: run.logical_date,
                data_interval_start: interval.0,
                data_interval_end: interval.1,
                run_after: run.run_after.or(run.logical_date).unwrap_or(order.started_at),
                start_date: run.start_date,
                end_date: None,
                clear_number: 0,
                run_type: text(run.run_type.as_deref().unwrap_or("manual")),
                state: text("running"),
                // Parameters may hold integers that only our own words can say.
                conf: None,
                triggering_user_name: None,
                consumed_asset_events: Vec::new(),
                partition_key: None,
                partition_date: None,
                note: None,
                team_name: None,
            },
            task_reschedule_count: order.resumed.times,
            max_tries: order.retries,
            should_retry: order.should_retry(),
            variables: Vec::new(),
            connections: Vec::new(),
            // The engine clears what an earlier try pushed when it starts the new one.
            xcom_keys_to_clear: Vec::new(),
            next_method: None,
            next_kwargs: None,
            start_date: None,
        },
        sentry_integration: String::new(),
        excom: Some(Announcement {
            version: VERSION,
            run: RunOnWire::of(run),
            resumed: order.resumed.into(),
            max_map_length: order.max_map_length,
            secret_keys: secret_keys(order),
        }),
    }
}

/// The keys of which a task may not tell a value, should it not be of the type that the DAG declares.
fn secret_keys(order: &TaskOrder) -> Vec<Arc<str>> {
    let task = order.run.contract.as_ref().and_then(|contract| contract.tasks.get(&*order.key.task_id));
    let keys = task.into_iter().flat_map(|task| task.outputs.keys());
    keys.filter(|key| order.channel.is_secret(key)).map(|key| key.as_str().into()).collect()
}
