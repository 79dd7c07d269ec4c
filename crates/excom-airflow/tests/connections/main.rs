//! Connections are read as a real Airflow's API server reads them, to the last byte of its answer.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::path::Path;

use excom_airflow::connections::{Connection, in_file};
use excom_testkit::python::Python;
use excom_testkit::skip::skipped;
use serde_json::{Value as Json, json};

/// How many texts are put together at random besides.
const RANDOM: u64 = 5000;

/// As environment variables have them.
const TEXTS: &[&str] = &[
    "postgresql://login:password@host:5432/schema",
    "postgres://login:password@host:5432/schema?a=b&c=d",
    "  mysql://host \n",
    "http://",
    "http://host",
    "http://host/",
    "http://host:/",
    "http://host:0",
    "http://host:00080",
    "http://host:65535",
    "http://host:65536",
    "http://host:-1",
    "http://host:x",
    "http://host: 80",
    "http://@host",
    "http://:@host",
    "http://login@host",
    "http://login:@host",
    "http://:password@host",
    "http://a@b@host",
    "http://a:b:c@host",
    "http://l%40gin:p%2Fss%3Aw%20rd%25@h%C3%B6st/sch%2Fema",
    "http://lögin:pässword@hÖST/schéma",
    "http://login:p+w@host/a+b",
    "http://%C3:%FF@host/%80é",
    "http://100%:50%zz@host",
    "HTTP://Login:PassWord@HOST:80/Schema",
    "http://HOST%2DNAME",
    "google-cloud-platform://?key_path=%2Fkeys%2Fkey.json&scope=a,b&num_retries=5",
    "google_cloud_platform://host",
    "my-own-type+x.y://host",
    "9p://host",
    "//host/schema",
    "host",
    "host:80",
    "://host",
    "mailto:somebody",
    "sqlite:///tmp/file.db",
    "sqlite:////tmp/file.db",
    "sqlite://%2Ftmp%2Ffile.db",
    "sqlite://%2FTmp%2FFile.db:80/x",
    "mysql://login:password@%2Fcloudsql%2Fproject%3Aregion%3Aname/schema",
    "http://https://host.example:443/path",
    "http://https://login:password@host/path",
    "http://login:password@https://host/path",
    "spark://local://*",
    "Spark://Yarn://host",
    "spark-sql://spark://host:7077?deploy-mode=cluster",
    "http://host?callback=http://other",
    "http://host?callback=http%3A%2F%2Fother",
    "http://a://b://c",
    "http://http://http",
    "https://https://host",
    "http://[::1]:8080/x",
    "http://[FE80::1%25eth0]:80",
    "http://[fe80::1%Eth0]",
    "http://[v1.fe80]/",
    "http://login:password@[2001:DB8::1]",
    "http://[127.0.0.1]/",
    "http://[host]/",
    "http://login:pa[ss@host",
    "http://login:pa]ss@host",
    "http://login:%5B%5D@host",
    "http://host/a/b/c;d=e",
    "http://host/path#fragment",
    "http://host#fragment?a=b",
    "http://host?a=b#fragment",
    "http://host/?",
    "http://host?&",
    "http://host?a",
    "http://host?a=&b=+&c=%20x+y",
    "http://host?a=1&b=1.0&c=1e3&d=true&e=null&f=[1,2]&g={\"h\":\"%C3%A9\"}&i=-0&j=-0.0",
    "http://host?a=True&b=None&c=007&d=1_000&e=%22text%22&f='x'&g=+1",
    "http://host?a=NaN&b=Infinity&c=-Infinity&d=nan",
    "http://host?a=123456789012345678901234567890&b=0.1000&c=1e400",
    "http://host?a=1&b=2&a=3",
    "http://host?é=%F0%9F%98%80&b=%FF&c=%22%5Cu00e9%22",
    "http://host?a=b;c=d",
    "http://host?a==b=",
    "http://host?__extra__=%7B%22a%22%3A+%5B1%2C+null%5D%7D",
    "http://host?__extra__=%7B%7D&a=b",
    "http://host?__extra__=",
    "http://host?__extra__=text",
    "http://host?__extra__=%5B1%5D",
    "http://ho st/sch ema?a b=c d",
    "ht\ntp://ho\tst",
    "\u{1}http://host",
    "http://host\\path",
    "http://login\\:password@host",
    "http://host/path?a=/b?c:d@e",
    "{}",
    r#"{"conn_type": "http"}"#,
    r#"{"conn_type": "postgresql", "host": "h", "login": "l", "password": "p", "schema": "s", "port": 5432, "extra": {"a": "b"}}"#,
    r#"{"conn_type": "google-cloud-platform", "extra": "{\"a\": 1}"}"#,
    r#"{"conn_type": "http", "extra": {"a": [1.50, "é", null, {"b": true}]}}"#,
    r#"{"conn_type": "http", "extra": "", "port": "", "host": "", "login": "", "password": "", "schema": ""}"#,
    r#"{"conn_type": "http", "extra": {}, "port": 0}"#,
    r#"{"conn_type": "http", "extra": null, "port": null, "host": null}"#,
    r#"{"conn_type": "http", "extra": [1]}"#,
    r#"{"conn_type": "http", "extra": "text"}"#,
    r#"{"conn_type": "http", "extra": "null"}"#,
    r#"{"conn_type": "http", "port": "8080"}"#,
    r#"{"conn_type": "http", "port": " 80_80 "}"#,
    r#"{"conn_type": "http", "port": "x"}"#,
    r#"{"conn_type": "http", "description": "what it is for"}"#,
    r#"{"conn_type": "http", "uri": "http://host"}"#,
    r#"{"uri": "http://host/s"}"#,
    r#"{"conn_type": "http", "hots": "host"}"#,
    r#"{"conn_type": "http", "password": 12345}"#,
    r#"{"conn_type": null, "host": "h"}"#,
    r#"{"conn_type": "", "host": "h"}"#,
    r#"{"conn_type": "http", "conn_id": "c"}"#,
    r#"{"conn_type": "http", "#,
    r#"  {"conn_type": "http", "login": "ü😀"}  "#,
];

