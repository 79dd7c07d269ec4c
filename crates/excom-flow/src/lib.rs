//! TaskFlow for Excom: DAGs, tasks, XComArgs, templates, operators and the local runner.
