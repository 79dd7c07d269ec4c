//! Where things lie in a picture of a DAG: in layers from left to right, by the longest way to each.
//!
//! A group is laid out by itself and is then one box in what is around it, so that boxes never overlap. An edge
//! that passes a layer has a place of its own there, so that it never runs below a box. Few crossings come from
//! ordering each layer by the mean place of its neighbours (the barycenter), a few times in both directions
//! (Sugiyama, Tagawa and Toda, 1981).

use std::collections::{BTreeMap, BTreeSet};

use super::{Child, Scope};

/// Between two layers.
const GAP_X: f64 = 44.0;
/// Between two boxes of a layer.
const GAP_Y: f64 = 16.0;
/// Between the places of two edges that pass.
const GAP_LANES: f64 = 8.0;
/// The height of the place of an edge that passes.
const LANE: f64 = 4.0;
/// Around what is in a group.
const PADDING: f64 = 14.0;
/// Above what is in a group, for its label.
const TITLE: f64 = 26.0;
/// How often layers are ordered and moved.
const SWEEPS: usize = 8;

/// A box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    fn moved(self, x: f64, y: f64) -> Self {
        Self { x: self.x + x, y: self.y + y, ..self }
    }

    pub(super) fn right(self) -> f64 {
        self.x + self.width
    }
}

/// A level piece of an edge; between two of them the edge bends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) y: f64,
}

/// Where everything lies.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// By task.
    pub(super) tasks: BTreeMap<usize, Rect>,
    /// By id.
    pub(super) groups: BTreeMap<String, Rect>,
    /// By the tasks at both ends.
    pub(super) edges: BTreeMap<(usize, usize), Vec<Span>>,
}

/// Lays out a scope. `sizes` are those of the tasks, `edges` and `levels` are
/// those of the DAG, and `title` is the least width of a group.
pub(super) fn of(
    scope: &Scope,
    sizes: &[(f64, f64)],
    edges: &[(usize, usize)],
    levels: &[usize],
    title: &impl Fn(&Scope) -> f64,
) -> Layout {
    let inner: Vec<Layout> = scope
        .children
        .iter()
        .map(|child| match child {
            Child::Task(task) => {
                let (width, height) = sizes[*task];
                let rect = Rect { x: 0.0, y: 0.0, width, height };
                Layout { width, height, tasks: BTreeMap::from([(*task, rect)]), ..Layout::default() }
            }
            Child::Group(group) => framed(of(group, sizes, edges, levels, title), &group.id, title(group)),
        })
        .collect();
    let mut layers = Layers::new(scope, &inner, edges, levels);
    layers.reduce_crossings();
    layers.place();
    layers.finish(inner, edges)
}

/// A group's layout with the box around it.
fn framed(inner: Layout, id: &str, least: f64) -> Layout {
    let mut layout = Layout {
        width: (inner.width + 2.0 * PADDING).max(least),
        height: inner.height + PADDING + TITLE,
        ..Layout::default()
    };
    let frame = Rect { x: 0.0, y: 0.0, width: layout.width, height: layout.height };
    layout.take(inner, PADDING, TITLE);
    layout.groups.insert(id.to_owned(), frame);
    layout
}

impl Layout {
    /// Takes over what another has, moved.
    fn take(&mut self, other: Self, x: f64, y: f64) {
        self.tasks.extend(other.tasks.into_iter().map(|(task, rect)| (task, rect.moved(x, y))));
        self.groups.extend(other.groups.into_iter().map(|(id, rect)| (id, rect.moved(x, y))));
        for (edge, spans) in other.edges {
            let moved = spans.into_iter().map(|s| Span { from: s.from + x, to: s.to + x, y: s.y + y });
            self.edges.entry(edge).or_default().extend(moved);
        }
    }
}

/// Something in a layer: a child of the scope, or the place of an edge that passes. The children come first,
/// each with its own number.
#[derive(Debug)]
struct Item {
    layer: usize,
    width: f64,
    height: f64,
    /// The middle.
    y: f64,
    /// What it is joined to in the layers before and behind it.
    before: Vec<usize>,
    behind: Vec<usize>,
}

/// A way through layers: from a child, or from outside, to a child, or out.
type Way = (Option<usize>, Option<usize>);

struct Layers {
    items: Vec<Item>,
    /// The items of each layer, in order.
    layers: Vec<Vec<usize>>,
    /// The child that each task is in.
    child_of: BTreeMap<usize, usize>,
    /// The places of the edges that pass, by where they come from and go to.
    lanes: BTreeMap<Way, Vec<usize>>,
    /// The left and right of each layer.
    columns: Vec<(f64, f64)>,
}

