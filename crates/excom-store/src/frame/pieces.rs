//! Bytes in the pieces in which they came, and work on them that goes on beside.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use blocking::Task;
use bytes::Bytes;
use excom_core::Result;

use crate::aside::Aside;

/// How many frames are packed or opened at the same time.
const AT_ONCE: usize = 4;

/// Frames of so many bytes are packed and opened on a thread of their own, for whoever shares the thread that polls: a
/// heartbeat beside a large value.
const ON_A_THREAD: usize = 64 << 10;

/// Bytes in pieces. Those of a small value are one, which costs no more than itself.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    first: Bytes,
    others: VecDeque<Bytes>,
    len: usize,
}

impl Pieces {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All pieces; of no bytes, none.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.others).filter(|piece| !piece.is_empty())
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.others.push_back(piece);
        }
    }

    /// Takes the next piece.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let next = self.others.pop_front().unwrap_or_default();
        let piece = std::mem::replace(&mut self.first, next);
        self.len -= piece.len();
        (!piece.is_empty()).then_some(piece)
    }

    /// Takes the first bytes, at most as many as there are.
    pub(super) fn split_to(&mut self, mut count: usize) -> Self {
        let mut taken = Self::default();
        while count > 0 && self.len > 0 {
            if self.first.len() > count {
                taken.push(self.first.split_to(count));
                self.len -= count;
                break;
            }
            count -= self.first.len();
            self.pop().into_iter().for_each(|piece| taken.push(piece));
        }
        taken
    }

    /// Takes so many bytes into one place; none when there are fewer.
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut taken = [0; N];
        let whole = self.copy_to(&mut taken);
        whole.then(|| {
            self.split_to(N);
            taken
        })
    }

    /// Copies the first bytes; false when there are fewer.
    pub(super) fn copy_to(&self, mut to: &mut [u8]) -> bool {
        for piece in self.iter() {
            let count = piece.len().min(to.len());
            let (now, later) = to.split_at_mut(count);
            now.copy_from_slice(&piece[..count]);
            to = later;
        }
        to.is_empty()
    }

    /// All bytes in one place, without a copy when they are.
    pub(super) fn into_one(mut self) -> Bytes {
        if self.others.is_empty() {
            return self.first;
        }
        let mut all = Vec::with_capacity(self.len);
        while let Some(piece) = self.pop() {
            all.extend_from_slice(&piece);
        }
        all.into()
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Self {
        let mut pieces = Self::default();
        pieces.push(piece);
        pieces
    }
}

/// Frames that are packed or opened, in their order.
#[derive(Default)]
pub(super) struct Underway {
    frames: VecDeque<Task<Result<Pieces>>>,
    aside: Aside,
}

impl Underway {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.frames.len() >= AT_ONCE
    }

    /// Works on so many bytes: a few at once, when nothing is waited for, others on a thread.
    pub(super) fn run(
        &mut self,
        bytes: usize,
        work: impl FnOnce() -> Result<Pieces> + Send + 'static,
    ) -> Option<Result<Pieces>> {
        if bytes < ON_A_THREAD && self.is_empty() {
            return Some(work());
        }
        let frame = self.aside.run(work);
        self.frames.push_back(frame);
        None
    }

    /// The next that is done; none when nothing is under way.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Pieces>>> {
        let Some(first) = self.frames.front_mut() else { return Poll::Ready(None) };
        let done = ready!(Pin::new(first).poll(context));
        self.frames.pop_front();
        Poll::Ready(Some(done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_what_came() {
        let text = b"the quick brown fox";
        for size in 1..=text.len() {
            for count in 0..=text.len() + 1 {
                let mut pieces = Pieces::default();
                text.chunks(size).for_each(|piece| pieces.push(Bytes::copy_from_slice(piece)));
                assert_eq!(pieces.len(), text.len());
                let mut begin = [0; 4];
                assert!(pieces.copy_to(&mut begin));
                assert_eq!(begin, *b"the ");
                let taken = pieces.split_to(count);
                let end = count.min(text.len());
                assert_eq!((taken.len(), pieces.len()), (end, text.len() - end));
                assert_eq!(taken.into_one(), text[..end]);
                let four = pieces.take::<4>();
                assert_eq!(four.is_some(), text.len() - end >= 4);
                let end = end + four.map_or(0, |four| four.len());
                assert_eq!(pieces.into_one(), text[end..]);
            }
        }
    }
}
