//! The routes as clients meet them, over an engine with SQLite.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod auth;
mod client;
mod instances;
mod looks;
mod openapi;
mod own;
mod rest;
mod variables;
mod waits;
mod xcoms;
