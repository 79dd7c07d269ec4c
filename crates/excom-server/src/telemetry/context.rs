//! W3C Trace Context: what a request's head says of the trace that it is part of.

use axum::http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The most characters of what vendors add to a trace; more than that is left out, as the specification lets one.
const STATE_CHARACTERS: usize = 512;

/// The span that a request was sent from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) trace: u128,
    pub(super) span: u64,
    /// Whether whoever began the trace wants its spans.
    pub(super) sampled: bool,
    /// What vendors have added; often nothing.
    pub(super) state: String,
}

impl Sender {
    /// The sender's span, when the head names one as it should.
    pub(super) fn of(head: &HeaderMap) -> Option<Self> {
        let mut named = head.get_all(TRACEPARENT).iter();
        let (parent, None) = (named.next()?.to_str().ok()?, named.next()) else { return None };
        let sender = Self::parse(parent.trim())?;
        let said: Option<Vec<&str>> =
            head.get_all(TRACESTATE).iter().map(|part| part.to_str().ok()).collect();
        let state = said.unwrap_or_default().join(",");
        Some(if state.len() <= STATE_CHARACTERS { Self { state, ..sender } } else { sender })
    }

    /// `VERSION-TRACE-SPAN-FLAGS`. Of versions to come only what this one has is looked at.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version: u8 = hex(parts.next()?, 2)?;
        let (trace, span) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?);
        let flags: u8 = hex(parts.next()?, 2)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) || trace == 0 || span == 0 {
            return None;
        }
        Some(Self { trace, span, sampled: flags & 1 == 1, state: String::new() })
    }
}

/// A number of so many small hexadecimal digits.
fn hex<N: TryFrom<u128>>(text: &str, digits: usize) -> Option<N> {
    let good = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    let number = (text.len() == digits && text.bytes().all(good)).then(|| u128::from_str_radix(text, 16));
    N::try_from(number?.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn head(parents: &[&'static str], states: &[&'static str]) -> HeaderMap {
        let mut head = HeaderMap::new();
        for (name, values) in [(TRACEPARENT, parents), (TRACESTATE, states)] {
            for value in values {
                head.append(&name, HeaderValue::from_static(value));
            }
        }
        head
    }

    #[test]
    fn a_sender_is_read() {
        let sender = Sender::of(&head(&[GOOD], &["one=1", "two=2"])).unwrap();
        assert_eq!(format!("{:032x}-{:016x}", sender.trace, sender.span), GOOD[3..52]);
        assert!(sender.sampled);
        assert_eq!(sender.state, "one=1,two=2");
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02";
        assert!(!Sender::of(&head(&[unsampled], &[])).unwrap().sampled);
        let of_later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert!(Sender::of(&head(&[of_later], &[])).unwrap().sampled);
    }

    #[test]
    fn what_is_no_sender_is_none() {
        for bad in [
            "",
            "00",
            "nonsense",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Sender::of(&head(&[bad], &["one=1"])), None, "{bad}");
        }
        assert_eq!(Sender::of(&head(&[GOOD, GOOD], &[])), None, "two of them are none");
        assert_eq!(Sender::of(&head(&[], &["one=1"])), None);
    }
}
