"""What real tasks push: every kind of value, and every way of pushing it."""

import datetime
import decimal
import json
import uuid

from airflow.sdk import dag, result, task

KINDS = {
    "none": None,
    "bool": True,
    "int": 12345678901234567,
    "float": 1.5,
    "str": "é \U0001f600 \" \\ \n",
    "list": [1, [2, None], {"a": []}],
    "dict": {"bb": 1, "a": {"c": 2.0}, "": "x"},
    "tuple": (1, (2, 3)),
    "set": {1},
    "datetime": datetime.datetime(2026, 11, 21, 10, 0, tzinfo=datetime.timezone.utc),
    "date": datetime.date(2026, 11, 21),
    "timedelta": datetime.timedelta(seconds=90),
    "decimal": decimal.Decimal("1.10"),
    "uuid": uuid.UUID(int=7),
    "like_json": '{"a": 1}',
    "five": "5",
    "large": ["x" * 1000] * 300,
}


@dag(schedule=None)
def given():
    @task
    def kinds(**context):
        for name, value in KINDS.items():
            context["ti"].xcom_push(name, value)

    @task(multiple_outputs=True)
    def many():
        return {"x": 1, "y": "two"}

    @task
    def numbers():
        return [10, 20, 30]

    @task
    def doubled(n):
        return None if n == 20 else n * 2

    @result
    @task
    def last(values):
        return list(values)

    kinds() >> many()
    last(doubled.expand(n=numbers()))


given()


@dag(schedule=None)
def check():
    @task
    def wrong(**context):
        """What is another value in what Excom pushed."""
        conf = context["dag_run"].conf
        expected = {f"copy of {name}": value for name, value in KINDS.items()}
        expected |= {f"text {number}": json.loads(text) for number, text in conf["texts"]}
        found = []
        for key, value in expected.items():
            try:
                pulled = context["ti"].xcom_pull(
                    "kinds", dag_id="given", run_id=conf["run"], key=key, map_indexes=-1
                )
                if pulled != value:
                    found.append(key)
            except Exception as error:
                found.append(f"{key}: {error!r}")
        return found

    wrong()


check()
