extern crate excom_flow as excom;

use excom::prelude::*;

use std::rc::Rc;

#[task]
async fn shares(value: u8) -> u8 {
    let shared = Rc::new(value);
    std::future::ready(()).await;
    *shared
}

fn main() {}
