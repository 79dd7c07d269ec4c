"""Writes the XComs in Airflow's own SQLite file as JSON lines: DAG, task, map index, key and value.

Usage: xcoms.py DATABASE OUTPUT
"""

import json
import sqlite3
import sys


def main():
    database, output = sys.argv[1:]
    rows = sqlite3.connect(database).execute("SELECT dag_id, task_id, map_index, key, value FROM xcom ORDER BY 1, 2, 3, 4")
    with open(output, "w") as file:
        for *names, value in rows:
            # SQLite keeps a text that is a number as one.
            file.write(json.dumps([*names, json.loads(value) if isinstance(value, str) else value]) + "\n")


if __name__ == "__main__":
    main()
