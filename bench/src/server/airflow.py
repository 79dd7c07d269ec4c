"""Makes what `airflow.rs` asks Airflow's API server for: runs of a DAG with their task instances. Prints nothing: for each
run the id of its task `report`, and the token with which a worker starts that, go into a file.

Usage: airflow.py FILE SECRET MAPPED RUN_ID…

The first run has so many instances of the task `mapped`.
"""

import json
import sys
import time
from datetime import datetime, timedelta, timezone

import jwt
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType

file, secret, mapped, *run_ids = sys.argv[1:]
now = int(time.time())
started = {}
with create_session() as session:
    session.add(DagBundleModel(name="bench"))
    session.flush()
    session.add(DagModel(dag_id="weather", bundle_name="bench", fileloc="weather", is_paused=False))
    session.flush()
    with DAG("weather", schedule=None) as dag:
        for task_id in [f"transform_{task:02}" for task in range(100)] + ["report", "mapped"]:
            EmptyOperator(task_id=task_id)
    # Airflow keeps the file that a DAG is in, which any is good for.
    dag.fileloc = jwt.__file__
    SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), "bench", session=session)
    session.flush()
    version = DagVersion.get_latest_version("weather", session=session)
    operators = DagSerialization.from_dict(DagSerialization.to_dict(dag)).task_dict
    for number, run_id in enumerate(run_ids):
        when = datetime(2026, 11, 21, tzinfo=timezone.utc) + timedelta(minutes=number)
        run = DagRun(
            dag_id="weather", run_id=run_id, logical_date=when, run_after=when, run_type=DagRunType.MANUAL, state="running"
        )
        run.created_dag_version = version
        session.add(run)
        session.flush()
        instances = [(operator, -1) for task_id, operator in operators.items() if task_id != "mapped"]
        instances += [(operators["mapped"], index) for index in range(int(mapped) if number == 0 else 0)]
        for operator, map_index in instances:
            task_id, ti = operator.task_id, TaskInstance(operator, version.id, run_id, "queued", map_index)
            session.add(ti)
            if task_id == "report":
                claims = {"sub": str(ti.id), "scope": "workload", "jti": str(ti.id), "aud": "urn:airflow.apache.org:task"}
                token = jwt.encode(claims | {"nbf": now, "iat": now, "exp": now + 3600}, secret, "HS512")
                started[run_id] = {"id": str(ti.id), "token": token}
with open(file, "w") as written:
    json.dump(started, written)
