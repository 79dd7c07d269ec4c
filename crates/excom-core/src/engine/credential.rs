//! Ordinary values that look like credentials: what a pushed value and its names tell in a bounded look.
//!
//! Every push passes here, so the text is searched for quotes beside which there may be one, and only then looked
//! through string by string. Nothing is parsed.

use memchr::{memchr, memchr_iter, memchr2};

/// How much of a value is looked at, in bytes.
const HEAD: usize = 4 << 10;

/// What names of credentials end with, in lower case and without `_`, `-` and spaces between, by the last letter.
fn names(last: u8) -> &'static [&'static str] {
    match last.to_ascii_lowercase() {
        b'd' => &["password", "passwd"],
        b'e' => &["passphrase"],
        b'n' => &["token", "authorization"],
        b't' => &["secret"],
        b'y' => &["apikey", "accesskey", "privatekey"],
        _ => &[],
    }
}

/// What credentials begin with that have a form of their own.
const BEGINNINGS: [&str; 12] = [
    "-----BEGIN ",
    "AKIA",
    "ASIA",
    "eyJ",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "xapp-",
    "xox",
];

/// Tokens that say where a list goes on.
const HARMLESS: [&str; 3] = ["nexttoken", "pagetoken", "continuationtoken"];

/// What looks like a credential in a value that is pushed under a key, from the beginning of its JSON text; none
/// when nothing does.
pub(super) fn look(key: &str, head: &[u8]) -> Option<String> {
    let head = &head[..head.len().min(HEAD)];
    if !is_name(key.as_bytes()) && !may_have_one(head) {
        return None;
    }
    // The name of the string that begins here, if it has one.
    let mut named = (usize::MAX, key.as_bytes());
    if let Some(start) = skip_spaces(head, 0) {
        named.0 = start;
    }
    let mut at = 0;
    while let Some(start) = memchr(b'"', &head[at..]).map(|found| at + found) {
        let end = end_of_string(head, start + 1);
        let text = &head[start + 1..end];
        at = (end + 1).min(head.len());
        if let Some(colon) = skip_spaces(head, at).filter(|next| head[*next] == b':') {
            at = colon + 1;
            named = (skip_spaces(head, at).unwrap_or(usize::MAX), text);
            continue;
        }
        if named.0 == start && !text.is_empty() && is_name(named.1) {
            return Some(format!("a string under `{}`", String::from_utf8_lossy(named.1)));
        }
        if let Some(kind) = kind(text) {
            return Some(kind.to_owned());
        }
    }
    None
}

/// Whether some quote is behind the name, or before the beginning, of a credential. It may be part of a string.
fn may_have_one(head: &[u8]) -> bool {
    memchr_iter(b'"', head).any(|quote| match head.get(quote + 1) {
        Some(b':') => is_name(&head[..quote]),
        Some(b'-' | b'A' | b'e' | b'g' | b'x') => {
            BEGINNINGS.iter().any(|beginning| head[quote + 1..].starts_with(beginning.as_bytes()))
        }
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            skip_spaces(head, quote + 1).is_some_and(|next| head[next] == b':') && is_name(&head[..quote])
        }
        _ => false,
    })
}

/// Where a string ends whose quote is before this place: at its other quote, or with the head.
fn end_of_string(head: &[u8], mut at: usize) -> usize {
    while let Some(found) = head.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        if head[at + found] == b'"' {
            return at + found;
        }
        at += found + 2;
    }
    head.len()
}

fn skip_spaces(head: &[u8], at: usize) -> Option<usize> {
    head[at..].iter().position(|b| !b.is_ascii_whitespace()).map(|found| at + found)
}

fn is_name(name: &[u8]) -> bool {
    let ends_with = |word: &&'static str| {
        let mut letters = name.iter().rev().filter(|b| !matches!(b, b'_' | b'-' | b' '));
        word.bytes().rev().all(|b| letters.next().is_some_and(|letter| letter.to_ascii_lowercase() == b))
    };
    name.last().is_some_and(|last| names(*last).iter().any(ends_with)) && !HARMLESS.iter().any(ends_with)
}

