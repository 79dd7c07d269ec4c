//! What Excom knows of Apache Airflow's own formats. Nothing else in Excom knows their field names.

pub mod connections;
pub mod execution;
mod numbers;
pub mod objects;
pub mod process;
pub mod python;
pub mod rest;

pub use numbers::whole_number;
