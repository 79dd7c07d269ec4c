//! The process's side: connections come, and end in peace when the server stops.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;

use excom_core::{Error, ErrorKind, Result};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::{Duration, sleep, timeout};

use crate::app::App;

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// How long nobody is let in when the system has no room for another connection.
const CROWDED: Duration = Duration::from_millis(50);

/// A server that has its address, and is yet to run.
#[derive(Debug)]
pub struct Service {
    app: App,
    listener: TcpListener,
    address: SocketAddr,
}

/// How a server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Every request was answered.
    Whole,
    /// Some took too long and were cut off.
    Cut,
}

impl Service {
    /// Takes an address, `127.0.0.1:8080`; with port 0 a free one.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when it is taken, or none of this machine's.
    pub async fn bind(app: App, address: &str) -> Result<Self> {
        let refused = |cause| {
            Error::new(ErrorKind::Configuration, format!("cannot listen on {address}"))
                .because(cause)
                .hint("name a free address with [server] listen, such as 127.0.0.1:8080")
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { app, listener, address })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop; then lets nobody in, and gives requests that are under way their time.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Drained {
        let Self { app, listener, .. } = self;
        let (router, options) = (app.router(), app.options.clone());
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(options.head_timeout).max_buf_size(HEAD_BYTES);
        let connections = GracefulShutdown::new();
        let mut stop = pin!(stop);
        loop {
            let came = tokio::select! {
                () = &mut stop => break,
                came = listener.accept() => came,
            };
            let Ok((stream, _)) = came else {
                sleep(CROWDED).await;
                continue;
            };
            // Answers are small, and somebody waits for each.
            drop(stream.set_nodelay(true));
            let service = TowerToHyperService::new(router.clone());
            let connection = server.serve_connection(TokioIo::new(stream), service);
            let watched = connections.watch(connection);
            // What a client does wrong is its own affair, and ends with its connection.
            tokio::spawn(async move { drop(watched.await) });
        }
        drop(listener);
        match timeout(options.drain_timeout, connections.shutdown()).await {
            Ok(()) => Drained::Whole,
            Err(_) => Drained::Cut,
        }
    }
}
