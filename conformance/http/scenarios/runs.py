"""What a task is told of its run, by each version of the API; of runs before it, and of those that it triggers and clears; and
what it asks people."""

import json

from .steps import VERSIONS, as_, step

# Told again, since the answer was lost: by the same process.
START = json.dumps(
    {"state": "running", "hostname": "here", "unixname": "me", "pid": 1, "start_date": "2026-11-21T10:00:00Z"}
)

UUID = "01936a5e-7b1c-7000-8000-000000000001"
ASKED = json.dumps({"ti_id": UUID, "options": ["Approve", "Reject"], "subject": "é?", "defaults": ["Reject"], "params": {"a": {"value": 1}}})
CHOICE = json.dumps({"ti_id": UUID, "chosen_options": ["Reject"], "params_input": {"a": None}})
DETAIL = "/api/v2/dags/{dag}/dagRuns/r1/taskInstances/one/-1/hitlDetails"

RUNS = {
    "versions.start": [
        step(f"PATCH /execution/task-instances/{{ti}}/run {START}", token="queued", headers={"airflow-api-version": version})
        for version in VERSIONS
    ],
    "versions.run": [
        step("GET /execution/dag-runs/{dag}/r1", headers={"airflow-api-version": version}) for version in VERSIONS[-2:]
    ],
    "runs.trigger": [
        'POST /execution/dag-runs/{dag}/t1 {"logical_date": "2026-11-20T10:00:00Z", "conf": {"a": [1, null]}, "note": "é"}',
        "GET /execution/dag-runs/{dag}/t1/state",
        'POST /execution/dag-runs/{dag}/t1 {"logical_date": "2026-11-20T10:00:00Z", "reset_dag_run": true}',
        "POST /execution/dag-runs/{dag}/t2 {}",
        "POST /execution/dag-runs/{dag}/r1 {}",
        "GET /execution/dag-runs/count?dag_id={dag}",
        "GET /execution/dag-runs/count?dag_id={dag}&states=queued",
        'POST /execution/dag-runs/{dag}/t3 {"run_after": "2026-11-20T10:00:00+02:00", "logical_date": null}',
        *[
            f"POST /execution/dag-runs/{{dag}}/wrong {body}"
            for body in (
                '{"conf": null}', '{"conf": [1]}', '{"conf": "{}"}', '{"logical_date": "2026-11-20"}', '{"run_after": "2026-11-20T10:00:00"}',
                '{"unknown": 1}', "[]", "null", "", "{", '{"partition_key": "p"}', '{"note": 1}',
            )
        ],
        *[as_(token, "POST /execution/dag-runs/{dag}/t4 {}") for token in (None, "queued", "expired", "admin")],
        "POST /execution/dag-runs/nowhere/t1 {}",
    ],
    "runs.previous": [
        *[f"GET /execution/dag-runs/{{dag}}/{run}/state" for run in ("r2", "r3", "r4")],
        *[
            f"GET /execution/dag-runs/previous?dag_id={{dag}}&{query}"
            for query in (
                "logical_date=2026-11-03T00:00:00Z", "logical_date=2026-11-05T00:00:00Z&state=running",
                "logical_date=2026-11-01T00:00:00Z", "logical_date=2026-11-05T00:00:00Z&state=failed", "logical_date=2026-11-04T00:00:00Z&state=queued",
                "logical_date=2026-11-04T00:00:00Z&state=tired", "logical_date=yesterday", "", "state=success",
            )
        ],
        "GET /execution/dag-runs/previous?logical_date=2026-11-01T00:00:00Z",
        "GET /execution/dag-runs/previous?dag_id=nowhere&logical_date=2026-11-01T00:00:00Z",
        step("GET /execution/dag-runs/{dag}/previous?logical_date=2026-11-01T00:00:00Z", headers={"airflow-api-version": "2025-11-05"}),
        step("GET /execution/dag-runs/{dag}/previous", headers={"airflow-api-version": "2025-11-05"}),
        "GET /execution/dag-runs/{dag}/previous?logical_date=2026-11-01T00:00:00Z",
        *[
            f"GET /execution/task-instances/previous/{{dag}}/{query}"
            for query in (
                "one?logical_date=2026-11-01T00:00:00Z", "nobody", "one?map_index=7", "one?state=failed", "one?state=tired", "one?map_index=x",
                "one?logical_date=yesterday", "one?logical_date=2026-11-02T00:00:00Z&state=skipped",
            )
        ],
        as_("queued", "GET /execution/dag-runs/previous?dag_id={dag}&logical_date=2026-11-01T00:00:00Z"),
        as_("queued", "GET /execution/task-instances/previous/{dag}/one"),
    ],
    "runs.dags": ["GET /execution/dags/never", as_("queued", "GET /execution/dags/{dag}"), as_(None, "GET /execution/dags/{dag}")],
    "runs.clear": [
        "POST /execution/dag-runs/{dag}/nowhere/clear",
        as_("queued", "POST /execution/dag-runs/{dag}/r4/clear"),
        "POST /execution/dag-runs/{dag}/r4/clear",
        "GET /execution/task-instances/count?dag_id={dag}&run_ids=r4&states=success",
    ],
    "hitl": [
        "GET /execution/hitlDetails/{ti}",
        f"PATCH /execution/hitlDetails/{{ti}} {CHOICE}",
        *[f"POST /execution/hitlDetails/{{ti}} {body}" for body in ("{}", '{"options": []}', "[]", ASKED.replace('"Approve", "Reject"', ""))],
        f"POST /execution/hitlDetails/{{ti}} {ASKED}",
        f"POST /execution/hitlDetails/{{ti}} {ASKED}",
        "GET /execution/hitlDetails/{ti}",
        *[
            as_("admin", f"PATCH {DETAIL} {body}")
            for body in ('{"chosen_options": []}', '{"chosen_options": ["Maybe"]}', '{"chosen_options": ["Approve", "Reject"]}', "{}", "[]")
        ],
        as_("reader", f'PATCH {DETAIL} {{"chosen_options": ["Approve"]}}'),
        as_(None, f"GET {DETAIL}"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/two/-1/hitlDetails"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/nobody/-1/hitlDetails"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/one/x/hitlDetails"),
        as_("admin", f'PATCH {DETAIL} {{"chosen_options": ["Reject"], "params_input": {{"a": [1]}}}}'),
        as_("admin", f'PATCH {DETAIL} {{"chosen_options": ["Reject"]}}'),
        "GET /execution/hitlDetails/{ti}",
        f"PATCH /execution/hitlDetails/{{ti}} {CHOICE}",
        f"POST /execution/hitlDetails/{{ti}} {ASKED}",
        "GET /execution/hitlDetails/{ti}",
        f"PATCH /execution/hitlDetails/{{ti}} {CHOICE}",
        'PATCH /execution/task-instances/{ti}/state {"state": "awaiting_input"}',
        as_("queued", "GET /execution/hitlDetails/{ti}"),
        as_("many[1]", "GET /execution/hitlDetails/{ti}"),
    ],
}