/// Texts of such pieces, put together in the order of the number.
fn put_together(mut number: u64) -> String {
    let one_of = |of: &[&str]| {
        // SplitMix64.
        number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        of[((mixed ^ (mixed >> 31)) % of.len() as u64) as usize].to_owned()
    };
    let scheme = ["http://", "My-Db://", "postgresql://", "//", "", "a_b://", "x+y.z://", ":", " ://"];
    let second = ["", "", "", "", "https://", "HTTP://", "://"];
    let user = [
        "",
        "",
        "u@",
        "u:p@",
        ":p@",
        "u:@",
        "@",
        "a@b:c@",
        "%40:%3A%2F@",
        "é:%C3%A9@",
        "u:%5Bp%5D@",
        "u/:p@",
        "u:p#@",
    ];
    let host = [
        "",
        "h",
        "H.Example",
        "%2FTmp%2Fs",
        "[::1]",
        "[::1",
        "[FE80::1%25A]",
        "é",
        "a%zzB",
        "h h",
        "h\\p",
        "1.2.3.4",
        "*",
    ];
    let port = ["", "", ":", ":0", ":80", ":080", ":99999", ":x", ":+1", ":1:2", ": 1", ":٣"];
    let path = ["", "/", "/s", "/a/b", "/%2F", "//", "/é%FF", ";a", "/a:b@c", "/a b"];
    let query = [
        "",
        "",
        "?",
        "?a=1",
        "?a=b&a=c",
        "?a",
        "?a=%7B%22b%22%3A1.0%7D",
        "?__extra__=%7B%22k%22%3A1%7D",
        "?__extra__=1",
        "?a=+%2B&é=é",
        "?a=\"x\"",
        "?&&=&=x",
        "?u=http://v",
        "?a=[1,{}]&b=tru",
    ];
    let behind = ["", "", "", "#f", "#?a=b", "\n", "\t", " "];
    [&scheme[..], &second, &user, &host, &port, &path, &query, &behind].map(one_of).concat()
}

/// As files have them.
fn files() -> Vec<Json> {
    vec![
        json!("postgresql://login:p%40ss@host:5432/schema?a=1"),
        json!(["http://host"]),
        json!(["http://host", "http://other"]),
        json!([]),
        json!(5),
        json!(null),
        json!(""),
        json!("{\"conn_type\": \"http\"}"),
        json!({"conn_type": "http", "host": "h", "login": "l", "password": "p", "schema": "s", "port": 80, "extra": {"a": 1.5}}),
        json!({"conn_type": "http", "port": "80", "extra": "{\"a\": 1}"}),
        json!({"conn_type": "http", "extra_dejson": {"a": {"b": [null]}}}),
        json!({"conn_type": "http", "extra_dejson": {}, "extra": "{}"}),
        json!({"conn_type": "http", "conn_id": "c", "description": "d", "team_name": null}),
        json!({"conn_type": "http", "conn_id": "d"}),
        json!({"uri": "http://login:password@host"}),
        json!({"uri": "http://host", "host": "other"}),
        json!({"conn_type": "http", "extra": "[]"}),
        json!({"conn_type": "http", "unknown": 1}),
        json!({"host": "h"}),
    ]
}

fn told(read: excom_core::Result<Connection>) -> Option<String> {
    read.ok().map(|connection| serde_json::to_string(&connection.answer("c")).unwrap())
}

#[test]
fn connections_are_read_as_airflows_server_reads_them() {
    let python = match Python::with_airflow() {
        Ok(python) => python,
        Err(why) => return skipped("connections_are_read_as_airflows_server_reads_them", &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let [rows, result] = ["rows.jsonl", "result.jsonl"].map(|name| folder.path().join(name));
    let random = (0..RANDOM).map(put_together);
    let texts = TEXTS.iter().map(|&text| text.to_owned()).chain(random);
    let texts = texts.filter(|text| !text.trim().is_empty());
    let texts = texts.map(|text| (json!({"text": text}), told(Connection::parse("c", &text))));
    let files = files().into_iter().map(|value| {
        let found = in_file("f", &json!({"c": value}).to_string());
        (json!({"file": value}), told(found.map(|mut found| found.remove("c").unwrap())))
    });
    let ours: Vec<(Json, Option<String>)> = texts.chain(files).collect();
    fs::write(&rows, ours.iter().map(|(row, _)| format!("{row}\n")).collect::<String>()).unwrap();
    let output = python
        .run("import sys, connections; connections.answered(*sys.argv[1:])")
        .args([&rows, &result])
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connections"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = fs::read_to_string(result).unwrap();
    let theirs: Vec<Option<String>> =
        theirs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(theirs.len(), ours.len());
    let read = ours.iter().filter(|(_, told)| told.is_some()).count();
    assert!(read > 1000 && ours.len() - read > 1000, "{read} of {} are connections", ours.len());
    let wrong: Vec<String> = ours
        .iter()
        .zip(&theirs)
        .filter(|((_, ours), theirs)| ours != *theirs)
        .map(|((row, ours), theirs)| format!("{row}\n  airflow: {theirs:?}\n  excom:   {ours:?}\n"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
}
