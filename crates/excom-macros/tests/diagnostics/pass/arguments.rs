extern crate excom_flow as excom;

use excom::prelude::*;

#[task]
fn all(a: PathBuf, b: String, c: Option<String>, d: Option<i64>, e: f64, f: Vec<u8>, g: Option<PathBuf>) -> u8 {
    let _ = (a, b, c, d, e, f, g);
    0
}

#[task]
fn text() -> String {
    String::new()
}

#[task]
fn maybe() -> Option<i64> {
    None
}

#[dag]
fn literals(dag: &Dag, file: Param<PathBuf>, number: Param<i64>) {
    all(dag, "a", "b", "c", 5, 1.5, vec![1], "g");
    all(dag, PathBuf::new(), String::new(), None, None, 2.0, vec![], Some(PathBuf::new()));
    all(dag, file, text(dag), text(dag), number, 2.0, Vec::new(), file);
    let maybe = maybe(dag);
    all(dag, file, "b", Some(String::new()), maybe, 2.0, Vec::new(), None);
}

fn part(dag: &Dag, text: XComArg<String>) -> XComArg<u8> {
    let all = all(dag, "a", text, text, 1, 1.0, vec![], None);
    dag.task(all).after(text);
    all
}

fn main() {
    let _ = (literals(), part as fn(&Dag, XComArg<String>) -> XComArg<u8>);
}
