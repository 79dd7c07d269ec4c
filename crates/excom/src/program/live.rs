//! Progress on a terminal: what is done scrolls by, what runs is shown below it with a bar.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use excom_core::TaskState;
use excom_flow::runner::{Event, PlainReporter, Reporter};
use indicatif::{ProgressBar, ProgressStyle};

/// The most task names that are shown while they run.
const SHOWN: usize = 4;

/// Shows a run on the terminal that standard error is.
pub(super) struct Live {
    bar: ProgressBar,
    /// What runs: tasks and map indexes, each with its try.
    running: Mutex<BTreeMap<(Arc<str>, i32), u32>>,
    lines: PlainReporter<Above>,
}

impl Live {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} tasks  {elapsed}  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(250));
        let lines = PlainReporter::new(Above(bar.clone()));
        Self { bar, running: Mutex::default(), lines }
    }

    fn show(&self, change: impl FnOnce(&mut BTreeMap<(Arc<str>, i32), u32>)) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut running);
        let mut names: Vec<String> = running
            .iter()
            .take(SHOWN)
            .map(|((task, map_index), try_number)| {
                let index = if *map_index < 0 { String::new() } else { format!("[{map_index}]") };
                match try_number {
                    1 => format!("{task}{index}"),
                    n => format!("{task}{index} (try {n})"),
                }
            })
            .collect();
        if running.len() > SHOWN {
            names.push(format!("and {} more", running.len() - SHOWN));
        }
        self.bar.set_message(names.join(", "));
    }
}

impl Reporter for Live {
    fn report(&self, event: &Event<'_>) {
        match event {
            Event::RunStarted { tasks, .. } => self.bar.set_length(*tasks as u64),
            Event::TaskStarted { task_id, map_index, try_number, .. } => {
                // A line would be noise here: the bar shows what runs.
                return self.show(|running| {
                    running.insert(((*task_id).clone(), *map_index), *try_number);
                });
            }
            Event::TaskRetry { task_id, map_index, .. } => self.show(|running| {
                running.remove(&((*task_id).clone(), *map_index));
            }),
            Event::TaskExpanded { instances, .. } => {
                return self.bar.inc_length(u64::from(instances.saturating_sub(1)));
            }
            Event::TaskKept { .. } => return self.bar.inc(1),
            Event::TaskFinished { task_id, map_index, state, .. } => {
                self.show(|running| {
                    running.remove(&((*task_id).clone(), *map_index));
                });
                self.bar.inc(1);
                // A thousand instances that succeeded would bury the one that failed.
                if *map_index >= 0 && *state == TaskState::Success {
                    return;
                }
            }
            Event::RunFinished { .. } => self.bar.finish_and_clear(),
            _ => {}
        }
        self.lines.report(event);
    }
}

/// Lines above the bar.
struct Above(ProgressBar);

impl std::io::Write for Above {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches('\n');
        // A cleared bar prints nothing any more; the last line comes after it.
        self.0.suspend(|| writeln!(std::io::stderr(), "{text}"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
