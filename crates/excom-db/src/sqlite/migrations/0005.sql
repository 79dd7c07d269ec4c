-- The same tables under names that nothing else has, so that they may lie in a file with tables of others.
ALTER TABLE name          RENAME TO excom_name;
ALTER TABLE dag_run       RENAME TO excom_dag_run;
ALTER TABLE dag_version   RENAME TO excom_dag_version;
ALTER TABLE task_instance RENAME TO excom_task_instance;
ALTER TABLE attempt       RENAME TO excom_attempt;
ALTER TABLE rendered      RENAME TO excom_rendered;
ALTER TABLE entry         RENAME TO excom_entry;
ALTER TABLE history       RENAME TO excom_history;
ALTER TABLE ledger        RENAME TO excom_ledger;
ALTER TABLE variable      RENAME TO excom_variable;
ALTER TABLE loose_object  RENAME TO excom_loose_object;
ALTER TABLE mark          RENAME TO excom_mark;
ALTER TABLE refusal       RENAME TO excom_refusal;
ALTER TABLE dictionary    RENAME TO excom_dictionary;
