//! Every server passes the suite that every metadata database passes.

use crate::support::empty;

excom_core::metadata_db_conformance!(empty);
