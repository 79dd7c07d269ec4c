//! Pages of lists as Airflow cuts them.

use crate::refusal::Refusal;
use crate::request::Params;

/// The most entries of a page.
const LARGEST: usize = 100;

/// A part of a list.
pub(super) struct Page {
    limit: usize,
    offset: usize,
}

impl Page {
    /// The one that `limit` and `offset` ask for.
    pub(super) fn of(params: &Params) -> Result<Self, Refusal> {
        let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let limit = params.count("limit")?.map_or(50, size).min(LARGEST);
        Ok(Self { limit, offset: params.count("offset")?.map_or(0, size) })
    }

    pub(super) fn cut<E>(self, entries: Vec<E>) -> impl Iterator<Item = E> {
        entries.into_iter().skip(self.offset).take(self.limit)
    }
}