impl Layers {
    fn new(scope: &Scope, inner: &[Layout], edges: &[(usize, usize)], levels: &[usize]) -> Self {
        let child_of: BTreeMap<usize, usize> = (0..)
            .zip(&scope.children)
            .flat_map(|(child, held)| held.tasks().into_iter().map(move |task| (task, child)))
            .collect();
        let in_order = scope.in_order(edges, levels);
        let mut place = vec![0; inner.len()];
        in_order.iter().enumerate().for_each(|(at, child)| place[*child] = at);
        let ways: BTreeSet<Way> = edges
            .iter()
            .map(|(from, to)| (child_of.get(from).copied(), child_of.get(to).copied()))
            .filter(|(from, to)| from != to)
            .collect();
        let forward = |from: usize, to: usize| place[from] < place[to];
        let mut layer = vec![0; inner.len()];
        for to in in_order {
            let before = ways.iter().filter_map(|way| match way {
                (Some(from), Some(end)) if *end == to && forward(*from, to) => Some(layer[*from] + 1),
                _ => None,
            });
            layer[to] = before.max().unwrap_or(0);
        }
        let count = layer.iter().max().map_or(0, |last| last + 1);
        let mut layers = Self {
            items: Vec::new(),
            layers: vec![Vec::new(); count],
            child_of,
            lanes: BTreeMap::new(),
            columns: Vec::new(),
        };
        for (child, layout) in inner.iter().enumerate() {
            layers.add(layer[child], layout.width, layout.height);
        }
        // What comes from one child passes a layer in one place, as does what comes from outside to one.
        let mut shared = BTreeMap::new();
        for way in ways {
            let (end, passed) = match way {
                (Some(from), Some(to)) if forward(from, to) => (Ok(from), layer[from] + 1..layer[to]),
                (Some(from), None) => (Ok(from), layer[from] + 1..count),
                (None, Some(to)) => (Err(to), 0..layer[to]),
                _ => continue,
            };
            let mut lane = |at| *shared.entry((end, at)).or_insert_with(|| layers.add(at, 0.0, LANE));
            let lanes: Vec<usize> = passed.map(&mut lane).collect();
            let all: Vec<usize> = way.0.into_iter().chain(lanes.iter().copied()).chain(way.1).collect();
            for pair in all.windows(2) {
                if !layers.items[pair[0]].behind.contains(&pair[1]) {
                    layers.items[pair[0]].behind.push(pair[1]);
                    layers.items[pair[1]].before.push(pair[0]);
                }
            }
            layers.lanes.insert(way, lanes);
        }
        layers
    }

    fn add(&mut self, layer: usize, width: f64, height: f64) -> usize {
        let number = self.items.len();
        let (before, behind) = (Vec::new(), Vec::new());
        self.items.push(Item { layer, width, height, y: 0.0, before, behind });
        self.layers[layer].push(number);
        number
    }

