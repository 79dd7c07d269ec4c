//! How much goes into a page.

/// How many are taken from the database first, and then as many as there are: each may have megabytes, and a page that is full
/// needs no more of them.
const FIRST: usize = 4;

/// A page that is being filled, of no more than were asked for and than have so many bytes together, but for the first, which
/// always goes.
pub(super) struct Filling<T, S> {
    limit: usize,
    most: u64,
    size: S,
    found: Vec<T>,
    bytes: u64,
    is_last: bool,
}

impl<T, S: Fn(&T) -> usize> Filling<T, S> {
    pub(super) fn new(limit: u32, most: u64, size: S) -> Self {
        Self { limit: limit as usize, most, size, found: Vec::new(), bytes: 0, is_last: false }
    }

    /// How many are to be taken next, behind the last one; none when there is enough: one more than asked for, or than fit.
    pub(super) fn wanted(&self) -> Option<u32> {
        let left = (self.limit + 1).saturating_sub(self.found.len()).min(self.found.len().max(FIRST));
        (left > 0 && !self.is_last && self.bytes <= self.most).then_some(left as u32)
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.found.last()
    }

    /// Adds what there is of those that were wanted.
    pub(super) fn add(&mut self, found: Vec<T>, wanted: u32) {
        self.is_last = found.len() < wanted as usize;
        self.bytes += found.iter().map(|one| (self.size)(one) as u64).sum::<u64>();
        self.found.extend(found);
    }

    /// The page, and whether there are more.
    pub(super) fn page(self) -> (Vec<T>, bool) {
        let Self { limit, most, size, mut found, .. } = self;
        let mut bytes = 0_u64;
        let fits = |one: &&T| {
            bytes += size(one) as u64;
            bytes <= most
        };
        let told = found.iter().take(limit).take_while(fits).count().max(1);
        let more = found.len() > told;
        found.truncate(told);
        (found, more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of numbers from 0 to 99, each of 10 bytes: how many, whether there are more, and how many were taken for it.
    fn page(limit: u32, most: u64) -> (usize, bool, usize) {
        let (mut filling, mut taken) = (Filling::new(limit, most, |_: &u32| 10), 0);
        while let Some(wanted) = filling.wanted() {
            let from = filling.last().map_or(0, |last| last + 1);
            let found: Vec<u32> = (from..100.min(from + wanted)).collect();
            taken += found.len();
            filling.add(found, wanted);
        }
        let (found, more) = filling.page();
        assert_eq!(found, (0..found.len() as u32).collect::<Vec<_>>());
        (found.len(), more, taken)
    }

    #[test]
    fn no_more_is_taken_than_a_page_needs() {
        assert_eq!(page(20, 1000), (20, true, 21));
        assert_eq!(page(60, 1000), (60, true, 61));
        assert_eq!(page(99, 2000), (99, true, 100));
        assert_eq!(page(100, 2000), (100, false, 100));
        assert_eq!(page(200, 2000), (100, false, 100));
        assert_eq!(page(100, 300), (30, true, 32), "bytes end it");
        assert_eq!(page(100, 160), (16, true, 32), "what fits just so may be all there is");
        assert_eq!(page(100, 5), (1, true, 4), "the first goes whatever it has");
    }
}
