//! Small values beside large ones: what whoever pulls a kilobyte waits for while others push and pull 300 MB.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::client::{connect, head};
use super::load::{open, p99};
use super::ours::Ours;
use super::{Figures, all, entries, pulls, rate};
use crate::databases::traffic::{ENTRIES, round};
use crate::engine::{ROUNDS, Result};
use crate::payload::{Kind, kilobytes, random_text};
use crate::report::Beside;

const BYTES: usize = 300_000_000;

/// What is asked for of small values, of what the server answers at most: two processors that large values keep busy have
/// no room for much more.
const LOAD: f64 = 0.05;

/// The 99th percentile of pulls, in microseconds, while one client pushes and another one pulls large values, and
/// without them.
pub(super) fn beside_others(kind: Kind, quick: bool) -> Result<Figures> {
    let ours = Ours::on_postgres(&entries(), &kilobytes(kind, ENTRIES))?;
    let asked = pulls(kind, &ours.tokens()?);
    let (address, token) = (ours.address, &*ours.admin);
    rate(address, &asked, quick)?;
    let most = rate(address, &asked, quick)?;
    let p99 = || open(address, &all(&asked), LOAD * most, round(quick) * 2).map(|took| p99(&took));
    let text = random_text(BYTES);
    push(address, token, &text)?;
    let moved = AtomicUsize::new(0);
    let beside = || {
        let over = AtomicBool::new(false);
        let again = |one: &dyn Fn() -> Result<()>| {
            while !over.load(Ordering::Relaxed) {
                one().map_err(|error| error.to_string())?;
                moved.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, String>(())
        };
        std::thread::scope(|scope| {
            let others = [
                scope.spawn(|| again(&|| push(address, token, &text))),
                scope.spawn(|| again(&|| pull(address, token))),
            ];
            // Both are in the middle of it.
            std::thread::sleep(Duration::from_millis(500));
            let found = p99();
            over.store(true, Ordering::Relaxed);
            others.into_iter().try_for_each(|other| other.join().expect("a client does not panic"))?;
            found
        })
    };
    let round = |_| {
        let alone = p99()?;
        Ok((beside()?, Some(alone)))
    };
    let rounds = (0..ROUNDS).map(round).collect::<Result<_>>()?;
    let figures = vec![
        ("pulls of 1 KB a second".to_owned(), Beside::Figure(LOAD * most)),
        ("times 300 MB went".to_owned(), Beside::Figure(moved.into_inner() as f64)),
    ];
    Ok((rounds, figures))
}

const VALUE: &str = "/api/excom/v1/values/weather/manual__1/archive/-1/return_value";

fn push(address: SocketAddr, token: &str, text: &str) -> Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(head(&format!("PUT {VALUE}"), token, text.len()).as_bytes())?;
    stream.write_all(text.as_bytes())?;
    let mut answer = [0; 256];
    let count = stream.read(&mut answer)?;
    match answer[..count].starts_with(b"HTTP/1.1 201") {
        true => Ok(()),
        false => {
            Err(format!("a push of {BYTES} bytes: {}", String::from_utf8_lossy(&answer[..count])).into())
        }
    }
}

fn pull(address: SocketAddr, token: &str) -> Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(head(&format!("GET {VALUE}"), token, 0).as_bytes())?;
    let (mut count, mut piece) = (0, vec![0; 1 << 20]);
    // All of it, and a head before it.
    while count < BYTES {
        match stream.read(&mut piece)? {
            0 => return Err(format!("a pull ended after {count} of {BYTES} bytes").into()),
            read => count += read,
        }
    }
    Ok(())
}
