//! Clients that are waited for only so long at a time: who stops sending a body, or taking an answer, is cut off, and who is
//! slow is not. Nor do those who are fast keep others waiting.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures_util::task::AtomicWaker;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep, timeout};

/// How long, and how much, of a body that nobody wants any more is taken.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;

/// How much goes over a connection before others have their turn.
const TURN_BYTES: usize = 256 << 10;

/// A body, and how long its next piece may take.
pub(crate) struct Patient {
    /// None when it is not wanted any more.
    body: Option<Incoming>,
    pause: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(crate) fn body(body: Incoming, pause: Duration) -> Body {
        // Most requests have none, and need no clock.
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { body: Some(body), pause, waiting: None })
    }
}

impl HttpBody for Patient {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let pause = self.pause;
        ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep(pause))).as_mut().poll(context));
        self.body = None;
        let late = io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {pause:?}"));
        Poll::Ready(Some(Err(axum::Error::new(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Incoming::size_hint).unwrap_or_default()
    }
}

impl Drop for Patient {
    /// Who is refused in the middle of sending does not hear why when the connection ends under what it still sends. So that
    /// is taken for a moment more, and thrown away.
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        drop(runtime.spawn(timeout(LINGER, async move {
            let mut left = LINGER_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
                left = rest;
            }
        })));
    }
}

/// A connection on which no write waits longer than this for the client to take something, and whose client, however fast it
/// sends or takes, has the thread only for a turn at a time.
pub(crate) struct Taken<S> {
    stream: S,
    pause: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Bytes since the stream was last waited for, or others had their turn.
    moved: usize,
    others: Option<Arc<Others>>,
}

/// The turn of all others, for which a connection waits.
#[derive(Default)]
struct Others {
    had_theirs: AtomicBool,
    connection: AtomicWaker,
}

impl Wake for Others {
    fn wake(self: Arc<Self>) {
        self.had_theirs.store(true, Ordering::Release);
        self.connection.wake();
    }
}

impl<S> Taken<S> {
    pub(crate) fn new(stream: S, pause: Duration) -> Self {
        Self { stream, pause, waiting: None, moved: 0, others: None }
    }

    /// Comes when it is this connection's turn: whoever else is ready, and what has come in meanwhile, goes before one that
    /// moved much.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.moved >= TURN_BYTES {
            self.moved = 0;
            let others = Arc::<Others>::default();
            // It wakes when the runtime has looked for what came in. It is polled once only: a second time would be its
            // end, and a connection is polled more than once in a turn.
            let _ = pin!(yield_now()).poll(&mut Context::from_waker(&Waker::from(others.clone())));
            self.others = Some(others);
        }
        if let Some(others) = &self.others {
            others.connection.register(context.waker());
            if !others.had_theirs.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            self.others = None;
        }
        Poll::Ready(())
    }

    fn moved(&mut self, bytes: Option<usize>) {
        self.moved = bytes.map_or(0, |bytes| self.moved + bytes);
    }

    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.moved(match written {
            Poll::Ready(Ok(bytes)) => Some(bytes),
            _ => None,
        });
        self.within(written, context)
    }

    /// What came of a write, or that it waited too long.
    fn within<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let pause = self.pause;
        ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep(pause))).as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing was taken for {pause:?}"))))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.turn(context));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.moved(read.is_ready().then(|| buffer.filled().len() - before));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.turn(context));
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.turn(context));
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.within(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, repeat, sink};

    use super::*;

    #[tokio::test]
    async fn whoever_sends_without_a_pause_leaves_others_their_turns() {
        const PIECE: usize = 16 << 10;
        let turns = Arc::new(AtomicUsize::new(0));
        let others = tokio::spawn({
            let turns = turns.clone();
            async move {
                loop {
                    turns.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            }
        });
        let mut sends = Taken::new(repeat(b'x'), Duration::from_secs(1));
        let mut piece = [0; PIECE];
        for _ in 0..4 * TURN_BYTES / PIECE {
            sends.read_exact(&mut piece).await.unwrap();
        }
        others.abort();
        assert!(turns.load(Ordering::Relaxed) >= 3, "{turns:?}");
    }

    /// Who looks twice at once has no second turn.
    #[tokio::test]
    async fn a_turn_is_over_until_others_had_theirs() {
        let mut takes = Taken::new(sink(), Duration::from_secs(1));
        let much = vec![b'x'; TURN_BYTES];
        takes.write_all(&much).await.unwrap();
        poll_fn(|context| {
            for _ in 0..3 {
                assert!(Pin::new(&mut takes).poll_write(context, b"more").is_pending());
            }
            Poll::Ready(())
        })
        .await;
        assert_eq!(takes.write(b"more").await.unwrap(), 4);
    }
}
