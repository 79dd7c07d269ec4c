//! A DAG as a Mermaid flow chart.

use super::{Child, Graph, Scope};

pub(super) fn draw(graph: &Graph) -> String {
    let mut text = "flowchart LR\n".to_owned();
    scope(graph, &Scope::of(graph), 1, &mut 0, &mut text);
    for (number, task) in graph.tasks().iter().enumerate() {
        for before in &task.upstream {
            // What only ties a teardown to its setup carries no work.
            let arrow = if task.setups.contains(before) { "-.->" } else { "-->" };
            text.push_str(&format!("  t{before} {arrow} t{number}\n"));
        }
    }
    text
}

fn scope(graph: &Graph, scope: &Scope, depth: usize, groups: &mut usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for child in &scope.children {
        match child {
            Child::Task(number) => {
                let task = &graph.tasks()[*number];
                let mut label = escaped(&task.label());
                if let Some(note) = task.note() {
                    label.push_str(&format!("<br/>{}", escaped(&note)));
                }
                let role = task.settings().role;
                // A parallelogram leans to the work for a setup, and away from it for a teardown.
                let (open, close) = match (role.is_teardown(), role == super::Role::Setup, task.is_mapped()) {
                    (true, ..) => ("[\\", "\\]"),
                    (_, true, _) => ("[/", "/]"),
                    (.., true) => ("[[", "]]"),
                    _ => ("[", "]"),
                };
                text.push_str(&format!("{indent}t{number}{open}\"{label}\"{close}\n"));
            }
            Child::Group(group) => {
                text.push_str(&format!("{indent}subgraph g{groups}[\"{}\"]\n", escaped(&group.label())));
                *groups += 1;
                self::scope(graph, group, depth + 1, groups, text);
                text.push_str(&format!("{indent}end\n"));
            }
        }
    }
}

/// A label between quotes: what could mean something to Mermaid or HTML becomes an entity.
fn escaped(label: &str) -> String {
    let mut text = String::new();
    for c in label.chars() {
        match c {
            c if c.is_alphanumeric() => text.push(c),
            '_' | '-' | '.' | '[' | ']' | ' ' | ',' | ':' => text.push(c),
            c => text.push_str(&format!("#{};", c as u32)),
        }
    }
    text
}