/// What kind of credential a string is by its form.
fn kind(text: &[u8]) -> Option<&'static str> {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|it| text.starts_with(it.as_bytes()));
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-';
    match text.first()? {
        b'-' if begins(&["-----BEGIN "]) => {
            let line = &text[..text.len().min(64)];
            line.windows(11).any(|words| words == b"PRIVATE KEY").then_some("a private key")
        }
        b'A' if begins(&["AKIA", "ASIA"]) && text.len() == 20 => {
            let is_id = text.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
            is_id.then_some("an access key id of AWS")
        }
        b'g' if begins(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"]) => {
            (text.len() >= 40 && text.iter().all(word)).then_some("a token of GitHub")
        }
        b'x' if begins(&["xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-", "xapp-"]) => {
            (text.len() >= 20 && text.iter().all(word)).then_some("a token of Slack")
        }
        b'e' if begins(&["eyJ"]) => {
            let mut parts = 0;
            let is_jwt = text.split(|b| *b == b'.').all(|part| {
                parts += 1;
                !part.is_empty() && part.iter().all(word)
            });
            (is_jwt && parts == 3).then_some("a JSON Web Token")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn seen(key: &str, value: &Value) -> Option<String> {
        look(key, value.to_string().as_bytes())
    }

    #[test]
    fn names_tell() {
        let login = json!({"user": "ana", "password": "hunter2"});
        assert_eq!(seen("k", &login).unwrap(), "a string under `password`");
        assert_eq!(
            seen("k", &json!([1, {"db": {"API-Key": "é\\\"x"}}])).unwrap(),
            "a string under `API-Key`"
        );
        for name in
            ["passwd", "accessToken", "aws_secret_access_key", "Authorization", "privateKey", "secret"]
        {
            assert!(seen("k", &json!({"a": 1, name: "x"})).is_some(), "{name}");
            assert_eq!(seen(name, &json!("x")).unwrap(), format!("a string under `{name}`"));
        }
        let spaced = br#" {"a" : [ ], "token" :  "x"}"#;
        assert_eq!(look("k", spaced).unwrap(), "a string under `token`");
    }

    #[test]
    fn forms_tell() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        let github = format!("ghp_{}", "a1".repeat(18));
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n-----END OPENSSH PRIVATE KEY-----\n";
        for (text, kind) in [
            (jwt, "a JSON Web Token"),
            ("AKIAIOSFODNN7EXAMPLE", "an access key id of AWS"),
            (&github, "a token of GitHub"),
            ("xoxb-1234567890-abcdefghij", "a token of Slack"),
            (key, "a private key"),
        ] {
            assert_eq!(seen("k", &json!({"a": [0, text]})).as_deref(), Some(kind));
            assert_eq!(seen("k", &json!(text)).as_deref(), Some(kind));
        }
    }

    #[test]
    fn what_looks_like_a_value_is_one() {
        for value in [
            json!({"password": "", "token": 5, "tokens": "x", "secret": null, "api_key": ["x"]}),
            json!({"next_token": "abc", "nextPageToken": "abc", "password_changed": "2026-11-21"}),
            json!(["password", "hunter2", "token"]),
            json!({"text": "\"password\": \"x\""}),
            json!("eyJust.a.sentence, it seems"),
            json!("eyJhbGciOiJIUzI1NiJ9"),
            json!("-----BEGIN CERTIFICATE-----"),
            json!("AKIAshort"),
            json!({}),
        ] {
            assert_eq!(seen("k", &value), None, "{value}");
        }
        assert_eq!(seen("token", &json!(5)), None);
        assert_eq!(seen("token", &json!({"a": "b"})), None);
        assert_eq!(look("token", b""), None);
        let far = json!([" ".repeat(HEAD), {"password": "x"}]);
        assert_eq!(seen("k", &far), None, "only the beginning is looked at");
    }

    proptest! {
        /// A head may stop anywhere, and be of anything.
        #[test]
        fn heads_stop_anywhere(head in proptest::collection::vec(any::<u8>(), 0..80), text in "[\"\\\\:{}a ]{0,40}") {
            look("token", &head);
            look("token", text.as_bytes());
        }
    }
}
