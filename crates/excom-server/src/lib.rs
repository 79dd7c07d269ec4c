//! Excom over HTTP: one engine for tasks in any language on any machine.
//!
//! Its doors only translate; every rule is the engine's:
//!
//! | below | for whom |
//! | --- | --- |
//! | `/execution` | Airflow's workers: the Task Execution API as Airflow 3 has it |
//! | `/api/v2` | people and programs: XComs, the end of runs, and variables as Airflow's REST API has them |
//! | `/api/excom/v1` | people and programs: what those lack |
//! | `/metrics` | Prometheus |
//! | `/health` | whoever watches the process |
//!
//! Nothing but the health is reachable without a token. A task's token acts as its task instance: pushes are fenced by
//! its attempt, and the access rules for tasks hold.

mod access;
mod app;
mod auth;
mod connections;
mod counted;
mod execution;
mod gate;
mod health;
mod limits;
mod metrics;
mod own;
mod patient;
mod readiness;
mod refusal;
mod request;
mod rest;
mod service;
mod telemetry;
mod tls;
mod wrong;

pub use access::AccessLog;
pub use app::{App, Options};
pub use auth::{Issued, KeyPlaces, Keys, Role, TaskClaim, TokenRules, person_token};
pub use connections::Connections;
pub use readiness::Readiness;
pub use service::{Drained, Service, ServiceOptions};
pub use telemetry::{Collector, Traces};
pub use tls::Tls;
