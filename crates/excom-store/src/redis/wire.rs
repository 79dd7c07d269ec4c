//! Connections: one to a server, or one to each node of a cluster, and how they are made.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use excom_core::Result;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, FromRedisValue as _, Pipeline,
    RedisError, RedisResult, TlsCertificates, Value,
};
use tokio::time::timeout;

use super::RedisOptions;
use super::address::{Address, malformed};
use super::direct::{self, Driven};

/// What makes connections.
pub(super) enum Wiring {
    Server { client: Client, config: AsyncConnectionConfig, patience: Duration },
    Cluster(ClusterClient),
}

impl Wiring {
    pub(super) fn new(address: &Address, options: &RedisOptions) -> Result<Self> {
        // The client's own words may hold the password.
        let refused = |error: RedisError| malformed(error.category());
        let certificates = TlsCertificates {
            client_tls: options.client_certificate.as_ref().map(|client| ClientTlsConfig {
                client_cert: client.certificate.clone(),
                client_key: client.key.clone(),
            }),
            root_cert: options.root_certificate.clone(),
        };
        if address.encrypted() && rustls::crypto::CryptoProvider::get_default().is_none() {
            // The client takes the process's provider, and panics when there is none and it must choose.
            drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        }
        let nodes = address.nodes();
        if address.cluster {
            let mut builder = ClusterClientBuilder::new(nodes)
                .connection_timeout(options.connect_timeout)
                .response_timeout(options.timeout)
                .overall_response_timeout(Some(options.timeout))
                .retries(options.retries);
            if address.encrypted() {
                builder = builder.certs(certificates);
            }
            return Ok(Self::Cluster(builder.build().map_err(refused)?));
        }
        let node = nodes.into_iter().next().unwrap_or_default();
        let client =
            if address.encrypted() { Client::build_with_tls(node, certificates) } else { Client::open(node) };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.timeout));
        Ok(Self::Server { client: client.map_err(refused)?, config, patience: options.connect_timeout })
    }

    pub(super) async fn connect(&self) -> RedisResult<Wire> {
        Ok(match self {
            Self::Server { client, config, patience } => {
                let info = client.get_connection_info();
                let ConnectionAddr::Tcp(host, port) = info.addr() else {
                    let connection = client.get_multiplexed_async_connection_with_config(config).await?;
                    return Ok(Wire::Server(connection, None));
                };
                let connecting = direct::connect(host, *port, info.redis_settings(), config.clone());
                let connected = timeout(*patience, connecting).await;
                let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it took too long to connect");
                let (connection, driven) = connected.map_err(late)??;
                Wire::Server(connection, Some(driven))
            }
            Self::Cluster(client) => Wire::Cluster(client.get_async_connection().await?),
        })
    }
}

/// A connection that any number of commands share.
#[derive(Clone)]
pub(super) enum Wire {
    /// A connection without TLS is written to by who sends.
    Server(MultiplexedConnection, Option<Arc<Driven>>),
    Cluster(ClusterConnection),
}

impl Wire {
    /// Sends commands for keys of one slot in one round trip; an answer for each, which may be an error of its own.
    pub(super) async fn send(
        &mut self,
        key: &str,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> RedisResult<Vec<Value>> {
        let mut pipeline = Pipeline::new();
        for command in commands {
            pipeline.add_command(command);
        }
        let count = pipeline.len();
        match self {
            Self::Server(connection, driven) => {
                at_once(driven.as_deref(), connection.req_packed_commands(&pipeline, 0, count)).await
            }
            Self::Cluster(connection) => {
                let route = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
                connection.route_pipeline(pipeline, 0, count, route).await
            }
        }
    }

    /// Sends a command that the client knows how to spread over a cluster.
    pub(super) async fn spread(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Self::Server(connection, driven) => {
                at_once(driven.as_deref(), connection.req_packed_command(command)).await?
            }
            Self::Cluster(connection) => connection.req_packed_command(command).await?,
        };
        answer.extract_error()
    }

    /// The primaries of a cluster; `None` stands for the only server.
    pub(super) async fn primaries(&mut self) -> RedisResult<Vec<Option<Node>>> {
        let Self::Cluster(connection) = self else { return Ok(vec![None]) };
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = connection.route_command(redis::cmd("PING"), all).await?.extract_error()?;
        let answers = Vec::<(String, Value)>::from_redis_value(answers)?;
        let node = |(address, _): &(String, Value)| {
            let (host, port) = address.rsplit_once(':')?;
            Some(Node { host: host.to_owned(), port: port.parse().ok()? })
        };
        Ok(answers.iter().map(node).collect())
    }

    /// Sends a command to one primary.
    pub(super) async fn ask(&mut self, node: Option<&Node>, command: Cmd) -> RedisResult<Value> {
        let answer = match (self, node) {
            (Self::Cluster(connection), Some(Node { host, port })) => {
                let there = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                connection.route_command(command, RoutingInfo::SingleNode(there)).await?
            }
            (Self::Cluster(connection), None) => connection.req_packed_command(&command).await?,
            (Self::Server(connection, _), _) => connection.req_packed_command(&command).await?,
        };
        answer.extract_error()
    }
}

async fn at_once<F: Future>(driven: Option<&Driven>, command: F) -> F::Output {
    match driven {
        Some(driven) => driven.run(command).await,
        None => command.await,
    }
}

/// A node of a cluster.
pub(super) struct Node {
    host: String,
    port: u16,
}

/// The pause before a command is tried again.
pub(super) fn pause(tries: u32) -> Duration {
    Duration::from_millis(50 << tries.min(5))
}
