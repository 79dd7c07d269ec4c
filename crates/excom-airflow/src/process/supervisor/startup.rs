//! What a task is told at its start.

use std::os::unix::ffi::OsStrExt as _;

use excom_core::Value;
use excom_flow::runner::isolation::TaskOrder;

use super::super::extension::{Announcement, Text, VERSION};
use super::super::message::{BundleInfo, Context, DagRun, StartupDetails, TaskInstance};

/// What a task is told: all that Airflow's supervisor says, as far as there is such a thing here, and what
/// only ours does.
pub(super) fn details(order: &TaskOrder) -> StartupDetails {
    let (key, run) = (&order.key, &order.run);
    let text = |text: &str| text.to_owned();
    let params: Vec<(String, Text)> =
        run.params.iter().map(|(name, value)| (text(name), Text(Value::clone(value)))).collect();
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
                data_interval_start: run.logical_date,
                data_interval_end: run.logical_date,
                run_after: order.run_after,
                start_date: Some(order.run_after),
                end_date: None,
                clear_number: 0,
                run_type: text("manual"),
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
            task_reschedule_count: 0,
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
            params,
            home: run.home.as_ref().map(|home| home.as_os_str().as_bytes().to_vec()),
            max_map_length: order.max_map_length,
        }),
    }
}
