//! Large objects: a stream in parts of one size, and their upload.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use excom_core::{ByteStream, Result};
use excom_reactor::Reactor;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, PutPayloadMut};
use tokio::task::JoinSet;

/// The size of a part; S3 takes none below 5 MiB but the last, and some of its kind want all of one size.
pub(super) const PART_BYTES: usize = 8 << 20;

/// How many parts an object may have in S3 and Google Cloud Storage.
pub(super) const MOST_PARTS: usize = 10_000;

/// How many parts are under way at a time: with the one that is being read, what a large value costs in memory.
const AT_ONCE: usize = 3;

/// Smaller pieces are copied together, since each may hold on to a larger allocation.
const COPIED_BELOW: usize = 64 << 10;

/// A stream in parts.
pub(super) struct Parts {
    body: ByteStream,
    /// What is left of a piece that reached over the end of a part.
    left: Bytes,
}

impl Parts {
    pub(super) fn of(body: ByteStream) -> Self {
        Self { body, left: Bytes::new() }
    }

    /// The next part: as large as all others, smaller at the end, empty behind it.
    pub(super) async fn next(&mut self) -> Result<PutPayload> {
        let mut part = PutPayloadMut::new();
        loop {
            let room = PART_BYTES - part.content_length();
            let piece = self.left.split_to(self.left.len().min(room));
            if piece.len() < COPIED_BELOW {
                part.extend_from_slice(&piece);
            } else {
                part.push(piece);
            }
            if part.content_length() == PART_BYTES {
                break;
            }
            match poll_fn(|cx| self.body.as_mut().poll_next(cx)).await {
                Some(piece) => self.left = piece?,
                None => break,
            }
        }
        Ok(part.freeze())
    }
}

/// Parts on their way. Dropped before it is complete, it is aborted behind the caller's back.
pub(super) struct Upload {
    upload: Option<Box<dyn MultipartUpload>>,
    under_way: JoinSet<object_store::Result<()>>,
    reactor: Reactor,
}

impl Upload {
    /// Begins an upload. Whoever stops waiting for it leaves none behind: it begins nevertheless, and is aborted.
    pub(super) async fn begin(
        client: &Arc<dyn ObjectStore>,
        path: &Path,
        reactor: &Reactor,
    ) -> object_store::Result<Self> {
        let (client, path, reactor) = (client.clone(), path.clone(), reactor.clone());
        let begun = tokio::spawn(async move {
            let upload = Some(client.put_multipart(&path).await?);
            Ok(Self { upload, under_way: JoinSet::new(), reactor })
        });
        begun.await?
    }

    /// Sends a part, and waits while too many are under way.
    pub(super) async fn put(&mut self, part: PutPayload) -> object_store::Result<()> {
        if self.under_way.len() >= AT_ONCE {
            self.one().await?;
        }
        if let Some(upload) = &mut self.upload {
            self.under_way.spawn(upload.put_part(part));
        }
        Ok(())
    }

    /// Waits for all parts.
    pub(super) async fn settle(&mut self) -> object_store::Result<()> {
        while !self.under_way.is_empty() {
            self.one().await?;
        }
        Ok(())
    }

    async fn one(&mut self) -> object_store::Result<()> {
        match self.under_way.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }

    /// Makes the parts an object.
    pub(super) async fn complete(&mut self) -> object_store::Result<()> {
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        self.upload = None;
        Ok(())
    }

    /// Throws the parts away, as far as the store still answers.
    pub(super) async fn abort(mut self) {
        self.under_way.shutdown().await;
        if let Some(upload) = &mut self.upload {
            drop(upload.abort().await);
        }
        self.upload = None;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            let mut under_way = std::mem::take(&mut self.under_way);
            let reactor = self.reactor.clone();
            self.reactor.spawn(async move {
                under_way.shutdown().await;
                drop(upload.abort().await);
                // Until here, also when the store is closed meanwhile.
                drop(reactor);
            });
        }
    }
}
