//! What Airflow has to have before a scenario pushes.

use excom_core::{Clock as _, XComKey, memory};

use super::Alone;
use crate::airflow::Airflow;

impl Alone {
    /// Makes the task instances of what is pushed.
    pub(crate) fn expects(&self, keys: &[XComKey]) {
        let (airflow, now) = (Airflow::connect(&self.server.url(&self.database)), memory::Clock::new().now());
        keys.iter().for_each(|key| airflow.task_instance(&key.ti, now).unwrap());
    }
}
