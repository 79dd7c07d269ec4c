//! What a scenario needs around its pushes where the database is Excom's own: nothing.

use excom_core::XComKey;

use super::Alone;

impl Alone {
    /// What has to be there before these are pushed.
    pub(crate) fn expects(&self, _keys: &[XComKey]) {}

    /// Ends before its file system does.
    pub(crate) fn end(self) {}
}
