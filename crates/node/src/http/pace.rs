//! Clients that do not take what they are sent: over TCP by the socket, and over the streams of HTTP/2, whose windows are the
//! client's, by the body.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// A stream of HTTP/2 is handed so much at once: what it is handed is out of our reach until the client takes it.
const CHUNK: usize = 64 << 10;

/// A connection with requests is looked at no more often.
const LOOK: Duration = Duration::from_millis(100);

/// A socket whose writing fails when the peer has taken nothing for a while. A socket that was full takes more once a third of its
/// buffer is free, so that a peer which reads a byte now and then does not pass.
pub(super) struct Socket {
    inner: TcpStream,
    stall: Duration,
    /// Runs while `waiting`.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Socket {
    pub(super) fn new(inner: TcpStream, stall: Duration) -> Self {
        Self { inner, stall, timer: None, waiting: false }
    }

    fn within<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = false;
            return polled;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.stall)));
        if !std::mem::replace(&mut self.waiting, true) {
            timer.as_mut().reset(Instant::now() + self.stall);
        }
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.within(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.within(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What goes on in a connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests that are not answered to the end.
    open: AtomicUsize,
    /// The end of the last answer.
    rested: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { open: AtomicUsize::new(0), rested: Mutex::new(Instant::now()) }
    }
}

impl Activity {
    /// A request begins. It ends when this is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Comes back when there was no request for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let rested = *self.rested.lock().unwrap_or_else(PoisonError::into_inner);
            let busy = self.open.load(Ordering::Relaxed) > 0;
            if !busy && rested.elapsed() >= limit {
                return;
            }
            sleep_until(if busy { Instant::now() + limit.max(LOOK) } else { rested + limit }).await;
        }
    }
}

/// A request that is not answered to the end.
#[derive(Debug)]
pub(super) struct Open(Arc<Activity>);

impl Drop for Open {
    fn drop(&mut self) {
        *self.0.rested.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Since when a stream of HTTP/2 waits for its client; `None` while it waits for us.
#[derive(Debug, Default)]
pub(super) struct Turn(Mutex<Option<Instant>>);

impl Turn {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

tokio::task_local! {
    /// Of the stream whose task this is.
    static TURN: Arc<Turn>;
}

/// Runs the streams of HTTP/2, and drops one, which resets it, whose client has taken nothing for a while.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) stall: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (stall, turn) = (self.stall, Arc::new(Turn::default()));
        tokio::spawn(TURN.scope(turn.clone(), async move {
            let mut stream = pin!(stream);
            loop {
                let until = turn.since().unwrap_or_else(Instant::now) + stall;
                tokio::select! {
                    () = &mut stream => return,
                    () = sleep_until(until) => {}
                }
                if turn.since().is_some_and(|since| since.elapsed() >= stall) {
                    return tracing::debug!("a stream of http/2 was cut off: its client takes nothing");
                }
            }
        }));
    }
}

/// The body of an answer, which knows whose turn it is.
pub(super) struct Answer {
    inner: Body,
    /// Of the last frame, what was more than [`CHUNK`].
    rest: Bytes,
    begun: bool,
    turn: Option<Arc<Turn>>,
    _open: Open,
}

impl Answer {
    pub(super) fn new(inner: Body, open: Open) -> Self {
        let turn = TURN.try_with(Arc::clone).ok(); // none over HTTP/1.1
        Self { inner, rest: Bytes::new(), begun: false, turn, _open: open }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(turn) = self.turn.clone() else { return Pin::new(&mut self.inner).poll_frame(cx) };
        turn.set(None);
        let mut data = if self.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        } else {
            std::mem::take(&mut self.rest)
        };
        if data.len() > CHUNK {
            self.rest = data.split_off(CHUNK);
        }
        self.begun = true;
        turn.set(Some(Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    /// Over HTTP/2, an answer that has begun ends by itself and not with its last bytes, so that the client is waited for.
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && (self.turn.is_none() || !self.begun)
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
