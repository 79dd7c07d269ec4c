"""What a task is told of its run, by each version of the API."""

import json

from .steps import VERSIONS, step

# Told again, since the answer was lost: by the same process.
START = json.dumps(
    {"state": "running", "hostname": "here", "unixname": "me", "pid": 1, "start_date": "2026-11-21T10:00:00Z"}
)

RUNS = {
    "versions.start": [
        step(f"PATCH /execution/task-instances/{{ti}}/run {START}", token="queued", headers={"airflow-api-version": version})
        for version in VERSIONS
    ],
    "versions.run": [
        step("GET /execution/dag-runs/{dag}/r1", headers={"airflow-api-version": version}) for version in VERSIONS[-2:]
    ],
}
