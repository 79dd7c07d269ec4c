"""A DAG whose tasks make events of assets, and read them."""

from airflow.sdk import DAG, Asset, AssetAlias, Metadata, task

ROWS = Asset("rows", "file://rows", extra={"kept": "by the DAG"})
FOUND = AssetAlias("found")

with DAG("assets", schedule=None):

    @task(outlets=[ROWS])
    def makes(*, outlet_events):
        outlet_events[ROWS].extra = {"count": 3, "é": None}

    @task(outlets=[ROWS])
    def makes_more():
        yield Metadata(ROWS, {"count": 4})

    @task(outlets=[FOUND])
    def finds(*, outlet_events):
        outlet_events[FOUND].add(Asset("part", "file://part", extra={"part": 1}), extra={"size": 7})

    @task(inlets=[ROWS, FOUND, Asset.ref(name="part")])
    def reads(*, inlet_events):
        rows, found = inlet_events[ROWS], inlet_events[FOUND]
        part = inlet_events[Asset.ref(name="part")][0]
        last = rows.ascending(False).limit(1)[0]
        return {
            "rows": [event.extra for event in inlet_events[ROWS]],
            "last": last.extra,
            "by": [last.source_dag_id, last.source_task_id, last.source_run_id, last.source_map_index],
            "found": [[event.asset.name, event.asset.uri, event.asset.extra, event.extra] for event in found],
            "part": part.extra,
            "none": [event.extra for event in rows.ascending().limit(9).before("2026-01-01T00:00:00Z")],
        }

    [makes() >> makes_more(), finds()] >> reads()
