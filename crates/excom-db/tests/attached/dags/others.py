"""What writes without Excom: Airflow's own models, and its REST API. Not a DAG."""

import json
import os
import sys

os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] = "True"


def write(run):
    from airflow.api_fastapi.app import create_app
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from fastapi.testclient import TestClient
    from sqlalchemy import select

    with create_session() as session:
        XComModel.set(key="event", value={"a": 1}, dag_id="given", task_id="kinds", run_id=run, session=session)
        marked = session.scalars(select(XComModel).where(XComModel.dag_result, XComModel.run_id == run))
        found = {(row.task_id, row.key): row.value for row in marked}
        assert found == {("kinds", "return_value"): 5, ("last", "return_value"): [20, 60]}
    entries = f"/api/v2/dags/given/dagRuns/{run}/taskInstances/kinds/xcomEntries"
    with TestClient(create_app(apps="core")) as client:
        assert client.get(f"{entries}/edited").json()["value"] == [1]
        assert client.get(f"{entries}/offloaded").json()["value"]["$excom"] == "reference-1"
        assert client.patch(f"{entries}/edited", json={"value": {"by": "rest"}}).status_code == 200
        kept = client.get(f"{entries}/kept").json()["value"]
        assert client.patch(f"{entries}/kept", json={"value": kept}).status_code == 200
        kept["mac"] = "0" * 64
        assert client.patch(f"{entries}/altered", json={"value": kept}).status_code == 200
        assert client.delete(f"{entries}/offloaded").status_code == 204
        told = client.get(f"/api/v2/dags/given/dagRuns/{run}/wait?interval=1").text.splitlines()
        assert json.loads(told[-1])["results"] == {"kinds": 5, "last": [20, 60]}


if __name__ == "__main__":
    write(sys.argv[1])
