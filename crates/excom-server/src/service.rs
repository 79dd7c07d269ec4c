//! The process's side: connections come, and end in peace when the server stops.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;

use axum::http::Request;
use excom_core::{Error, ErrorKind, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::time::{Duration, sleep, timeout};

use crate::access::{AccessLog, Client, note};
use crate::patient::{Patient, Taken};
use crate::readiness::Readiness;
use crate::tls::Tls;

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// How long nobody is let in when the system has no room for another connection.
const CROWDED: Duration = Duration::from_millis(50);

/// A server that has its address, and is yet to run.
#[derive(Debug)]
pub struct Service {
    listener: TcpListener,
    address: SocketAddr,
    options: ServiceOptions,
    readiness: Readiness,
    tls: Option<Tls>,
    log: Option<AccessLog>,
}

/// How connections are served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceOptions {
    /// How long a client may take to begin with TLS.
    pub handshake_timeout: Duration,
    /// How long a client may take to send a request's head.
    pub head_timeout: Duration,
    /// How long a client may take to send the next piece of a body, or to take the next piece of an answer.
    pub body_pause: Duration,
    /// How long requests that are under way may take to end when the server stops.
    pub drain_timeout: Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(15),
            body_pause: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
        }
    }
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
    /// Takes an address, `127.0.0.1:8080`; with port 0 a free one. Nothing is served before [`Readiness::open`].
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when it is taken, or none of this machine's.
    pub async fn bind(address: &str, options: ServiceOptions) -> Result<Self> {
        let refused = |cause| {
            Error::new(ErrorKind::Configuration, format!("cannot listen on {address}"))
                .because(cause)
                .hint("name a free address with [server] listen, such as 127.0.0.1:8080")
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, options, readiness: Readiness::new(), tls: None, log: None })
    }

    /// The same with TLS, and nothing else.
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The same with an access log.
    pub fn with_access_log(self, log: AccessLog) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where to tell that there is an engine, or why there is none.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Serves until told to stop; then lets nobody in, and gives requests that are under way their time.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Drained {
        let Self { listener, options, readiness, tls, log, .. } = self;
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(options.head_timeout).max_buf_size(HEAD_BYTES);
        let connections = GracefulShutdown::new();
        let mut stop = pin!(stop);
        loop {
            let came = tokio::select! {
                () = &mut stop => break,
                came = listener.accept() => came,
            };
            let Ok((stream, client)) = came else {
                sleep(CROWDED).await;
                continue;
            };
            // Answers are small, and somebody waits for each.
            drop(stream.set_nodelay(true));
            let (readiness, log) = (readiness.clone(), log.clone());
            let (server, watcher) = (server.clone(), connections.watcher());
            let stream = Taken::new(stream, options.body_pause);
            let acceptor = tls.as_ref().map(Tls::acceptor);
            let client = Client { address: client, tls: acceptor.is_some() };
            // What a client does wrong is its own affair, and ends with its connection.
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let mut request = request.map(|body| Patient::body(body, options.body_pause));
                    request.extensions_mut().insert(client);
                    let (readiness, log) = (readiness.clone(), log.clone());
                    async move {
                        let answer = async |request| readiness.answer(request).await;
                        Ok::<_, Infallible>(match log {
                            Some(log) => note(log, request, answer).await,
                            None => answer(request).await,
                        })
                    }
                });
                match acceptor {
                    None => drop(watcher.watch(server.serve_connection(TokioIo::new(stream), service)).await),
                    Some(acceptor) => {
                        let begun = timeout(options.handshake_timeout, acceptor.accept(stream)).await;
                        if let Ok(Ok(stream)) = begun {
                            drop(watcher.watch(server.serve_connection(TokioIo::new(stream), service)).await);
                        }
                    }
                }
            });
        }
        drop(listener);
        match timeout(options.drain_timeout, connections.shutdown()).await {
            Ok(()) => Drained::Whole,
            Err(_) => Drained::Cut,
        }
    }
}
