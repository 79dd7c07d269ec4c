//! A look through all versions whose bytes are kept, page by page: first the entries, then the history.

use std::slice::Iter;

use excom_core::db::{Kept, Place, Scan};

/// A page of versions, which may be of two tables.
pub(crate) struct Look {
    after: Place,
    limit: u32,
    tables: Iter<'static, bool>,
    found: Vec<(Place, Kept)>,
}

/// What is asked of one table: the rows behind one, in order, as many as are wanted.
pub(crate) struct Part {
    /// Whether it is the history.
    pub(crate) past: bool,
    pub(crate) behind: i64,
    pub(crate) wanted: i64,
}

impl Look {
    pub(crate) fn new(after: Option<Place>, limit: u32) -> Self {
        let after = after.unwrap_or(Place { past: false, row: 0 });
        let tables: &[bool] = if after.past { &[true] } else { &[false, true] };
        Self { after, limit, tables: tables.iter(), found: Vec::new() }
    }

    /// What is to be asked next; none when the page is full. One more than fits is wanted, which tells whether there are
    /// more.
    pub(crate) fn next(&mut self) -> Option<Part> {
        let wanted = i64::from(self.limit) + 1 - self.found.len() as i64;
        let past = *self.tables.next().filter(|_| wanted > 0)?;
        Some(Part { past, behind: if past == self.after.past { self.after.row } else { 0 }, wanted })
    }

    /// What was found by the last question.
    pub(crate) fn add(&mut self, found: Vec<(Place, Kept)>) {
        self.found.extend(found);
    }

    /// The page.
    pub(crate) fn scan(mut self) -> Scan<Kept> {
        let limit = self.limit as usize;
        let more = self.found.len() > limit;
        self.found.truncate(limit);
        let next = self.found.last().filter(|_| more).map(|(place, _)| *place);
        Scan { items: self.found.into_iter().map(|(_, kept)| kept).collect(), next }
    }
}
