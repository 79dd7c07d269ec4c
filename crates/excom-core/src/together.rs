//! Several futures at the same time, without a runtime.

use std::future::Future;

use futures_util::stream::{self, StreamExt as _};

/// The outcomes of all futures, in their order, at most so many of them under way at a time.
pub(crate) async fn at_once<F: Future>(futures: Vec<F>, most: usize) -> Vec<F::Output> {
    stream::iter(futures).buffered(most).collect().await
}
