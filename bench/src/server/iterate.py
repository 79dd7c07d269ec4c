"""Iterates the values of a mapped task with Airflow's own client, one request each, as a task does that takes them one by one.

Usage: iterate.py FILE SERVER TOKEN RUN_ID COUNT. The seconds that it took go into the file.
"""

import sys
import time

from airflow.sdk.api.client import Client

file, server, token, run_id, count = sys.argv[1:]
client = Client(base_url=f"{server}/execution/", token=token)
begin = time.monotonic()
for offset in range(int(count)):
    item = client.xcoms.get_sequence_item("weather", run_id, "mapped", "return_value", offset)
    assert len(str(item.root)) > 500, item
took = time.monotonic() - begin
with open(file, "w") as written:
    written.write(str(took))
