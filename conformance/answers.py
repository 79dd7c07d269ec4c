"""A DAG whose task `pull` meets every answer that there is to a pull, and writes down what it saw, a line for each.

The environment names the server (`EXCOM_SERVER`), a token that may do everything (`EXCOM_TOKEN`) and the file for what is seen
(`EXCOM_SEEN`). What `pull` pulls was pushed, cleared, removed and damaged before; only `left_out` runs here. Each is pulled in
both ways: with a map index, which is a GET of one XCom, and without, which is a GET of a slice.
"""

import json
import os
import re
import time
from urllib.request import Request, urlopen

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowSkipException

TASKS = ["found", "null", "missing", "later", "left_out", "cleared", "expired", "elsewhere", "corrupt", "lost", "away"]

START = {"state": "running", "hostname": "there", "unixname": "me", "pid": 2, "start_date": "2026-11-21T10:00:00Z"}


def call(method, path, token=None, body=None):
    headers = {"authorization": f"Bearer {token or os.environ['EXCOM_TOKEN']}", "content-type": "application/json"}
    data = body and json.dumps(body).encode()
    with urlopen(Request(os.environ["EXCOM_SERVER"] + path, data, headers, method=method)) as answer:
        return answer.read().decode()


def requests():
    """How many requests about XComs the server has had from workers."""
    counts = re.findall(r'^excom_requests_total\{route="/execution/xcoms.* (\d+)$', call("GET", "/metrics"), re.M)
    return sum(map(int, counts))


def seen(answer, ask):
    """Notes what a task sees, how often its supervisor asked, and how long that took."""
    before, began = requests(), time.monotonic()
    try:
        saw = {"value": ask()}
    except Exception as error:
        detail = getattr(getattr(error, "error", None), "detail", None) or {}
        saw = {"error": type(error).__name__, "status": detail.get("status_code"), "text": str(error)[:300]}
    took = {"seconds": round(time.monotonic() - began, 2), "requests": requests() - before}
    with open(os.environ["EXCOM_SEEN"], "a") as file:
        file.write(json.dumps({"answer": answer} | saw | took) + "\n")


def queue(ti, task_id):
    """Makes a try of a task instance known."""
    of = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": task_id}
    return json.loads(call("POST", "/api/excom/v1/task-instances", body=of))


@dag(schedule=None)
def answers():
    @task
    def left_out():
        raise AirflowSkipException

    @task
    def pull(ti=None):
        queue(ti, "later")
        for task_id in TASKS:
            run_id = "another" if task_id == "elsewhere" else ti.run_id
            xcom = {"dag_id": ti.dag_id, "run_id": run_id, "xcoms": [{"task_id": task_id, "map_index": -1}]}
            answer = json.loads(call("POST", "/api/excom/v1/pull", body=xcom))["answers"][0]["answer"]
            answer = "forbidden" if task_id == "elsewhere" else answer
            seen(answer, lambda: ti.xcom_pull(task_id, run_id=run_id, map_indexes=-1))
            seen(f"{answer}, in a slice", lambda: ti.xcom_pull(task_id, run_id=run_id))

    @task
    def late(ti=None):
        """Pushes when another try has started."""
        other = queue(ti, ti.task_id)
        call("PATCH", f"/execution/task-instances/{other['id']}/run", other["token"], START)
        seen("superseded", lambda: ti.xcom_push("k", 1))

    left_out() >> pull() >> late()


answers()
