"""What Airflow's API server answers for each line of a file: a text as an environment variable has it, or anything else as a
file of connections has it. A line of its own for each, with the answer as it is sent, or null where there is none."""

import json
from pathlib import Path

from airflow.api_fastapi.execution_api.datamodels.connection import ConnectionResponse
from airflow.secrets.environment_variables import EnvironmentVariablesBackend
from airflow.secrets.local_filesystem import load_connections_dict


def of_file(beside, value):
    file = Path(beside).with_name("connections.json")
    file.write_text(json.dumps({"c": value}))
    return load_connections_dict(str(file))["c"]


def answered(lines, result):
    backend = EnvironmentVariablesBackend()
    with open(lines) as rows, open(result, "w") as out:
        for row in map(json.loads, rows):
            try:
                made = of_file(result, row["file"]) if "file" in row else backend.deserialize_connection("c", row["text"])
                answer = ConnectionResponse.model_validate(made).model_dump_json(by_alias=True)
            except Exception:
                answer = None
            print(json.dumps(answer), file=out)
