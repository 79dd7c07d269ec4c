//! How a task is run: its trigger rule, retries, limits, and what part it plays.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a task is run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Settings {
    /// How many times it is tried again after it failed.
    pub retries: u32,
    /// How long to wait before it is tried again; five minutes unless told, as in Airflow.
    pub retry_delay: Duration,
    /// What the delay is multiplied with for each further try, with a jitter of up to half of it; 0 leaves the
    /// delay as it is.
    pub retry_exponential_backoff: f64,
    /// The longest delay between tries.
    pub max_retry_delay: Duration,
    /// How long one try may take.
    pub execution_timeout: Option<Duration>,
    /// How many of its instances run at the same time in a run; all unless told.
    pub max_active_tis_per_dagrun: Option<u32>,
    /// When it may run, by the states of the tasks before it.
    pub trigger_rule: TriggerRule,
    /// What part it plays.
    pub role: Role,
    /// Whether what it returns is pushed.
    pub do_xcom_push: bool,
    /// Whether each entry of the dict that it returns is pushed under its own key too.
    pub multiple_outputs: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retries: 0,
            retry_delay: Duration::from_secs(300),
            retry_exponential_backoff: 0.0,
            max_retry_delay: Duration::from_secs(24 * 3600),
            execution_timeout: None,
            max_active_tis_per_dagrun: None,
            trigger_rule: TriggerRule::default(),
            role: Role::default(),
            do_xcom_push: true,
            multiple_outputs: false,
        }
    }
}

impl Settings {
    /// How long to wait behind a try that failed, counted from 1. `random` is anything.
    pub(crate) fn delay_after(&self, try_number: u32, random: u64) -> Duration {
        if self.retry_exponential_backoff <= 0.0 {
            return self.retry_delay.min(self.max_retry_delay);
        }
        let exponent = i32::try_from(try_number.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.retry_delay.as_secs_f64() * self.retry_exponential_backoff.powi(exponent);
        let most = self.max_retry_delay.as_secs_f64();
        let bounded = if seconds.is_finite() { seconds.min(most) } else { most };
        // Half of the delay is fixed and half is random, so that many that failed together spread.
        let jitter = (random >> 11) as f64 / (1u64 << 53) as f64;
        Duration::from_secs_f64(bounded * (0.5 + 0.5 * jitter))
    }
}

/// What part a task plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It does the DAG's work.
    #[default]
    Work,
    /// It prepares something that a teardown takes away.
    Setup,
    /// It takes away what its setups prepared, whatever became of the work. Its failure does not fail the run.
    Teardown,
    /// A teardown whose failure fails the run.
    TeardownThatCounts,
}

impl Role {
    /// Whether it is a teardown.
    pub fn is_teardown(self) -> bool {
        matches!(self, Self::Teardown | Self::TeardownThatCounts)
    }
}

/// When a task may run, by the states of the tasks directly before it, in Airflow's words.
///
/// All rules but the `One…` and `Always` wait until every task before it is done, so that what becomes of a
/// task does not depend on the order in which the others end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerRule {
    /// All succeeded. It is skipped when one was skipped, and fails unrun when one failed.
    #[default]
    AllSuccess,
    /// All failed, or failed unrun; else it is skipped.
    AllFailed,
    /// All are done.
    AllDone,
    /// All are done, none was skipped, and one succeeded. It is skipped when one was skipped.
    AllDoneMinOneSuccess,
    /// All were skipped; else it is skipped.
    AllSkipped,
    /// One failed, or failed unrun. It does not wait for the others.
    OneFailed,
    /// One succeeded. It does not wait for the others.
    OneSuccess,
    /// One succeeded or failed. It does not wait for the others.
    OneDone,
    /// None failed; skipped ones do not matter.
    NoneFailed,
    /// None failed, and one succeeded.
    NoneFailedMinOneSuccess,
    /// None was skipped; else it is skipped.
    NoneSkipped,
    /// At once, whatever the others do.
    Always,
    /// All are done, and a setup of it succeeded: the rule of teardowns.
    AllDoneSetupSuccess,
}

impl TriggerRule {
    /// All rules.
    pub const ALL: [Self; 13] = [
        Self::AllSuccess,
        Self::AllFailed,
        Self::AllDone,
        Self::AllDoneMinOneSuccess,
        Self::AllSkipped,
        Self::OneFailed,
        Self::OneSuccess,
        Self::OneDone,
        Self::NoneFailed,
        Self::NoneFailedMinOneSuccess,
        Self::NoneSkipped,
        Self::Always,
        Self::AllDoneSetupSuccess,
    ];

    /// Whether it can let a task start before all tasks before it are done.
    pub(crate) fn is_early(self) -> bool {
        matches!(self, Self::OneSuccess | Self::OneFailed | Self::OneDone | Self::Always)
    }

    /// Airflow's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllSuccess => "all_success",
            Self::AllFailed => "all_failed",
            Self::AllDone => "all_done",
            Self::AllDoneMinOneSuccess => "all_done_min_one_success",
            Self::AllSkipped => "all_skipped",
            Self::OneFailed => "one_failed",
            Self::OneSuccess => "one_success",
            Self::OneDone => "one_done",
            Self::NoneFailed => "none_failed",
            Self::NoneFailedMinOneSuccess => "none_failed_min_one_success",
            Self::NoneSkipped => "none_skipped",
            Self::Always => "always",
            Self::AllDoneSetupSuccess => "all_done_setup_success",
        }
    }
}

impl fmt::Display for TriggerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_a_bound() {
        let settings = Settings {
            retry_delay: Duration::from_secs(10),
            retry_exponential_backoff: 2.0,
            max_retry_delay: Duration::from_secs(60),
            ..Settings::default()
        };
        let most: Vec<u64> =
            (1..6).map(|n| settings.delay_after(n, u64::MAX).as_secs_f64().round() as u64).collect();
        assert_eq!(most, [10, 20, 40, 60, 60]);
        assert_eq!(settings.delay_after(3, 0), Duration::from_secs(20));
        assert_eq!(settings.delay_after(u32::MAX, 0), Duration::from_secs(30));
        let plain = Settings { retry_delay: Duration::from_secs(7), ..Settings::default() };
        assert_eq!(plain.delay_after(9, u64::MAX), Duration::from_secs(7));
    }
}
