//! Progress on a terminal: what is done scrolls by, what runs is shown below it with a bar.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use excom_flow::runner::{Event, PlainReporter, Reporter};
use indicatif::{ProgressBar, ProgressStyle};

/// The most task names that are shown while they run.
const SHOWN: usize = 4;

/// Shows a run on the terminal that standard error is.
pub(super) struct Live {
    bar: ProgressBar,
    running: Mutex<BTreeMap<Arc<str>, u32>>,
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

    fn show(&self, change: impl FnOnce(&mut BTreeMap<Arc<str>, u32>)) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut running);
        let mut names: Vec<String> = running
            .iter()
            .take(SHOWN)
            .map(|(task, try_number)| match try_number {
                1 => task.to_string(),
                n => format!("{task} (try {n})"),
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
            Event::TaskStarted { task_id, try_number, .. } => {
                // A line would be noise here: the bar shows what runs.
                return self.show(|running| {
                    running.insert((*task_id).clone(), *try_number);
                });
            }
            Event::TaskRetry { task_id, .. } => self.show(|running| {
                running.remove(*task_id);
            }),
            Event::TaskFinished { task_id, .. } => {
                self.show(|running| {
                    running.remove(*task_id);
                });
                self.bar.inc(1);
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
