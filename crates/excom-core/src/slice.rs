//! Python's slices, exactly.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// `start:stop:step` with Python's meaning of negative and absent parts.
///
/// ```
/// use excom_core::Slice;
///
/// let last_two = Slice { start: Some(-2), stop: None, step: None };
/// assert_eq!(last_two.positions(5)?.collect::<Vec<_>>(), [3, 4]);
/// let reversed = Slice { start: None, stop: None, step: Some(-2) };
/// assert_eq!(reversed.positions(5)?.collect::<Vec<_>>(), [4, 2, 0]);
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slice {
    /// The first position; negative counts from the end; absent is the near end.
    pub start: Option<i64>,
    /// The position to stop before; negative counts from the end; absent is the far end.
    pub stop: Option<i64>,
    /// The distance between positions; negative goes backwards; absent is 1.
    pub step: Option<i64>,
}

impl Slice {
    /// The whole sequence.
    pub const ALL: Self = Self { start: None, stop: None, step: None };

    /// One position; negative counts from the end. Nothing when it is out of range.
    pub fn item(position: i64) -> Self {
        let stop = if position == -1 { None } else { position.checked_add(1) };
        Self { start: Some(position), stop, step: None }
    }

    /// The positions that it selects from a sequence of so many elements, in order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the step is zero.
    pub fn positions(self, len: u64) -> Result<impl Iterator<Item = u64>> {
        let len = i128::from(len);
        let step = i128::from(self.step.unwrap_or(1));
        if step == 0 {
            return Err(Error::new(ErrorKind::InvalidRequest, "a slice's step is zero")
                .hint("leave the step out for 1, or give a negative one to go backwards"));
        }
        let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let place = |part: Option<i64>, absent: i128| match part {
            None => absent,
            Some(n) if n < 0 => (i128::from(n) + len).max(low),
            Some(n) => i128::from(n).min(high),
        };
        let (start, stop) = if step > 0 {
            (place(self.start, low), place(self.stop, high))
        } else {
            (place(self.start, high), place(self.stop, low))
        };
        let count =
            if step > 0 { (stop - start + step - 1) / step } else { (start - stop - step - 1) / -step };
        Ok((0..count.max(0)).map(move |i| (start + i * step) as u64))
    }

    /// The map indexes that it selects from those that there are, in order.
    ///
    /// # Errors
    /// As [`Slice::positions`].
    pub fn of_indexes(self, indexes: &[i32]) -> Result<Vec<i32>> {
        let positions = self.positions(indexes.len() as u64)?;
        Ok(positions.map(|position| indexes[position as usize]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPython's rules written out by hand, independently of the formulas above.
    fn model(len: i64, slice: Slice) -> Vec<u64> {
        let step = slice.step.unwrap_or(1);
        let norm = |v: i64| if v < 0 { v + len } else { v };
        let mut picked = Vec::new();
        let start = slice.start.map_or(if step > 0 { 0 } else { len - 1 }, |s| {
            let s = norm(s);
            if step > 0 { s.max(0) } else { s.min(len - 1) }
        });
        let stop = slice.stop.map(norm);
        let mut i = start;
        while i >= 0 && i < len {
            let reached = match stop {
                Some(stop) if step > 0 => i >= stop,
                Some(stop) => i <= stop,
                None => false,
            };
            if reached {
                break;
            }
            picked.push(i as u64);
            i += step;
        }
        picked
    }

    #[test]
    fn agrees_with_python_everywhere() {
        let ends: Vec<Option<i64>> = std::iter::once(None).chain((-8..=8).map(Some)).collect();
        for len in 0..6 {
            for &start in &ends {
                for &stop in &ends {
                    for step in [None, Some(1), Some(2), Some(3), Some(7), Some(-1), Some(-2), Some(-7)] {
                        let slice = Slice { start, stop, step };
                        let ours: Vec<u64> = slice.positions(len as u64).unwrap().collect();
                        assert_eq!(ours, model(len, slice), "{len} {slice:?}");
                    }
                }
            }
        }
        assert!(Slice { step: Some(0), ..Slice::ALL }.positions(3).is_err());
        let extreme = Slice { start: Some(i64::MIN), stop: Some(i64::MAX), step: Some(i64::MAX) };
        assert_eq!(extreme.positions(3).unwrap().collect::<Vec<_>>(), [0]);
        assert_eq!(Slice::item(-1).positions(3).unwrap().collect::<Vec<_>>(), [2]);
        assert_eq!(Slice::item(3).positions(3).unwrap().count(), 0);
        assert_eq!(Slice::item(-4).positions(3).unwrap().count(), 0);
    }
}
