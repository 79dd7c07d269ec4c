//! A value on its way to the server: in pieces, as fast as they are taken.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use excom_core::value::ByteStream;
use excom_core::{Error, Payload, Result};
use futures_util::future::{Either, select};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

/// The most bytes of a value that are read before any is sent. Of a value that ends in them all can be sent again.
const AHEAD: usize = 1 << 20;

const PIECE: usize = 64 << 10;

/// A value that is pushed.
pub(crate) struct Upload {
    ahead: Bytes,
    /// What comes behind, when there is more.
    rest: Option<ByteStream>,
    /// Whether something of the rest was taken, which cannot be had again.
    taken: bool,
}

/// Why a value did not go out.
pub(crate) enum Stuck {
    /// Where it comes from failed.
    Source(Error),
    /// Nobody took the next piece in time.
    Slow,
}

impl Upload {
    /// Reads the beginning of a payload.
    ///
    /// # Errors
    /// The payload's own.
    pub(crate) async fn of(payload: Payload) -> Result<Self> {
        let mut rest = match payload {
            Payload::Value(value) => return Ok(Self::whole(value.bytes().clone())),
            Payload::Whole(bytes) => return Ok(Self::whole(bytes)),
            other => other.into_stream(),
        };
        let mut ahead = BytesMut::new();
        while ahead.len() < AHEAD {
            match next(&mut rest).await {
                Some(piece) => ahead.extend_from_slice(&piece?),
                None => return Ok(Self::whole(ahead.freeze())),
            }
        }
        Ok(Self { ahead: ahead.freeze(), rest: Some(rest), taken: false })
    }

    fn whole(ahead: Bytes) -> Self {
        Self { ahead, rest: None, taken: false }
    }

    /// Whether all of it can be sent, once more.
    pub(crate) fn is_whole(&self) -> bool {
        !self.taken
    }

    /// A body for a request, and where its pieces are put.
    pub(crate) fn body(&self) -> (Sender<Piece>, Pieces) {
        let (sender, receiver) = mpsc::channel(1);
        let left = self.rest.is_none().then_some(self.ahead.len() as u64);
        (sender, Pieces { receiver, left })
    }

    /// Drives a request while its body is sent, and gives back what it came to. A server may answer before it has all.
    pub(crate) async fn drive<F: Future>(
        &mut self,
        sender: Sender<Piece>,
        limit: Duration,
        request: F,
    ) -> std::result::Result<F::Output, Stuck> {
        let request = pin!(request);
        let sent = pin!(self.send(sender, limit));
        match select(request, sent).await {
            Either::Left((answer, _)) => Ok(answer),
            Either::Right((Ok(()), request)) => timeout(limit, request).await.map_err(|_| Stuck::Slow),
            Either::Right((Err(stuck), _)) => Err(stuck),
        }
    }

    async fn send(&mut self, sender: Sender<Piece>, limit: Duration) -> std::result::Result<(), Stuck> {
        let mut ahead = self.ahead.clone();
        while !ahead.is_empty() {
            let piece = ahead.split_to(ahead.len().min(PIECE));
            if !put(&sender, Ok(piece), limit).await? {
                return Ok(());
            }
        }
        let Some(rest) = &mut self.rest else { return Ok(()) };
        loop {
            self.taken = true;
            match next(rest).await {
                None => return Ok(()),
                Some(Ok(piece)) => {
                    if !put(&sender, Ok(piece), limit).await? {
                        return Ok(());
                    }
                }
                Some(Err(error)) => {
                    // So that the server does not take what came for all of it.
                    put(&sender, Err(Broken), limit).await?;
                    return Err(Stuck::Source(error));
                }
            }
        }
    }
}

/// Puts a piece where it is sent from; false when nobody takes any more, because there is an answer.
async fn put(sender: &Sender<Piece>, piece: Piece, limit: Duration) -> std::result::Result<bool, Stuck> {
    let put = timeout(limit, sender.send(piece)).await;
    put.map(|put| put.is_ok()).map_err(|_| Stuck::Slow)
}

pub(crate) async fn next(stream: &mut ByteStream) -> Option<Result<Bytes>> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

pub(crate) type Piece = std::result::Result<Bytes, Broken>;

/// Where the value comes from failed.
#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the value ends early")
    }
}

impl std::error::Error for Broken {}

/// The body of a request.
pub(crate) struct Pieces {
    receiver: Receiver<Piece>,
    /// How many bytes are still to come, where that is known.
    left: Option<u64>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Broken>>> {
        let piece = std::task::ready!(self.receiver.poll_recv(context));
        if let (Some(Ok(piece)), Some(left)) = (&piece, &mut self.left) {
            *left = left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