    /// Orders each layer by the mean place of its neighbours, and keeps the order with the fewest crossings.
    fn reduce_crossings(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for sweep in 0..SWEEPS {
            let back = sweep % 2 == 1;
            let mut numbers: Vec<usize> = (0..self.layers.len()).collect();
            if back {
                numbers.reverse();
            }
            for number in numbers {
                let places = self.places();
                let mut layer = std::mem::take(&mut self.layers[number]);
                let mean = |item: &usize| {
                    let item_of = &self.items[*item];
                    let joined = if back { &item_of.behind } else { &item_of.before };
                    let sum: usize = joined.iter().map(|other| places[*other]).sum();
                    if joined.is_empty() { places[*item] as f64 } else { sum as f64 / joined.len() as f64 }
                };
                layer.sort_by(|a, b| mean(a).total_cmp(&mean(b)));
                self.layers[number] = layer;
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    /// The place of each item in its layer.
    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.items.len()];
        for layer in &self.layers {
            layer.iter().enumerate().for_each(|(place, item)| places[*item] = place);
        }
        places
    }

    fn crossings(&self) -> usize {
        let places = self.places();
        let mut crossings = 0;
        for layer in &self.layers {
            let joints: Vec<(usize, usize)> = layer
                .iter()
                .flat_map(|item| self.items[*item].behind.iter().map(|next| (places[*item], places[*next])))
                .collect();
            for (i, a) in joints.iter().enumerate() {
                crossings += joints[i + 1..]
                    .iter()
                    .filter(|b| (a.0 < b.0 && a.1 > b.1) || (a.0 > b.0 && a.1 < b.1))
                    .count();
            }
        }
        crossings
    }

    /// Gives each item its place: layers side by side, and in each layer as near to the neighbours as its order
    /// allows.
    fn place(&mut self) {
        let mut x = 0.0;
        for layer in &self.layers {
            let width = layer.iter().map(|item| self.items[*item].width).fold(0.0, f64::max);
            self.columns.push((x, x + width));
            x += width + GAP_X;
        }
        for sweep in 0..=SWEEPS {
            let mut numbers: Vec<usize> = (0..self.layers.len()).collect();
            if sweep % 2 == 1 {
                numbers.reverse();
            }
            for number in numbers {
                let wanted: Vec<f64> = self.layers[number]
                    .iter()
                    .map(|item| {
                        let item = &self.items[*item];
                        let joined = || item.before.iter().chain(&item.behind);
                        let count = joined().count();
                        let sum: f64 = joined().map(|other| self.items[*other].y).sum();
                        if count == 0 || sweep == 0 { item.y } else { sum / count as f64 }
                    })
                    .collect();
                self.settle(number, &wanted);
            }
        }
    }

    /// Puts a layer's items as near to where they are wanted as their order and the gaps between them allow: an
    /// isotonic regression, by pooling neighbours that are in each other's way.
    fn settle(&mut self, number: usize, wanted: &[f64]) {
        let layer = self.layers[number].clone();
        // How far each item is below the first when they lie as close as may be.
        let mut least = Vec::with_capacity(layer.len());
        for (at, item) in layer.iter().enumerate() {
            let height = self.items[*item].height;
            least.push(match at.checked_sub(1) {
                None => 0.0,
                Some(above) => {
                    let above_height = self.items[layer[above]].height;
                    let gap = if height > LANE || above_height > LANE { GAP_Y } else { GAP_LANES };
                    least[above] + (above_height + height) / 2.0 + gap
                }
            });
        }
        // Blocks of items that lie as close as may be: where the first one's zero is, and how many there are.
        let mut blocks: Vec<(f64, usize)> = Vec::new();
        for (wanted, least) in wanted.iter().zip(&least) {
            let mut block = (wanted - least, 1);
            while let Some(above) = blocks.pop_if(|above| above.0 > block.0) {
                let count = above.1 + block.1;
                block = ((above.0 * above.1 as f64 + block.0 * block.1 as f64) / count as f64, count);
            }
            blocks.push(block);
        }
        let zeros = blocks.into_iter().flat_map(|(zero, count)| std::iter::repeat_n(zero, count));
        for ((item, zero), least) in layer.iter().zip(zeros).zip(&least) {
            self.items[*item].y = zero + least;
        }
    }

    /// The layout: what is in the children moved to where they are, and the pieces of the edges.
    fn finish(self, inner: Vec<Layout>, edges: &[(usize, usize)]) -> Layout {
        let top = self.items.iter().map(|item| item.y - item.height / 2.0).fold(f64::INFINITY, f64::min);
        let top = if top.is_finite() { top } else { 0.0 };
        let bottom = self.items.iter().map(|item| item.y + item.height / 2.0).fold(0.0, f64::max);
        let mut layout = Layout {
            width: self.columns.last().map_or(0.0, |column| column.1),
            height: (bottom - top).max(0.0),
            ..Layout::default()
        };
        let mut inside: Vec<BTreeMap<(usize, usize), Vec<Span>>> = Vec::new();
        for (child, mut held) in inner.into_iter().enumerate() {
            let item = &self.items[child];
            let (x, y) = (self.columns[item.layer].0, item.y - item.height / 2.0 - top);
            let mut moved = Layout::default();
            let pieces = std::mem::take(&mut held.edges);
            moved.take(Layout { edges: pieces, ..Layout::default() }, x, y);
            inside.push(moved.edges);
            layout.take(held, x, y);
        }
        for edge in edges {
            let (from, to) = (self.child_of.get(&edge.0).copied(), self.child_of.get(&edge.1).copied());
            if from.is_none() && to.is_none() {
                continue;
            }
            if from == to {
                let pieces = from.and_then(|child| inside[child].remove(edge)).unwrap_or_default();
                layout.edges.insert(*edge, pieces);
                continue;
            }
            let mut spans = Vec::new();
            if let Some(child) = from {
                spans.extend(inside[child].get(edge).cloned().unwrap_or_default());
                let column = self.columns[self.items[child].layer];
                let rect = layout.tasks[&edge.0];
                let start = spans.pop().unwrap_or(Span {
                    from: rect.right(),
                    to: rect.right(),
                    y: rect.y + rect.height / 2.0,
                });
                // On to the edge of the layer, beside boxes that are wider.
                spans.push(Span { to: column.1.max(start.to), ..start });
            }
            for lane in self.lanes.get(&(from, to)).into_iter().flatten() {
                let column = self.columns[self.items[*lane].layer];
                spans.push(Span { from: column.0, to: column.1, y: self.items[*lane].y - top });
            }
            if let Some(child) = to {
                let pieces = inside[child].get(edge).cloned().unwrap_or_default();
                let rect = layout.tasks[&edge.1];
                if pieces.is_empty() {
                    spans.push(Span { from: rect.x, to: rect.x, y: rect.y + rect.height / 2.0 });
                }
                spans.extend(pieces);
            }
            layout.edges.insert(*edge, spans);
        }
        layout
    }
}
