extern crate excom_flow as excom;

use excom::prelude::*;

#[task]
fn numbers() -> Vec<i64> {
    vec![1, 2]
}

#[task]
fn double(n: i64) -> i64 {
    2 * n
}

#[task]
fn shout(text: String) -> String {
    text
}

#[task]
fn total(ns: Vec<i64>) -> i64 {
    ns.iter().sum()
}

#[dag]
fn many_where_one_is_taken(dag: &Dag) {
    double(dag, double(dag, expand(numbers(dag))));
}

#[dag]
fn one_where_many_are_taken(dag: &Dag) {
    total(dag, double(dag, 1));
}

#[dag]
fn elements_of_another_type(dag: &Dag) {
    shout(dag, expand(numbers(dag)));
}

#[dag]
fn no_sequence(dag: &Dag) {
    double(dag, expand(double(dag, 1)));
}

#[dag]
fn map_to_another_type(dag: &Dag) {
    double(dag, expand(numbers(dag).map(|n| n.to_string())));
}

#[dag]
fn an_expanded_argument_is_not_shared(dag: &Dag) {
    double::partial().n(expand(numbers(dag))).expand_kwargs(dag, vec![[("n", 1)]]);
}

#[dag]
fn an_argument_inside_of_a_literal(dag: &Dag) {
    double::partial().expand_kwargs(dag, vec![[("n", double(dag, 1))]]);
}

#[dag]
fn a_group_gives_what_tasks_give(dag: &Dag) {
    dag.expand_group("g", expand(numbers(dag)), |dag, n: XComArg<i64>| (double(dag, n), 5));
}

fn main() {}
