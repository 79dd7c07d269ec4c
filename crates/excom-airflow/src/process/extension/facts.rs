//! What a task knows of its run and its try, on its way from Excom's supervisor.
//!
//! What the task's program makes by itself does not travel: the cancellation, and the contract of the DAG, of which
//! only whether it is checked is said.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use excom_flow::contract::Contracts;
use excom_flow::{PreviousRun, Resumed, RunFacts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Text;

/// [`RunFacts`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunOnWire {
    params: Vec<(String, Text)>,
    logical_date: Option<Timestamp>,
    data_interval: Option<(Timestamp, Timestamp)>,
    run_after: Option<Timestamp>,
    start_date: Option<Timestamp>,
    run_type: Option<String>,
    conf: Option<Text>,
    previous_success: Option<PreviousRunOnWire>,
    template_searchpath: Vec<Bytes>,
    native_templates: bool,
    home: Option<Bytes>,
    /// Whether pushes are checked against the DAG's contract, and what happens then.
    pub(crate) contracts: Option<ContractsOnWire>,
}

/// A path's bytes: a path need not be text.
type Bytes = Vec<u8>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PreviousRunOnWire {
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    data_interval: Option<(Timestamp, Timestamp)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum ContractsOnWire {
    Refuse,
    Warn,
}

/// [`Resumed`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct ResumedOnWire {
    times: u32,
    after: Duration,
}

impl From<Resumed> for ResumedOnWire {
    fn from(Resumed { times, after }: Resumed) -> Self {
        Self { times, after }
    }
}

impl From<ResumedOnWire> for Resumed {
    fn from(ResumedOnWire { times, after }: ResumedOnWire) -> Self {
        Self { times, after }
    }
}

impl RunOnWire {
    pub(crate) fn of(run: &RunFacts) -> Self {
        let previous = |run: &PreviousRun| PreviousRunOnWire {
            start_date: run.start_date,
            end_date: run.end_date,
            data_interval: run.data_interval,
        };
        Self {
            params: run.params.iter().map(|(name, value)| (name.to_owned(), Text(value.clone()))).collect(),
            logical_date: run.logical_date,
            data_interval: run.data_interval,
            run_after: run.run_after,
            start_date: run.start_date,
            run_type: run.run_type.as_deref().map(str::to_owned),
            conf: run.conf.clone().map(Text),
            previous_success: run.previous_success.as_ref().map(previous),
            template_searchpath: run.template_searchpath.iter().map(|folder| bytes(folder)).collect(),
            native_templates: run.native_templates,
            home: run.home.as_deref().map(bytes),
            contracts: run.contract.as_ref().and(match run.contracts {
                Contracts::Refuse => Some(ContractsOnWire::Refuse),
                Contracts::Warn => Some(ContractsOnWire::Warn),
                Contracts::Off => None,
            }),
        }
    }

    /// The facts, without a cancellation and a contract.
    pub(crate) fn facts(&self) -> RunFacts {
        let previous = |run: &PreviousRunOnWire| {
            let mut previous = PreviousRun::default();
            (previous.start_date, previous.end_date) = (run.start_date, run.end_date);
            previous.data_interval = run.data_interval;
            previous
        };
        let mut facts = RunFacts::default();
        facts.params = self.params.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
        facts.logical_date = self.logical_date;
        facts.data_interval = self.data_interval;
        facts.run_after = self.run_after;
        facts.start_date = self.start_date;
        facts.run_type = self.run_type.as_deref().map(Into::into);
        facts.conf = self.conf.clone().map(|conf| conf.0);
        facts.previous_success = self.previous_success.as_ref().map(previous);
        facts.template_searchpath = self.template_searchpath.iter().map(|folder| path(folder)).collect();
        facts.native_templates = self.native_templates;
        facts.home = self.home.as_deref().map(path);
        facts.contracts = match self.contracts {
            Some(ContractsOnWire::Refuse) => Contracts::Refuse,
            Some(ContractsOnWire::Warn) => Contracts::Warn,
            None => Contracts::Off,
        };
        facts
    }
}

fn bytes(path: &Path) -> Bytes {
    path.as_os_str().as_bytes().to_vec()
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}
