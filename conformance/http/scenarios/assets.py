"""Assets: what a task tells of its outlets when it ends well, and what others are told. Airflow knows one before, `{dag}.rows`."""

import json

from .steps import VERSIONS, as_, step

ROWS = {"name": "{dag}.rows", "uri": "file://{dag}/rows"}
PART = {"name": "{dag}.part", "uri": "file://{dag}/part"}
STATE = "PATCH /execution/task-instances/{ti}/state "


def ends(*outlets, events=()):
    """What a task says when it ends well."""
    body = {"state": "success", "end_date": "2026-11-21T10:00:09Z", "task_outlets": outlets, "outlet_events": events}
    return STATE + json.dumps(body, ensure_ascii=False)


def asked(route, *queries):
    return [f"GET /execution/{route}{query and '?'}{query}" for query in queries]


OUTLET = ROWS | {"type": "Asset"}
OTHER = {"name": "{dag}.never", "uri": "file://{dag}/never", "type": "AssetNameRef"}


def alias(name):
    return {"name": "{dag}." + name, "uri": None, "type": "AssetAlias"}


def under(name, extra):
    return {"source_alias_name": "{dag}." + name, "dest_asset_key": PART, "dest_asset_extra": {"of": "part"}, "extra": extra}


EVENTS = [
    {"dest_asset_key": ROWS, "extra": {"n": 1, "é": [None, 1.5]}},
    {"dest_asset_key": ROWS, "extra": {"n": 2}, "partition_key": "2026-11-21"},
    {"dest_asset_key": {"name": "{dag}.no-outlet", "uri": "file://{dag}/no-outlet"}, "extra": {}},
    under("x", {"a": 1, "b": 2}),
    under("y", {"b": 2, "a": 1}),
    under("no-outlet", {}),
]

OF_ROWS = "name={dag}.rows&uri=file://{dag}/rows"

ASSETS = {
    "assets": [
        *asked("assets/by-name", "name={dag}.nothing", "name=", "", "name={dag}.rows"),
        *asked("assets/by-uri", "uri=nothing", ""),
        *asked("assets/by-alias", "alias_name={dag}.x", "", "name={dag}.x"),
        *asked(
            "asset-events/by-asset", OF_ROWS, "name=&uri=", "", "name={dag}.rows", "uri=x", "name={dag}.nothing&uri=",
            OF_ROWS + "&after=yesterday", OF_ROWS + "&before=x", OF_ROWS + "&ascending=perhaps", OF_ROWS + "&limit=x",
        ),
        *asked("asset-events/by-asset-alias", "name={dag}.x", "", "name={dag}.x&limit=x"),
        *[
            ends(OUTLET, events=[{"dest_asset_key": ROWS, "extra": {}, "partition_key": key}])
            for key in ("", " ", "x" * 251)
        ],
        *asked("asset-events/by-asset", OF_ROWS),
        ends(OUTLET, OUTLET, OTHER, alias("x"), alias("y"), events=EVENTS),
        ends(OUTLET, OUTLET, OTHER, alias("x"), alias("y"), events=EVENTS),
        *asked("assets/by-name", "name={dag}.rows", "name={dag}.no-outlet"),
        *asked("assets/by-uri", "uri=file://{dag}/rows"),
        *asked("assets/by-alias", "alias_name={dag}.x", "alias_name={dag}.y", "alias_name={dag}.no-outlet"),
        *asked(
            "asset-events/by-asset", OF_ROWS, "name={dag}.rows&uri=", "name=&uri=file://{dag}/rows", "name={dag}.rows&uri=file://other",
            OF_ROWS + "&ascending=false", OF_ROWS + "&limit=1", OF_ROWS + "&limit=1&ascending=0", OF_ROWS + "&limit=0",
            OF_ROWS + "&before=2026-01-01T00:00:00Z", OF_ROWS + "&after=2026-01-01T00:00:00Z&before=2999-01-01T00:00:00%2B02:00",
            "name={dag}.part&uri=file://{dag}/part", "name={dag}.no-outlet&uri=file://{dag}/no-outlet",
        ),
        *[
            step(f"GET /execution/asset-events/by-asset?{OF_ROWS}", headers={"airflow-api-version": version})
            for version in VERSIONS[-3:]
        ],
        *asked("asset-events/by-asset-alias", "name={dag}.x", "name={dag}.y&ascending=false&limit=5", "name={dag}.no-outlet"),
        *[
            as_(token, f"GET /execution/{route}")
            for token in (None, "queued", "expired", "admin")
            for route in ("assets/by-name?name={dag}.rows", "asset-events/by-asset?" + OF_ROWS)
        ],
    ],
    "assets.without-events": [
        "GET /execution/task-instances/{ti}/validate-inlets-and-outlets",
        ends(OUTLET),
        *asked("asset-events/by-asset", OF_ROWS),
    ],
    "assets.failed": [
        STATE + '{"state": "failed", "end_date": "2026-11-21T10:00:09Z"}',
        *asked("asset-events/by-asset", OF_ROWS),
    ],
    "assets.store": ["GET /execution/store/asset/by-name/value?name=a&key=k"],
}
