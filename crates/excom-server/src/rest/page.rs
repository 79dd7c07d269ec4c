//! Lists as Airflow tells them: all that fits is read in steps, put in order, and cut to a page.

use std::cmp::Ordering;
use std::future::Future;

use axum::http::StatusCode;

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

/// How two entries are compared.
pub(super) type Compare<E> = fn(&E, &E) -> Ordering;

/// By what entries are put in order, each backwards or not; what comes first decides first.
pub(super) struct Orders<E>(Vec<(Compare<E>, bool)>);

impl<E> Orders<E> {
    /// Those with names as `order_by` has them. `known` tells how entries are compared by a name.
    ///
    /// # Errors
    /// 400 for a name that is not known.
    pub(super) fn of<'a>(
        names: impl Iterator<Item = &'a str>,
        known: impl Fn(&str) -> Option<Compare<E>>,
    ) -> Result<Self, Refusal> {
        let order = |named: &str| {
            let (name, backwards) = named.strip_prefix('-').map_or((named, false), |name| (name, true));
            let compare = known(name).ok_or_else(|| {
                let message = format!(
                    "Ordering with '{name}' is disallowed or the attribute does not exist on the model"
                );
                Refusal::plain(StatusCode::BAD_REQUEST, message)
            })?;
            Ok((compare, backwards))
        };
        names.map(order).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn sort(&self, entries: &mut [E]) {
        let by = |(compare, backwards): &(Compare<E>, bool), a: &E, b: &E| {
            if *backwards { compare(b, a) } else { compare(a, b) }
        };
        entries.sort_by(|a, b| {
            self.0.iter().map(|order| by(order, a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        });
    }
}

/// What a list is made of, read in steps.
pub(super) trait Steps {
    /// What is put in order.
    type Entry;
    /// Behind which a step begins.
    type Place: Send;

    /// The most entries that are looked at, since those that fit are put in order in memory.
    const MOST: usize;
    /// What there are too many of, and what to do.
    const TOO_MANY: &'static str;

    /// The next ones.
    fn step(
        &mut self,
        after: Option<Self::Place>,
    ) -> impl Future<Output = Result<Step<Self::Entry, Self::Place>, Refusal>> + Send;
}

/// What was read in one step.
pub(super) struct Step<E, P> {
    /// How many entries were looked at.
    pub(super) looked: usize,
    /// Those of them that fit.
    pub(super) fitting: Vec<E>,
    /// Behind which the next step begins; none after the last.
    pub(super) next: Option<P>,
}

/// All entries that fit.
///
/// # Errors
/// 400 when there are too many to look at; what a step is refused for.
pub(super) async fn gathered<S: Steps>(mut steps: S) -> Result<Vec<S::Entry>, Refusal> {
    let (mut found, mut looked, mut after) = (Vec::new(), 0, None);
    loop {
        let read = steps.step(after).await?;
        looked += read.looked;
        if looked > S::MOST {
            let message = format!("over {} {}", S::MOST, S::TOO_MANY);
            return Err(Refusal::plain(StatusCode::BAD_REQUEST, message));
        }
        found.extend(read.fitting);
        after = read.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}
