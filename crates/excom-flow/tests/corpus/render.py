"""Renders the cases of the corpus by Airflow itself.

Reads cases from standard input, one JSON object a line, and writes for each what Airflow's own template
environment makes of it over Airflow's own context of a task instance: `{"text": …}`, `{"value": …}` for native
rendering, or `{"error": the exception's name}`. Only what lies outside the worker is made up: the answers of
the supervisor and of `xcom_pull`, both from `facts.json`.

With `--record` it writes the cases again, each with its result, for `cases.jsonl`.
"""

import json
import os
import pathlib
import sys
import uuid
from datetime import datetime, timezone

HERE = pathlib.Path(__file__).parent
FACTS = json.loads((HERE / "facts.json").read_text())

os.environ.setdefault("AIRFLOW_HOME", str(pathlib.Path(sys.prefix) / "airflow"))
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"
os.environ["TZ"] = "UTC"
for name, text in FACTS["variables"].items():
    os.environ[f"AIRFLOW_VAR_{name.upper()}"] = text

from airflow.sdk import DAG  # noqa: E402
from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext  # noqa: E402
from airflow.sdk.bases.operator import BaseOperator  # noqa: E402
from airflow.sdk.execution_time import comms, task_runner  # noqa: E402
import dateutil.parser  # noqa: E402, F401


def date(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


class Supervisor:
    """Answers what the context asks for while templates are rendered."""

    def send(self, message):
        if type(message).__name__ == "GetPrevSuccessfulDagRun":
            previous = FACTS["previous_success"]
            return comms.PrevSuccessfulDagRunResult(**{name: date(text) for name, text in previous.items()})
        return comms.ErrorResponse(error=comms.ErrorType.VARIABLE_NOT_FOUND)


task_runner.SUPERVISOR_COMMS = Supervisor()


class TaskInstance(task_runner.RuntimeTaskInstance):
    """A task instance that pulls from the facts."""

    def xcom_pull(self, task_ids=None, dag_id=None, key="return_value", include_prior_dates=False, *,
                  map_indexes=None, default=None, run_id=None):
        if isinstance(task_ids, (list, tuple)):
            return [self.xcom_pull(task_id, key=key, default=default) for task_id in task_ids]
        value = FACTS["xcoms"].get(task_ids) if key == "return_value" else None
        return default if value is None else json.loads(json.dumps(value))


class Me(BaseOperator):
    """The task whose templates are rendered."""

    template_fields = ("field",)
    template_ext = (".sql",)

    def __init__(self, field="", **kwargs):
        super().__init__(**kwargs)
        self.field = field

    def execute(self, context):
        pass


def context_of(dated, native):
    dag = DAG(
        FACTS["dag_id"],
        schedule=None,
        params=FACTS["params"],
        template_searchpath=[str(HERE / "files")],
        render_template_as_native_obj=native,
    )
    task = Me(task_id=FACTS["task_id"], dag=dag, retries=FACTS["retries"], owner=FACTS["owner"])
    run = DagRun(
        dag_id=FACTS["dag_id"],
        run_id=FACTS["run_id"],
        logical_date=date(FACTS["logical_date"]) if dated else None,
        data_interval_start=date(FACTS["data_interval_start"]) if dated else None,
        data_interval_end=date(FACTS["data_interval_end"]) if dated else None,
        run_after=date(FACTS["run_after"]),
        start_date=date(FACTS["start_date"]),
        end_date=None,
        run_type="manual",
        state="running",
        conf=FACTS["conf"],
        consumed_asset_events=[],
        partition_key=None,
    )
    ti = TaskInstance.model_construct(
        id=uuid.UUID(int=1),
        task_id=FACTS["task_id"],
        dag_id=FACTS["dag_id"],
        run_id=FACTS["run_id"],
        try_number=FACTS["try_number"],
        map_index=-1,
        max_tries=FACTS["retries"],
        hostname="",
        dag_version_id=uuid.UUID(int=2),
        task=task,
        bundle_instance=None,
        start_date=date(FACTS["start_date"]),
        _ti_context_from_server=TIRunContext(dag_run=run, max_tries=FACTS["retries"]),
    )
    ti._ti_context_from_server = TIRunContext(dag_run=run, max_tries=FACTS["retries"])
    ti._cached_template_context = None
    return task, ti.get_template_context()


def render(case):
    native = case.get("native", False)
    key = (not case.get("undated", False), native)
    # A new context each time: a template may change what it is given.
    task, context = context_of(*key)
    try:
        result = task.render_template(case["template"], context)
        if native:
            return {"value": json.loads(json.dumps(result, allow_nan=False))}
        return {"text": result}
    except Exception as error:  # noqa: BLE001
        return {"error": type(error).__name__}


def main():
    record = "--record" in sys.argv
    out = sys.stdout
    for line in sys.stdin:
        if not line.strip():
            continue
        case = json.loads(line)
        result = render(case)
        if record:
            kept = {name: case[name] for name in case if name not in ("text", "value", "error")}
            template = {"template": kept.pop("template")}
            result = {**template, **{k: kept.pop(k) for k in ("undated", "native") if k in kept}, **result, **kept}
        out.write(json.dumps(result, ensure_ascii=False) + "\n")


main()
