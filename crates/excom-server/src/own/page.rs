//! How much goes into a page.

use excom_core::Result;

/// How many are taken from the database at a time: each may have megabytes, and a page that is full needs no more of them.
const STEP: usize = 24;

/// A page of no more than were asked for and than have so many bytes together, but for the first, which always goes; and
/// whether there are more. Asked is for the next so many behind one.
pub(super) async fn gathered<T>(
    limit: u32,
    most: u64,
    size: impl Fn(&T) -> usize,
    next: impl AsyncFn(Option<&T>, u32) -> Result<Vec<T>>,
) -> Result<(Vec<T>, bool)> {
    let (limit, mut found, mut bytes) = (limit as usize, Vec::new(), 0);
    loop {
        // One more, to know whether there are more.
        let asked = (limit + 1 - found.len()).min(STEP);
        let page = next(found.last(), asked as u32).await?;
        let is_last = page.len() < asked;
        bytes += page.iter().map(|one| size(one) as u64).sum::<u64>();
        found.extend(page);
        if is_last || bytes > most || found.len() > limit {
            let more = cut(&mut found, limit, most, size);
            return Ok((found, more));
        }
    }
}

/// Cuts what was found to a page; tells whether there was more.
fn cut<T>(found: &mut Vec<T>, limit: usize, most: u64, size: impl Fn(&T) -> usize) -> bool {
    let mut bytes = 0_u64;
    let fits = |one: &&T| {
        bytes += size(one) as u64;
        bytes <= most
    };
    let told = found.iter().take(limit).take_while(fits).count().max(1);
    let more = found.len() > told;
    found.truncate(told);
    more
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A page of numbers from 0 to 99, each of 10 bytes: how many, whether there are more, and how many were taken for it.
    async fn page(limit: u32, most: u64) -> (usize, bool, u32) {
        let taken = Cell::new(0);
        let next = async |last: Option<&u32>, asked: u32| {
            let from = last.map_or(0, |last| last + 1);
            let found: Vec<u32> = (from..100.min(from + asked)).collect();
            taken.set(taken.get() + found.len() as u32);
            Ok(found)
        };
        let (found, more) = gathered(limit, most, |_| 10, next).await.unwrap();
        assert_eq!(found, (0..found.len() as u32).collect::<Vec<_>>());
        (found.len(), more, taken.get())
    }

    #[tokio::test]
    async fn no_more_is_taken_than_a_page_needs() {
        assert_eq!(page(20, 1000).await, (20, true, 21));
        assert_eq!(page(60, 1000).await, (60, true, 61));
        assert_eq!(page(99, 2000).await, (99, true, 100));
        assert_eq!(page(100, 2000).await, (100, false, 100));
        assert_eq!(page(200, 2000).await, (100, false, 100));
        assert_eq!(page(100, 300).await, (30, true, 48), "bytes end it");
        assert_eq!(page(100, 240).await, (24, true, 48), "what fits just so may be all there is");
        assert_eq!(page(100, 5).await, (1, true, 24), "the first goes whatever it has");
    }
}
