//! Sorting as Python does it: stable, and an error between values that have no order.

use std::cmp::Ordering;

use minijinja::{Error, Value};

use super::operators;

/// `list.sort()`.
pub(super) fn sort(items: &mut [Value], reverse: bool) -> Result<(), Error> {
    sort_by(items, reverse, Clone::clone)
}

/// Sorts by what a function makes of the items.
pub(super) fn sort_by(
    items: &mut [Value],
    reverse: bool,
    key: impl Fn(&Value) -> Value,
) -> Result<(), Error> {
    let mut keyed: Vec<(Value, Value)> = items.iter().map(|item| (key(item), item.clone())).collect();
    let mut problem = None;
    keyed.sort_by(|(a, _), (b, _)| {
        // Once one comparison failed, the result is not used.
        if problem.is_some() {
            return Ordering::Equal;
        }
        match operators::order(a, b, "<") {
            Ok(ordering) => {
                let ordering = ordering.unwrap_or(Ordering::Equal);
                if reverse { ordering.reverse() } else { ordering }
            }
            Err(error) => {
                problem = Some(error);
                Ordering::Equal
            }
        }
    });
    if let Some(problem) = problem {
        return Err(problem);
    }
    for (place, (_, item)) in items.iter_mut().zip(keyed) {
        *place = item;
    }
    Ok(())
}
