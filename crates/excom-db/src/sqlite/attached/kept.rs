//! What holds stored bytes, of what Excom wrote: moves to another place.

use excom_core::attempt::Caller;
use excom_core::db::Kept;
use excom_core::entry::Stored;
use jiff::Timestamp;

use super::super::failure::Failure;
use super::super::kept::Moved;
use super::{Writing, row};
use crate::airflow;
use crate::packing::pack;

type Result<T> = std::result::Result<T, Failure>;

impl Writing<'_> {
    pub(super) fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        self.fence(&Caller::System("db"))?;
        let moved = Moved::of(to, found.secret, None);
        if found.past {
            return self.t.move_stored(found, &moved, at);
        }
        let Some(run) = self.run(&found.key.ti)? else { return Ok(false) };
        let Some(of) = self.t.known_xcom(&found.key)? else { return Ok(false) };
        let current = self.row(&found.key, run, Some(of))?.and_then(|current| current.version);
        if current != Some(found.version) || !self.t.move_stored(found, &moved, at)? {
            return Ok(false);
        }
        match to {
            Stored::Inline(value) => {
                self.move_row(run, &found.key, value.as_str())?;
                if row::is_kept(value.bytes()) {
                    self.note_airflows_text(of, &pack(value.bytes(), found.secret, None).head)?;
                }
            }
            Stored::Offloaded(reference) => {
                let value =
                    airflow::in_place(found.version, found.size, found.hash, found.secret, "", reference);
                self.move_row(run, &found.key, &value)?;
            }
        }
        Ok(true)
    }
}
