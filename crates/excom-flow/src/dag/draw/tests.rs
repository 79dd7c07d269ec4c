//! What the pictures show, and that nothing in them lies on something else.

use super::super::{Dag, DagDefinition};
use super::layout::Rect;
use super::*;
use crate::arg::XComArg;
use crate::operator::Bash;
use crate::sequence::expand;

/// Groups in groups, a mapped group, a mapped task, a setup with its teardown, and a rule.
fn rich() -> Graph {
    DagDefinition::new("rich", |dag: &Dag| {
        let start = dag.bash("start", "true");
        let read = dag.bash("read", "true").after(start);
        let load = dag.group("load", |dag| {
            let rows = dag.bash("rows", "true").after(read);
            let _ = dag.group("deep", |dag| {
                dag.bash("check", "true").after(rows);
            });
        });
        let stations = dag.expand_group("station", expand(["a", "b"]), |dag, station: XComArg<String>| {
            let peak = dag.bash("peak", "true").env("S", station);
            dag.bash("mean", "true").after(peak).after(read);
        });
        let all = dag.bash("all", "true").after(&load).after(&stations).trigger_rule(TriggerRule::AllDone);
        dag.bash("far", "true").after(start);
        dag.bash("stop", "true").after(all).teardown_of(start);
    })
    .graph()
    .unwrap()
}

/// Many tasks in an order that no layer likes.
fn many() -> Graph {
    DagDefinition::new("many", |dag: &Dag| {
        let mut tasks: Vec<crate::dag::Handle<'_, Bash>> = Vec::new();
        for number in 0..60_usize {
            let mut task = dag.bash(&format!("t{number}"), "true");
            for before in [number / 3, number * 7 % 11, number.saturating_sub(9)] {
                if before < number {
                    task = task.after(tasks[before]);
                }
            }
            tasks.push(task);
        }
    })
    .graph()
    .unwrap()
}

fn bottom(rect: Rect) -> f64 {
    rect.y + rect.height
}

fn overlap(a: Rect, b: Rect) -> bool {
    a.x < b.right() && b.x < a.right() && a.y < bottom(b) && b.y < bottom(a)
}

fn within(inner: Rect, outer: Rect) -> bool {
    inner.x >= outer.x
        && inner.y >= outer.y
        && inner.right() <= outer.right()
        && bottom(inner) <= bottom(outer)
}

#[test]
fn nothing_lies_on_something_else() {
    for graph in [rich(), many()] {
        let layout = svg::arranged(&graph);
        let page = Rect { x: -0.01, y: -0.01, width: layout.width + 0.02, height: layout.height + 0.02 };
        let tasks: Vec<(usize, Rect)> = layout.tasks.iter().map(|(task, rect)| (*task, *rect)).collect();
        assert_eq!(tasks.len(), graph.tasks().len());
        for (i, (number, rect)) in tasks.iter().enumerate() {
            let id = graph.tasks()[*number].id();
            assert!(within(*rect, page), "{id} is outside: {rect:?} of {page:?}");
            for (other, other_rect) in &tasks[i + 1..] {
                assert!(!overlap(*rect, *other_rect), "{id} lies on {}", graph.tasks()[*other].id());
            }
            for (group, group_rect) in &layout.groups {
                let inside = id.starts_with(&format!("{group}."));
                assert_eq!(within(*rect, *group_rect), inside, "{id} and the group {group}");
                assert!(inside || !overlap(*rect, *group_rect), "{id} lies on the group {group}");
            }
        }
        for (group, rect) in &layout.groups {
            assert!(within(*rect, page), "{group} is outside");
        }
    }
}

#[test]
fn edges_join_their_tasks_and_pass_below_none() {
    for graph in [rich(), many()] {
        let layout = svg::arranged(&graph);
        let edges: usize = graph.tasks().iter().map(|task| task.upstream.len()).sum();
        assert_eq!(layout.edges.len(), edges);
        for ((from, to), spans) in &layout.edges {
            let (from, to) = (layout.tasks[from], layout.tasks[to]);
            let (first, last) = (spans.first().unwrap(), spans.last().unwrap());
            assert!((first.from - from.right()).abs() < 0.01 && (last.to - to.x).abs() < 0.01);
            for pair in spans.windows(2) {
                assert!(pair[1].from >= pair[0].to - 0.01, "it runs back: {spans:?}");
            }
            for span in spans {
                let crossed = layout.tasks.values().find(|rect| {
                    span.y > rect.y && span.y < bottom(**rect) && span.from < rect.x && span.to > rect.right()
                });
                assert!(crossed.is_none(), "{span:?} crosses {crossed:?}");
            }
        }
    }
}

#[test]
fn text_has_a_line_for_each_task() {
    assert_eq!(
        rich().to_text(),
        "\
rich: 9 tasks
  1  start      (setup)
  2  read       after start
     station[]  a group, once for each element
  1    peak[]
  3    mean[]   after read, station.peak
  2  far        after start
     load       a group
  3    rows     after read
       deep     a group
  4      check  after load.rows
  5  all        after load.deep.check, station.mean  (all_done)
  6  stop       after start, all  (teardown)
"
    );
}

#[test]
fn mermaid_has_groups_and_escapes_labels() {
    let text = rich().to_mermaid();
    for part in [
        "flowchart LR\n",
        "  t0[/\"start<br/>setup\"/]\n",
        "  subgraph g0[\"load\"]\n    t2[\"rows\"]\n    subgraph g1[\"deep\"]\n      t3[\"check\"]\n    end\n  end\n",
        "  subgraph g2[\"station[]\"]\n    t4[[\"peak[]\"]]\n",
        "[\"all<br/>all_done\"]",
        "  t0 -.-> t8\n",
        "  t0 --> t1\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert_eq!(text.matches("subgraph").count(), text.lines().filter(|line| line.trim() == "end").count());
}

#[test]
fn what_could_be_markup_is_text() {
    let graph = DagDefinition::new("<b>&\"", |dag: &Dag| {
        dag.bash("a\"]<script>", "true");
    })
    .graph()
    .unwrap();
    let svg = graph.to_svg();
    assert!(
        !svg.contains("<script")
            && svg.contains("&lt;script&gt;")
            && svg.contains("<title>&lt;b&gt;&amp;&quot;")
    );
    let mermaid = graph.to_mermaid();
    assert!(mermaid.contains("t0[\"a#34;]#60;script#62;\"]"), "{mermaid}");
}

#[test]
fn an_empty_dag_has_a_picture_too() {
    let graph = DagDefinition::new("empty", |_| ()).graph().unwrap();
    assert_eq!(graph.to_text(), "empty: 0 tasks\n");
    assert!(graph.to_svg().contains("viewBox=\"0 0 32 32\""));
}
