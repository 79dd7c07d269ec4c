//! A body in chunks of one size, whatever pieces it comes in.

use std::future::poll_fn;

use bytes::BytesMut;
use excom_core::{ByteStream, Result};

use super::object::CHUNK_BYTES;

/// A body that is read a chunk at a time.
pub(super) struct Chunks {
    body: ByteStream,
    gathered: BytesMut,
    ended: bool,
}

impl Chunks {
    pub(super) fn of(body: ByteStream) -> Self {
        Self { body, gathered: BytesMut::new(), ended: false }
    }

    /// The next chunk, and whether it is the last. Only the last is shorter than the others, or empty.
    pub(super) async fn next(&mut self) -> Result<(BytesMut, bool)> {
        // One byte more tells that the chunk is not the last.
        while !self.ended && self.gathered.len() <= CHUNK_BYTES {
            match poll_fn(|cx| self.body.as_mut().poll_next(cx)).await {
                Some(piece) => self.gathered.extend_from_slice(&piece?),
                None => self.ended = true,
            }
        }
        let length = self.gathered.len().min(CHUNK_BYTES);
        let chunk = self.gathered.split_to(length);
        Ok((chunk, self.ended && self.gathered.is_empty()))
    }

    /// The next chunk, `None` when the last was given.
    pub(super) async fn next_but_none(&mut self) -> Result<Option<BytesMut>> {
        if self.ended && self.gathered.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.next().await?.0))
    }
}
