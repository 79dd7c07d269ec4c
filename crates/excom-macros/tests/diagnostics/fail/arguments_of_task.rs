extern crate excom_flow as excom;

use excom::prelude::*;

#[task(retry = 3)]
fn unknown() {}

#[task(retries = "3")]
fn number() {}

#[task(retries)]
fn missing() {}

#[task(retries = 1, retries = 2)]
fn twice() {}

#[task(retry_delay = "10 parsecs")]
fn unit() {}

#[task(retry_delay = 10)]
fn no_unit() {}

#[task(do_xcom_push = "no")]
fn flag() {}

#[task(task_id = "")]
fn empty() {}

#[task(retries = 99999999999)]
fn large() {}

fn main() {}
