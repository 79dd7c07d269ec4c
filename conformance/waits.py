"""Tasks that are executed more than once: one is deferred, one is put off, one fails, one keeps something for its retry."""

from datetime import timedelta

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, Variable, dag, task


class Deferred(BaseOperator):
    """Goes on with what it put down, and with what it pushed before."""

    def execute(self, context):
        context["ti"].xcom_push("before", "kept")
        self.defer(
            trigger=TimeDeltaTrigger(timedelta(seconds=1)),
            method_name="go_on",
            kwargs={"given": [1, 2.5, "é", {"nested": None}]},
        )

    def go_on(self, context, given, event=None):
        before = context["ti"].xcom_pull(task_ids=self.task_id, key="before")
        return {"given": given, "before": before, "fired": event is not None}


@task.sensor(poke_interval=1, mode="reschedule", timeout=60)
def put_off():
    pokes = int(Variable.get("pokes", default=0)) + 1
    Variable.set("pokes", str(pokes))
    return pokes == 3


@task(retries=1, retry_delay=timedelta(0))
def fails_once(ti=None, task_state_store=None):
    # Since Airflow 3.3.
    if ti.try_number == 1:
        ti.xcom_push("gone", "with the first try")
        task_state_store.set("cursor", {"page": 7})
        raise ValueError("once")
    return {"gone": ti.xcom_pull(task_ids="fails_once", key="gone"), "cursor": task_state_store.get("cursor")}


@dag(schedule=None)
def waits():
    Deferred(task_id="deferred") >> put_off()


@dag(schedule=None)
def keeps():
    fails_once()


waits()
keeps()
