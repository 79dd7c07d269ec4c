"""DAGs for the comparison: one triggers runs of another, which look at the runs before them, and a person is asked."""

from datetime import datetime, timezone

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, task

DATES = {f"triggered__{day}": datetime(2026, 11, day, tzinfo=timezone.utc) for day in (1, 2)}

with DAG("triggered", schedule=None):

    @task
    def looks(ti=None, dag_run=None):
        run, instance = ti.get_previous_dagrun(state="success"), ti.get_previous_ti()
        return {
            "conf": dag_run.conf,
            "date": dag_run.logical_date.isoformat(),
            "run": run and run.run_id,
            "instance": instance and [instance.run_id, str(instance.state), instance.try_number],
            "dag": ti.get_dag("triggered").is_paused,
        }

    looks()

with DAG("triggers", schedule=None):
    triggers = [
        TriggerDagRunOperator(
            task_id=f"trigger_{number}", trigger_dag_id="triggered", trigger_run_id=run_id, logical_date=date, conf={"n": number},
        )
        for number, (run_id, date) in enumerate(DATES.items(), 1)
    ]
    again = TriggerDagRunOperator(
        task_id="again", trigger_dag_id="triggered", trigger_run_id="triggered__1", skip_when_already_exists=True,
    )

    @task(trigger_rule="all_done")
    def counted(ti=None):
        return [
            ti.get_dr_count("triggered"), ti.get_dr_count("triggered", states=["queued"]),
            ti.get_dagrun_state("triggered", "triggered__1"),
        ]

    approved = ApprovalOperator(task_id="approved", subject="Shall it rain?", params={"inches": 3})
    triggers >> again >> counted() >> approved
