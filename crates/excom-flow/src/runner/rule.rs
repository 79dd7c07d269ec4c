//! Trigger rules: what the states of the tasks before a task mean for it.

use excom_core::TaskState;

use crate::dag::TriggerRule;

/// How many task instances ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) success: u32,
    pub(crate) failed: u32,
    pub(crate) upstream_failed: u32,
    pub(crate) skipped: u32,
}

impl Counts {
    pub(crate) fn add(&mut self, state: TaskState) {
        match state {
            TaskState::Success => self.success += 1,
            TaskState::Failed => self.failed += 1,
            TaskState::UpstreamFailed => self.upstream_failed += 1,
            TaskState::Skipped => self.skipped += 1,
            _ => {}
        }
    }

    pub(crate) fn add_all(&mut self, others: &Self) {
        self.success += others.success;
        self.failed += others.failed;
        self.upstream_failed += others.upstream_failed;
        self.skipped += others.skipped;
    }

    pub(crate) fn any_failed(&self) -> bool {
        self.failed + self.upstream_failed > 0
    }

    fn total(&self) -> u32 {
        self.success + self.failed + self.upstream_failed + self.skipped
    }
}

/// What is to become of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may run.
    Run,
    /// It is skipped.
    Skip,
    /// It fails unrun.
    UpstreamFailed,
}

/// What a rule says: nothing while it waits. `setups` are the states of a teardown's setups.
pub(crate) fn verdict(
    rule: TriggerRule,
    before: &Counts,
    all_done: bool,
    setups: impl FnOnce() -> Counts,
) -> Option<Verdict> {
    use TriggerRule as Rule;
    use Verdict::{Run, Skip, UpstreamFailed};
    match rule {
        Rule::Always => return Some(Run),
        Rule::OneSuccess if before.success > 0 => return Some(Run),
        Rule::OneFailed if before.any_failed() => return Some(Run),
        Rule::OneDone if before.success + before.failed > 0 => return Some(Run),
        _ => {}
    }
    if !all_done {
        return None;
    }
    let unless = |no: bool, otherwise: Verdict| if no { otherwise } else { Run };
    Some(match rule {
        // Nothing before it: nothing can speak against it.
        _ if before.total() == 0 => Run,
        Rule::AllSuccess if before.any_failed() => UpstreamFailed,
        Rule::AllSuccess => unless(before.skipped > 0, Skip),
        Rule::AllFailed => unless(before.success + before.skipped > 0, Skip),
        Rule::AllDone | Rule::Always => Run,
        Rule::AllDoneMinOneSuccess if before.skipped > 0 => Skip,
        Rule::AllDoneMinOneSuccess => unless(before.success == 0, UpstreamFailed),
        Rule::AllSkipped => unless(before.success > 0 || before.any_failed(), Skip),
        Rule::OneFailed | Rule::OneDone => Skip,
        Rule::OneSuccess => unless(true, if before.any_failed() { UpstreamFailed } else { Skip }),
        Rule::NoneFailed => unless(before.any_failed(), UpstreamFailed),
        Rule::NoneFailedMinOneSuccess if before.any_failed() => UpstreamFailed,
        Rule::NoneFailedMinOneSuccess => unless(before.success == 0, Skip),
        Rule::NoneSkipped => unless(before.skipped > 0, Skip),
        Rule::AllDoneSetupSuccess => {
            let setups = setups();
            match (setups.total(), setups.success) {
                (0, _) | (_, 1..) => Run,
                (total, 0) if setups.skipped == total => Skip,
                _ => UpstreamFailed,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Airflow's table: for each rule what becomes of a task behind one that succeeded, failed and was
    /// skipped; behind all three; and behind success and skip.
    #[test]
    fn rules_are_airflows() {
        use TriggerRule as Rule;
        let (run, skip, failed) = (Verdict::Run, Verdict::Skip, Verdict::UpstreamFailed);
        let table = [
            (Rule::AllSuccess, [run, failed, skip, failed, skip]),
            (Rule::AllFailed, [skip, run, skip, skip, skip]),
            (Rule::AllDone, [run, run, run, run, run]),
            (Rule::AllDoneMinOneSuccess, [run, failed, skip, skip, skip]),
            (Rule::AllSkipped, [skip, skip, run, skip, skip]),
            (Rule::OneFailed, [skip, run, skip, run, skip]),
            (Rule::OneSuccess, [run, failed, skip, run, run]),
            (Rule::OneDone, [run, run, skip, run, run]),
            (Rule::NoneFailed, [run, failed, run, failed, run]),
            (Rule::NoneFailedMinOneSuccess, [run, failed, skip, failed, run]),
            (Rule::NoneSkipped, [run, run, skip, skip, skip]),
            (Rule::Always, [run, run, run, run, run]),
        ];
        let before = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (1, 0, 1)];
        for (rule, verdicts) in table {
            for ((success, failed, skipped), expected) in before.into_iter().zip(verdicts) {
                let counts = Counts { success, failed, skipped, upstream_failed: 0 };
                let found = verdict(rule, &counts, true, Counts::default);
                assert_eq!(found, Some(expected), "{rule} with {counts:?}");
            }
            assert_eq!(verdict(rule, &Counts::default(), true, Counts::default), Some(run), "{rule} alone");
        }
    }

    #[test]
    fn only_some_rules_do_not_wait() {
        for rule in TriggerRule::ALL {
            for counts in [
                Counts { success: 1, ..Counts::default() },
                Counts { failed: 1, ..Counts::default() },
                Counts { skipped: 1, ..Counts::default() },
            ] {
                let early = verdict(rule, &counts, false, Counts::default);
                assert!(
                    early.is_none() || (rule.is_early() && early == Some(Verdict::Run)),
                    "{rule} {counts:?}"
                );
            }
        }
    }

    #[test]
    fn a_teardown_looks_at_its_setups() {
        let verdict = |success, failed, skipped| {
            let before = Counts { failed: 2, ..Counts::default() };
            let setups = Counts { success, failed, skipped, upstream_failed: 0 };
            verdict(TriggerRule::AllDoneSetupSuccess, &before, true, || setups)
        };
        assert_eq!(verdict(1, 1, 1), Some(Verdict::Run));
        assert_eq!(verdict(0, 0, 2), Some(Verdict::Skip));
        assert_eq!(verdict(0, 1, 1), Some(Verdict::UpstreamFailed));
    }
}
