//! The routes as clients meet them, over an engine with SQLite.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod assets;
mod attacks;
mod auth;
mod client;
mod connections;
mod fuzz;
mod health;
mod hitl;
mod instances;
mod keys;
mod limits;
mod looks;
mod metrics;
mod openapi;
mod own;
mod own_variables;
mod rest;
mod rest_variables;
mod run_waits;
mod runs;
mod service;
mod traces;
mod triggered;
mod usage;
mod variables;
mod waits;
mod xcoms;
