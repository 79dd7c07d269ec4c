//! What a file with tasks needs: `use excom::prelude::*;`.

pub use std::path::PathBuf;

pub use excom_macros::{Outputs, dag, task};
// The derive of `JsonSchema` names the crate.
pub use schemars::{self, JsonSchema};
pub use serde::{Deserialize, Serialize};

pub use crate::arg::{Many, XComArg};
pub use crate::dag::{Dag, DagDefinition, TriggerRule};
pub use crate::instance::TaskInstance;
pub use crate::operator::{Field, Fields, Operator};
pub use crate::outcome::{Result, Skip};
pub use crate::params::Param;
pub use crate::secret::Secret;
pub use crate::sequence::{Mapped, XComSequence, expand};
