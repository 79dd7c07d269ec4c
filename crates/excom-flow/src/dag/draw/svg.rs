//! A DAG as an SVG picture that stands by itself: no script, no font and no style from elsewhere.

use std::fmt::Write as _;

use super::layout::{self, Layout, Rect, Span};
use super::{Graph, Role, Scope, Task};

/// The width of a character of the labels, in a font whose characters are all as wide.
const CHARACTER: f64 = 7.9;
/// The width of a character of the notes.
const SMALL: f64 = 6.7;
/// Around everything.
const MARGIN: f64 = 16.0;

const STYLE: &str = "\
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:13px;fill:#1f2430}\
.note{font-size:11px;fill:#5b6472}\
.page{fill:#ffffff}\
.task{fill:#eef3fb;stroke:#5179b8;stroke-width:1.2}\
.behind{fill:#eef3fb;stroke:#5179b8;stroke-width:1}\
.setup{fill:#e9f6ec;stroke:#3d8f55}\
.teardown{fill:#fbf0e6;stroke:#b9742b}\
.group{fill:#7a869a;fill-opacity:.08;stroke:#7a869a;stroke-dasharray:4 3}\
.edge{fill:none;stroke:#7a869a;stroke-width:1.2}\
.tie{stroke-dasharray:3 3}\
.tip{fill:#7a869a}\
@media (prefers-color-scheme:dark){\
text{fill:#e6e9ef}.note{fill:#a4adbb}.page{fill:#16191f}\
.task,.behind{fill:#22304a;stroke:#7fa3dc}\
.setup{fill:#1d3526;stroke:#6dbb84}.teardown{fill:#3a2a1a;stroke:#d99a55}}";

pub(super) fn draw(graph: &Graph) -> String {
    let layout = arranged(graph);
    let (width, height) = (layout.width + 2.0 * MARGIN, layout.height + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n<g transform=\"translate({MARGIN} {MARGIN})\">\n",
        escaped(graph.dag_id())
    );
    groups(graph, &layout, &mut svg);
    for ((from, to), spans) in &layout.edges {
        let tie = graph.tasks()[*to].setups.iter().any(|setup| *setup as usize == *from);
        let class = if tie { "edge tie" } else { "edge" };
        push(
            &mut svg,
            format_args!("<path class=\"{class}\" marker-end=\"url(#tip)\" d=\"{}\"/>\n", path(spans)),
        );
    }
    for (number, rect) in &layout.tasks {
        task(&graph.tasks()[*number], *rect, &mut svg);
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// Where everything lies.
pub(super) fn arranged(graph: &Graph) -> Layout {
    let sizes: Vec<(f64, f64)> = graph.tasks().iter().map(size).collect();
    let title = |group: &Scope| characters(&group.label()) * CHARACTER + 24.0;
    layout::of(&Scope::of(graph), &sizes, &graph.edges(), &graph.levels(), &title)
}

fn size(task: &Task) -> (f64, f64) {
    let note = task.note();
    let note_width = note.as_deref().map_or(0.0, characters) * SMALL;
    let width = (characters(&task.label()) * CHARACTER).max(note_width) + 24.0;
    (width, if note.is_some() { 46.0 } else { 32.0 })
}

/// How many characters wide a text is; those of most other scripts may be twice as wide.
fn characters(text: &str) -> f64 {
    text.chars().map(|c| if c.is_ascii() { 1.0 } else { 2.0 }).sum()
}

/// The boxes of groups, the outermost first.
fn groups(graph: &Graph, layout: &Layout, svg: &mut String) {
    let mut groups: Vec<(&String, &Rect)> = layout.groups.iter().collect();
    groups.sort_by_key(|(id, _)| id.matches('.').count());
    for (id, rect) in groups {
        let mapped = graph.groups().iter().any(|group| &*group.id == id);
        push(svg, format_args!("{}\n", boxed("group", *rect)));
        let (x, y) = (rect.x + 12.0, rect.y + 18.0);
        let label = escaped(&super::label(id, mapped));
        push(svg, format_args!("<text class=\"note\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>\n"));
    }
}

fn task(task: &Task, rect: Rect, svg: &mut String) {
    let class = match task.settings().role {
        Role::Work => "task",
        Role::Setup => "task setup",
        Role::Teardown | Role::TeardownThatCounts => "task teardown",
    };
    if task.is_mapped() {
        // A second sheet below the first: there are several.
        let below = Rect { x: rect.x + 3.0, y: rect.y + 3.0, ..rect };
        push(svg, format_args!("{}\n", boxed(&class.replacen("task", "behind", 1), below)));
    }
    push(svg, format_args!("{}\n", boxed(class, rect)));
    let (x, middle) = (rect.x + rect.width / 2.0, rect.y + rect.height / 2.0);
    let note = task.note();
    let y = if note.is_some() { middle - 3.0 } else { middle + 4.5 };
    let label = escaped(&task.label());
    push(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>\n"));
    if let Some(note) = note {
        let (y, note) = (middle + 13.0, escaped(&note));
        push(
            svg,
            format_args!(
                "<text class=\"note\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{note}</text>\n"
            ),
        );
    }
}

fn boxed(class: &str, rect: Rect) -> String {
    let Rect { x, y, width, height } = rect;
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\"/>"
    )
}

/// Level pieces, and bends between them.
fn path(spans: &[Span]) -> String {
    let mut path = String::new();
    let mut last: Option<Span> = None;
    for span in spans {
        match last {
            None => push(&mut path, format_args!("M{:.1} {:.1}", span.from, span.y)),
            Some(last) => {
                let half = ((span.from - last.to) / 2.0).abs().max(16.0);
                let (out, into) = (last.to + half, span.from - half);
                let (x, y) = (span.from, span.y);
                push(&mut path, format_args!("C{out:.1} {:.1} {into:.1} {y:.1} {x:.1} {y:.1}", last.y));
            }
        }
        if span.to > span.from {
            push(&mut path, format_args!("H{:.1}", span.to));
        }
        last = Some(*span);
    }
    path
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML knows no control characters.
            c if c.is_control() => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}

fn push(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = svg.write_fmt(text);
}
