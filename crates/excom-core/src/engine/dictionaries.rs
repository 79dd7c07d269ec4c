//! Dictionaries by themselves: which DAGs get one, and when that is tried.

use std::time::Duration;

use super::Engine;
use crate::Result;
use crate::dictionary::Training;

/// How often upkeep looks for DAGs that could use a dictionary.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// The name of the turns to look.
const LOOKED: &str = "dictionaries_looked";

/// How often it is tried for one DAG: values that have nothing in common are not trained on every hour.
const TRY_EVERY: Duration = Duration::from_secs(24 * 3600);

impl Engine {
    /// Trains a dictionary on the newest small values of a DAG, as of now.
    ///
    /// # Errors
    /// When the database has no dictionaries, or cannot be read or written.
    pub async fn train_dictionary(&self, dag_id: &str) -> Result<Training> {
        self.0.db.train_dictionary(dag_id, self.0.clock.now()).await
    }

    /// The first dictionary of each DAG that has many small values, as far as the settings want it. Later ones are
    /// trained by hand.
    pub(super) async fn train_dictionaries(&self) -> Result<()> {
        let db = &self.0.db;
        if !self.0.settings.dictionaries || !db.take_turn(LOOKED, self.0.clock.now(), LOOK_EVERY).await? {
            return Ok(());
        }
        for dag_id in db.without_dictionary().await? {
            if db.take_turn(&format!("dictionary_tried/{dag_id}"), self.0.clock.now(), TRY_EVERY).await? {
                self.train_dictionary(&dag_id).await?;
            }
        }
        Ok(())
    }
}
