//! A proxy on 127.0.0.1 between a client and a server, which spoils what passes: late, cut in the middle of a
//! request or an answer, reset, held back, or answered by the proxy itself as an overloaded HTTP server would.
//!
//! Whatever it does to the client, what the server has got of a request is done before [`Proxy::settle`] returns:
//! it closes its half of the way to the server, and waits until the server closes the other.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::random::Random;

/// How often a connection on which nothing happens looks whether it still may.
const LOOK: Duration = Duration::from_millis(20);

/// How long a server may take to close a connection that the client left.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Fair,
    /// Some of it is late, held back for up to a second, cut, reset, or refused.
    Foul,
    /// Nothing passes, and nobody is told: it waits for other weather.
    Silent,
    /// Every connection is reset, new ones too.
    Away,
}

/// A running proxy. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    sky: Arc<Sky>,
}

#[derive(Debug)]
struct Sky {
    server: Mutex<SocketAddr>,
    http: bool,
    weather: Mutex<Weather>,
    open: AtomicU64,
    came: AtomicU64,
    faults: AtomicU64,
    ended: AtomicBool,
}

impl Proxy {
    /// A proxy for a server on 127.0.0.1, in fair weather. With `http` it answers some requests itself.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(server: u16, http: bool, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let sky = Arc::new(Sky {
            server: Mutex::new(SocketAddr::from((Ipv4Addr::LOCALHOST, server))),
            http,
            weather: Mutex::new(Weather::Fair),
            open: AtomicU64::new(0),
            came: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let above = Arc::clone(&sky);
        thread::spawn(move || {
            let mut random = Random::new(seed);
            for client in listener.incoming() {
                if above.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let (sky, seed) = (Arc::clone(&above), random.number());
                sky.open.fetch_add(1, Ordering::SeqCst);
                sky.came.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    // A connection that fails is what a proxy is for.
                    drop(carry(&sky, client, seed));
                    sky.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(Self { port, sky })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather, also for connections that are open.
    pub fn set(&self, weather: Weather) {
        *self.sky.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// Leads new connections to another server on 127.0.0.1.
    pub fn lead_to(&self, server: u16) {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
        *self.sky.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// How often it spoiled something.
    pub fn faults(&self) -> u64 {
        self.sky.faults.load(Ordering::Relaxed)
    }

    /// How many connections came, also those that were refused.
    pub fn connections(&self) -> u64 {
        self.sky.came.load(Ordering::SeqCst)
    }

    /// Resets every connection and waits until the server is done with all that it got; then it is fair.
    ///
    /// # Errors
    /// When the server does not close a connection.
    pub fn settle(&self) -> Result<()> {
        self.leave()?;
        self.set(Weather::Fair);
        Ok(())
    }

    /// Is away, and waits until the server is done with all that it got: nothing passes any more.
    ///
    /// # Errors
    /// As [`Proxy::settle`].
    pub fn leave(&self) -> Result<()> {
        self.set(Weather::Away);
        let begin = Instant::now();
        while self.sky.open.load(Ordering::SeqCst) > 0 {
            if begin.elapsed() > PATIENCE + Duration::from_secs(5) {
                return Err("the server does not come to an end with what it got".into());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Weather::Away);
        self.sky.ended.store(true, Ordering::Relaxed);
        // The listener sees it when it is woken.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Sky {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way that bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// What becomes of bytes that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    Late(Duration),
    /// Half of it passes, late; then the connection ends.
    Cut(Duration),
    /// The proxy answers with this status instead, and the connection ends.
    Refused(&'static str),
}

impl Fate {
    fn draw(sky: &Sky, way: Way, bytes: &[u8], random: &mut Random) -> Self {
        let begins = |words: &[&str]| sky.http && words.iter().any(|word| bytes.starts_with(word.as_bytes()));
        if way == Way::ToServer
            && begins(&["GET ", "PUT ", "POST ", "HEAD ", "DELETE "])
            && random.once_in(10)
        {
            let answers = [
                "500 Internal Server Error",
                "503 Service Unavailable\r\nRetry-After: 1",
                "429 Too Many Requests\r\nRetry-After: 1",
            ];
            return Self::Refused(answers[random.below(3) as usize]);
        }
        // It was done, but the client does not hear so.
        if way == Way::ToClient && begins(&["HTTP/1."]) && random.once_in(20) {
            return Self::Refused("502 Bad Gateway");
        }
        match random.below(120) {
            0..10 => Self::Late(Duration::from_millis(1 + random.below(30))),
            10..13 => Self::Cut(Duration::ZERO),
            13 => Self::Late(Duration::from_millis(100 + random.below(900))),
            14 => Self::Cut(Duration::from_millis(100 + random.below(900))),
            _ => Self::Passes,
        }
    }
}

/// One connection, until the server has closed it.
fn carry(sky: &Arc<Sky>, client: TcpStream, seed: u64) -> io::Result<()> {
    if sky.weather() == Weather::Away {
        return reset(&client);
    }
    let server = *sky.server.lock().unwrap_or_else(PoisonError::into_inner);
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
    }
    let cut = Arc::new(AtomicBool::new(false));
    let mut random = Random::new(seed);
    let up = {
        let (sky, cut, random) = (Arc::clone(sky), Arc::clone(&cut), Random::new(random.number()));
        let (client, server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || {
            pump(&sky, Way::ToServer, &client, &server, &cut, random);
            drop(client);
            drop(server.shutdown(Shutdown::Write));
        })
    };
    let over = pump(sky, Way::ToClient, &server, &client, &cut, random);
    if over {
        drop(client.shutdown(Shutdown::Write));
    }
    // Both halves leave the client before the server is waited for.
    cut.store(true, Ordering::Relaxed);
    drop(client);
    drop(up.join());
    drain(&server, PATIENCE);
    Ok(())
}

/// Carries bytes one way until one side ends or the connection is cut; whether the source came to its end.
fn pump(sky: &Sky, way: Way, from: &TcpStream, to: &TcpStream, cut: &AtomicBool, mut random: Random) -> bool {
    let mut bytes = vec![0; 64 << 10];
    let (mut source, mut sink) = (from, to);
    let mut client = if way == Way::ToServer { from } else { to };
    loop {
        if sky.weather() == Weather::Away {
            drop(reset(client));
            cut.store(true, Ordering::Relaxed);
        }
        if cut.load(Ordering::Relaxed) {
            return false;
        }
        if sky.weather() == Weather::Silent {
            thread::sleep(LOOK);
            continue;
        }
        let came = match source.read(&mut bytes) {
            // A server ends because the client is gone, too: that is no end to tell a client that is cut off.
            Ok(0) => return !cut.load(Ordering::Relaxed),
            Ok(length) => &bytes[..length],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return !cut.load(Ordering::Relaxed),
        };
        // What a server says to half a request is no answer to the client's.
        if cut.load(Ordering::Relaxed) {
            return false;
        }
        let fate = match sky.weather() {
            Weather::Foul => Fate::draw(sky, way, came, &mut random),
            _ => Fate::Passes,
        };
        sky.faults.fetch_add(u64::from(fate != Fate::Passes), Ordering::Relaxed);
        let passed = match fate {
            Fate::Passes => sink.write_all(came),
            Fate::Late(time) => {
                thread::sleep(time);
                sink.write_all(came)
            }
            Fate::Cut(time) => {
                thread::sleep(time);
                drop(sink.write_all(&came[..came.len() / 2]));
                if random.once_in(2) {
                    drop(reset(client));
                }
                cut.store(true, Ordering::Relaxed);
                return false;
            }
            Fate::Refused(status) => {
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                drop(client.write_all(answer.as_bytes()));
                drop(client.shutdown(Shutdown::Write));
                if way == Way::ToServer {
                    // With bytes unread, the answer would be lost in a reset.
                    drain(client, Duration::from_secs(1));
                }
                cut.store(true, Ordering::Relaxed);
                return false;
            }
        };
        if passed.is_err() {
            cut.store(true, Ordering::Relaxed);
            return false;
        }
    }
}

/// Ends a connection so that its peer sees a reset once it is closed.
fn reset(stream: &TcpStream) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?)
}

/// Reads until the peer ends, or for so long.
fn drain(mut stream: &TcpStream, patience: Duration) {
    let begin = Instant::now();
    let mut bytes = vec![0; 64 << 10];
    while begin.elapsed() < patience {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_in_fair_weather_and_connections_end_when_it_settles() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap().port(), false, 1).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut got = [0; 4];
        client.write_all(b"ping").unwrap();
        server.read_exact(&mut got).unwrap();
        server.write_all(&got).unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
        // The server closes when it reads the end, as any does.
        let server = thread::spawn(move || server.read(&mut [0; 4]).unwrap());
        proxy.settle().unwrap();
        assert_eq!(server.join().unwrap(), 0);
        assert!(client.read(&mut got).is_err(), "a reset, no end");
        assert_eq!(proxy.faults(), 0);
    }

    #[test]
    fn foul_weather_spoils_some_of_what_passes_and_refuses_in_http() {
        let sky = |http| Sky {
            server: Mutex::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            http,
            weather: Mutex::new(Weather::Foul),
            open: AtomicU64::new(0),
            came: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        };
        let drawn = |sky: &Sky, way, bytes: &[u8]| {
            let mut random = Random::new(7);
            (0..1_000).map(|_| Fate::draw(sky, way, bytes, &mut random)).collect::<Vec<_>>()
        };
        let plain = drawn(&sky(false), Way::ToServer, b"GET /");
        assert!(plain.iter().any(|fate| matches!(fate, Fate::Cut(_))));
        assert!(!plain.iter().any(|fate| matches!(fate, Fate::Refused(_))));
        let asked = drawn(&sky(true), Way::ToServer, b"GET /");
        assert!(
            asked.iter().any(|fate| matches!(fate, Fate::Refused(status) if status.contains("Retry-After")))
        );
        let answered = drawn(&sky(true), Way::ToClient, b"HTTP/1.1 200 OK");
        assert!(answered.contains(&Fate::Refused("502 Bad Gateway")));
    }
}
