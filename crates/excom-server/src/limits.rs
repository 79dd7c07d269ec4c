//! How much each name in tokens may ask for: requests and bytes a second. Each server counts by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::time::Instant;

use crate::counted::Counted;
use crate::refusal::Refusal;

/// From how many names on those who have not asked for a while are forgotten.
const NAMES: usize = 10_000;

/// Rates that hold for each name.
#[derive(Debug)]
pub(crate) struct Limits {
    requests: Option<f64>,
    bytes: Option<f64>,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
}

/// What a name has left.
#[derive(Debug)]
struct Account(Mutex<Left>);

/// Two buckets that fill up each second, and hold no more than a second's worth. Bytes are known only when they have
/// passed, so their bucket may be below zero; then it has to fill up again first.
#[derive(Debug)]
struct Left {
    requests: f64,
    bytes: f64,
    at: Instant,
}

impl Limits {
    pub(crate) fn new(requests: Option<u32>, bytes: Option<u64>) -> Self {
        let bytes = bytes.map(|bytes| bytes as f64);
        Self { requests: requests.map(f64::from), bytes, accounts: Mutex::default() }
    }

    /// Goes on with a request, when its name has something left.
    pub(crate) async fn pass(
        &self,
        name: &str,
        request: Request,
        go: impl AsyncFnOnce(Request) -> Response,
    ) -> Response {
        if self.requests.is_none() && self.bytes.is_none() {
            return go(request).await;
        }
        let account = self.account(name);
        if let Err((what, wait)) = self.admit(&account) {
            return refused(name, what, wait);
        }
        if self.bytes.is_none() {
            return go(request).await;
        }
        let (sent, answered) = (Arc::clone(&account), account);
        let request = request.map(|body| Counted::body(body, move |bytes| sent.spend(bytes)));
        let answer = go(request).await;
        answer.map(|body| Counted::body(body, move |bytes| answered.spend(bytes)))
    }

    fn account(&self, name: &str) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(name) {
            return Arc::clone(account);
        }
        if accounts.len() >= NAMES && accounts.len().is_power_of_two() {
            accounts.retain(|_, account| !self.is_full(account));
        }
        let full = Left {
            requests: self.requests.unwrap_or_default(),
            bytes: self.bytes.unwrap_or_default(),
            at: Instant::now(),
        };
        let account = Arc::new(Account(Mutex::new(full)));
        accounts.insert(name.to_owned(), Arc::clone(&account));
        account
    }

    /// Takes one request off, or tells what there is too much of and how long until there is less.
    fn admit(&self, account: &Account) -> Result<(), (&'static str, f64)> {
        let mut left = account.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.fill(&mut left);
        if let Some(rate) = self.requests
            && left.requests < 1.0
        {
            return Err(("requests", (1.0 - left.requests) / rate));
        }
        if let Some(rate) = self.bytes
            && left.bytes < 0.0
        {
            return Err(("bytes", -left.bytes / rate));
        }
        left.requests -= 1.0;
        Ok(())
    }

    fn fill(&self, left: &mut Left) {
        let now = Instant::now();
        let seconds = now.duration_since(left.at).as_secs_f64();
        let filled = |now: f64, rate: Option<f64>| rate.map_or(now, |rate| (now + seconds * rate).min(rate));
        (left.requests, left.bytes) = (filled(left.requests, self.requests), filled(left.bytes, self.bytes));
        left.at = now;
    }

    fn is_full(&self, account: &Arc<Account>) -> bool {
        let mut left = account.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.fill(&mut left);
        let full = |left: f64, rate: Option<f64>| rate.is_none_or(|rate| left >= rate);
        Arc::strong_count(account) == 1 && full(left.requests, self.requests) && full(left.bytes, self.bytes)
    }
}

impl Account {
    fn spend(&self, bytes: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes -= bytes as f64;
    }
}

fn refused(name: &str, what: &str, wait: f64) -> Response {
    // At least a second, and none that no clock can tell.
    let seconds = Duration::try_from_secs_f64(wait.ceil()).map_or(1, |wait| wait.as_secs()).max(1);
    let message = format!("{name} asks for more {what} a second than [server] limit_{what} lets it");
    let refusal = Refusal::because(StatusCode::TOO_MANY_REQUESTS, "rate", message);
    let mut answer = refusal.into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    answer
}
