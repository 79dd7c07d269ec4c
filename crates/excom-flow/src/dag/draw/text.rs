//! A DAG as lines of text.

use super::{Child, Graph, Scope};

/// The most tasks before a task that are named.
const NAMED: usize = 6;

pub(super) fn draw(graph: &Graph) -> String {
    let (levels, count) = (graph.levels(), graph.tasks().len());
    let mut lines = Vec::new();
    scope(graph, &Scope::of(graph), &levels, 0, &mut lines);
    let width = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or(0);
    let numbers = width(|line| line.number.len());
    let names = width(|line| line.name.chars().count());
    let mut text = format!("{}: {count} task{}\n", graph.dag_id(), if count == 1 { "" } else { "s" });
    for Line { number, name, rest } in lines {
        let line = format!("  {number:>numbers$}  {name:<names$}  {rest}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

struct Line {
    number: String,
    name: String,
    rest: String,
}

fn scope(graph: &Graph, scope: &Scope, levels: &[usize], depth: usize, lines: &mut Vec<Line>) {
    let indent = "  ".repeat(depth);
    for child in scope.in_order(&graph.edges(), levels) {
        match &scope.children[child] {
            Child::Task(number) => lines.push(task(graph, *number, levels[*number], &indent)),
            Child::Group(group) => {
                let rest = if group.mapped { "a group, once for each element" } else { "a group" };
                let name = format!("{indent}{}", group.label());
                lines.push(Line { number: String::new(), name, rest: rest.to_owned() });
                self::scope(graph, group, levels, depth + 1, lines);
            }
        }
    }
}

fn task(graph: &Graph, number: usize, level: usize, indent: &str) -> Line {
    let task = &graph.tasks()[number];
    let mut before: Vec<&str> = task.upstream().collect();
    let more = before.len().saturating_sub(NAMED);
    before.truncate(NAMED);
    let mut rest = String::new();
    if !before.is_empty() {
        rest = format!("after {}", before.join(", "));
        if more > 0 {
            rest.push_str(&format!(" and {more} more"));
        }
    }
    if let Some(note) = task.note() {
        rest = format!("{rest}  ({note})").trim_start().to_owned();
    }
    Line { number: (level + 1).to_string(), name: format!("{indent}{}", task.label()), rest }
}
