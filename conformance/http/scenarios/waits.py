"""Waiting for a run, and what it returned."""

from .steps import as_

WAIT = "/api/v2/dags/{dag}/dagRuns/r4/wait"
RETURNED = [
    'POST /execution/xcoms/{dag}/r4/one/return_value {"a": [1, null, "é", 1.5]}',
    *[f"POST /execution/xcoms/{{dag}}/r4/many/return_value?map_index={index} {index}" for index in (2, 0)],
    "POST /execution/xcoms/{dag}/r4/two/other 1",
]


def wait(*queries, path=WAIT):
    return [as_("reader", f"GET {path}{query and '?'}{query}") for query in queries]


WAITS = {
    "rest.wait": [
        *RETURNED,
        *wait(
            "interval=1", "interval=1&result=one", "interval=0.5&result=many", "interval=1e300&result=two",
            "interval=1&result=two&result=one&result=nobody&result=many&result=one", "interval=1&result=",
            "interval=1&unknown=1",
        ),
        "POST /execution/xcoms/{dag}/r4/two/return_value null",
        *wait("interval=1&result=two"),
    ],
    "rest.wait-wrong": [
        *wait("", "interval=", "interval=x", "interval=0", "interval=-1", "interval=nan", "interval=1&interval=0"),
        *wait("interval=1", path="/api/v2/dags/{dag}/dagRuns/r9/wait"),
        *wait("interval=1", path="/api/v2/dags/nowhere/dagRuns/r4/wait"),
        *wait("interval=1", path="/api/v2/dags/~/dagRuns/r4/wait"),
        as_(None, f"GET {WAIT}?interval=1"),
        as_("task", f"GET {WAIT}?interval=1"),
        as_("reader", f"POST {WAIT}?interval=1"),
    ],
    "rest.wait-result": [
        "POST /execution/xcoms/{dag}/r4/one/return_value?dag_result=true 1",
        *wait("interval=1"),
        "POST /execution/xcoms/{dag}/r4/one/return_value 2",
        *wait("interval=1"),
    ],
}
