"""Executes the tasks of a DAG file with Airflow's own supervisor against a server, one after another.

Usage: run_dag.py SERVER TOKEN FILE DAG_ID RUN_ID

There is no scheduler: tasks start in an order that their dependencies allow, each with a token that the server gives,
and a mapped task has as many instances as its lists have elements. One that is deferred goes on when its trigger has
fired, which runs here; one that is put off when it is time; one that is to be retried at once; one that asks people is
answered with its first option. Runs of other DAGs of the file that were triggered are executed after it, oldest first. The file
lies in the folder of [core] dags_folder. Where TRACEPARENT is in the environment, tasks are part of that trace.
"""

import asyncio
import json
import math
import os
import sys
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

LOGICAL_DATE = "2026-11-21T10:00:00Z"


class Server:
    """What the server offers to whoever decides what is executed."""

    def __init__(self, address, token, dag_id, run_id):
        self.address, self.token, self.run = address, token, {"dag_id": dag_id, "run_id": run_id}

    def send(self, method, path, body=None, api="excom/v1"):
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        data = body and json.dumps(body).encode()
        with urlopen(Request(f"{self.address}/api/{api}/{path}", data, headers, method=method)) as answer:
            return json.load(answer)

    def call(self, path, **body):
        return self.send("POST", path, self.run | body)

    def stands(self, task_id, map_index):
        """How a task instance stands, and what it waits for."""
        place = "/".join(quote(part, safe="") for part in [*self.run.values(), task_id, str(map_index)])
        return self.send("GET", f"task-instances/{place}")

    def answer(self, task_id, map_index):
        """Answers what a task instance asks, as a person."""
        dag_id, run_id, task_id = (quote(part, safe="") for part in [*self.run.values(), task_id])
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/hitlDetails"
        asked = self.send("GET", path, api="v2")
        values = {name: field["value"] for name, field in asked["params"].items()}
        self.send("PATCH", path, {"chosen_options": asked["options"][:1], "params_input": values}, api="v2")

    def waiting(self, dag_id):
        """The runs of a DAG that were triggered and not started, oldest first."""
        listed = self.send("GET", f"runs?dag_id={quote(dag_id, safe='')}&limit=100")["items"]
        return [run for run in reversed(listed) if run["state"] is None]

    def produced(self, task_id, key):
        """The values that a task pushed under a key, by map index."""
        answer = self.call("pull", xcoms=[{"task_id": task_id, "key": key}])["answers"][0]
        return {item["map_index"]: item["value"] for item in answer["items"]} if "items" in answer else answer["value"]


def length(server, source):
    """How many elements there are of what a task is expanded over."""
    from airflow.sdk.definitions.xcom_arg import ConcatXComArg, MapXComArg, PlainXComArg, ZipXComArg

    if isinstance(source, PlainXComArg):
        return len(server.produced(source.operator.task_id, source.key))
    if isinstance(source, MapXComArg):
        return length(server, source.arg)
    if isinstance(source, ConcatXComArg):
        return sum(length(server, arg) for arg in source.args)
    if isinstance(source, ZipXComArg):
        lengths = [length(server, arg) for arg in source.args]
        return min(lengths) if "fillvalue" not in vars(source) else max(lengths)
    return len(source)


def instances(server, task):
    """The map indexes of a task."""
    group = task.get_closest_mapped_task_group()
    expanded = getattr(task, "_get_specified_expand_input", lambda: None)() if task.is_mapped else None
    if expanded is None and group is not None:
        expanded = group._expand_input
    if expanded is None:
        return [-1]
    value = expanded.value
    lists = value.values() if isinstance(value, dict) else [value]
    return range(math.prod(length(server, source) for source in lists))


async def event(trigger):
    """What a trigger fires."""
    async for fired in trigger.run():
        return fired.payload


def fired(deferral):
    """What a deferred task goes on with: its own arguments and what its trigger fired, as tasks of this release write them."""
    try:
        from airflow.sdk._shared.module_loading import import_string
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:  # Before 3.2.
        from airflow.serialization.serialized_objects import BaseSerialization
        from airflow.utils.module_loading import import_string

        deserialize, serialize = BaseSerialization.deserialize, BaseSerialization.serialize
    given, arguments = (deserialize(deferral[name] or {}) for name in ("next_kwargs", "trigger_kwargs"))
    return serialize(given | {"event": asyncio.run(event(import_string(deferral["classpath"])(**arguments)))})


def next_step(server, task_id, map_index):
    """What has to be said to execute a task instance once more; nothing when it is done."""
    stands = server.stands(task_id, map_index)
    state, attempt = stands["state"], stands["attempt"]
    if state == "deferred":
        if stands["deferral"]["classpath"] is None:
            server.answer(task_id, map_index)
            return {"id": attempt["id"]}
        return {"id": attempt["id"], "next_kwargs": fired(stands["deferral"])}
    if state == "up_for_reschedule":
        wait = datetime.fromisoformat(stands["reschedule_date"]) - datetime.now(timezone.utc)
        time.sleep(max(0, wait.total_seconds()))
        return {"id": attempt["id"]}
    return {} if state == "up_for_retry" else None


def execute(server, dag, path, logical_date):
    """Executes the tasks of a run that was not started."""
    from airflow.executors.workloads import ExecuteTask
    from airflow.sdk.execution_time.execute_workload import execute_workload

    server.call("runs", logical_date=logical_date)
    for task in dag.topological_sort():
        for map_index in instances(server, task):
            which = {"task_id": task.task_id, "map_index": map_index}
            step = {}
            while step is not None:
                queued = server.call("task-instances", **which, **step, max_tries=task.retries)
                ti = server.run | which | {
                    "id": queued["id"], "try_number": queued["try_number"], "dag_version_id": str(uuid.uuid4()),
                    "queue": "default", "pool_slots": 1, "priority_weight": 1,
                }
                if parent := os.environ.get("TRACEPARENT"):
                    ti["context_carrier"] = {"traceparent": parent}
                workload = {
                    "type": "ExecuteTask", "token": queued["token"], "ti": ti, "dag_rel_path": path.name,
                    "bundle_info": {"name": "dags-folder"}, "log_path": None,
                }
                execute_workload(ExecuteTask.model_validate(workload))
                step = next_step(server, task.task_id, map_index)


def main():
    address, token, file, dag_id, run_id = sys.argv[1:]
    # Before Airflow is imported, which reads them.
    os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{address}/execution/"
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(Path(file).parent)

    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Before 3.2.
        from airflow.models.dagbag import DagBag

    path = Path(file)
    sys.path.append(str(path.parent))
    bag = DagBag(dag_folder=file, safe_mode=False, load_op_links=False)
    if bag.import_errors:
        sys.exit(str(bag.import_errors))
    execute(Server(address, token, dag_id, run_id), bag.dags[dag_id], path, LOGICAL_DATE)
    for other in bag.dags.keys() - {dag_id}:
        for run in Server(address, token, other, None).waiting(other):
            server = Server(address, token, other, run["run_id"])
            execute(server, bag.dags[other], path, run["logical_date"])
            server.send("PATCH", "runs", server.run | {"state": "success"})


if __name__ == "__main__":
    main()
