"""Objects of Airflow's own backend: what it writes of VALUES, and what it reads of what Excom wrote.

`golden` was written by

    python -c 'import objects; objects.record()'

in this folder, by a Python with the packages that excom-testkit installs.
"""

import json
import os
import sys
from collections import namedtuple
from pathlib import Path

from airflow.providers.common.io.xcom import backend
from airflow.utils.json import XComEncoder

COMPRESSIONS = ["none", "gzip", "bz2", "zip", "xz", "lzma", "lz4", "zstd"]

VALUES = {
    "null": None,
    "text": "Grüße, 世界 😀 \u2028 \x7f \\ \" / \n",
    "numbers": [0, -1, 2**70, 1.0, 0.1, -2.5e-7, 1e16, 1e22, 123456.75],
    "tuple": (1, "a", [2.5, None]),
    "nested": {"a": {"b": [{"c": [[], {}, ""]}]}, "é": {"": True}},
    "large": [{"day": day, "city": "Zürich", "t": day * 0.25} for day in range(4_000)],
}

Row = namedtuple("Row", "value")


def use(base, compression, threshold):
    setting = "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_"
    os.environ[setting + "PATH"] = base
    os.environ[setting + "COMPRESSION"] = "" if compression == "none" else compression
    os.environ[setting + "THRESHOLD"] = str(threshold)
    for cached in (backend._get_base_path, backend._get_compression, backend._get_threshold):
        cached.cache_clear()


def push(name, value, run_id="manual__1"):
    return backend.XComObjectStorageBackend.serialize_value(
        value, key="return_value", task_id=name, dag_id="objects", run_id=run_id, map_index=-1
    )


def pull(reference):
    return backend.XComObjectStorageBackend.deserialize_value(Row(reference))


def same(value, other):
    return value == other and type(value) is type(other)


def write(base, path, names=tuple(VALUES)):
    with open(path, "w") as out:
        for compression in COMPRESSIONS:
            for name in names:
                value, size = VALUES[name], len(json.dumps(VALUES[name], cls=XComEncoder))
                use(base, compression, size + 1)
                kept = push(name, value)
                use(base, compression, size)
                reference = push(name, value)
                assert kept != reference, "the size in bytes is the first that becomes an object"
                text = json.dumps(value, cls=XComEncoder)
                row = {"name": name, "compression": compression, "reference": reference, "text": text}
                print(json.dumps(row), file=out)


def read(base, path, result):
    """Reads each reference, and has the backend remove its object."""
    use(base, "none", 0)
    with open(path) as lines, open(result, "w") as out:
        for line in lines:
            row = json.loads(line)
            got = pull(row["reference"])
            wrong = None if same(VALUES[row["name"]], got) else repr(got)[:200]
            backend.XComObjectStorageBackend.purge(Row(row["reference"]))
            print(json.dumps({"name": row["name"], "wrong": wrong}), file=out)


def record():
    golden = Path(__file__).parent / "golden"
    base = golden.as_uri()
    write(base, golden / "references.jsonl", ["text", "tuple"])
    told = (golden / "references.jsonl").read_text().replace(base, "file:///golden")
    (golden / "references.jsonl").write_text(told)
