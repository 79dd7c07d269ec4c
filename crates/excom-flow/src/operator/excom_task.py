"""What a Python script sees of the Excom task that runs it.

It needs Python 3.8 and nothing else. Inputs and the output are files; ``pull`` and ``push`` call the
``excom`` command, which knows the task from the environment.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping

__all__ = ["NoValue", "inputs", "output", "pull", "push"]


class NoValue(LookupError):
    """There is no value under that key; the message says why."""


class _Inputs(Mapping):
    """The inputs of the task by name, each read when it is asked for."""

    def __getitem__(self, name):
        path = os.path.join(os.environ["EXCOM_INPUTS"], f"{name}.json")
        if name not in list(self):
            known = ", ".join(self) or "none"
            raise KeyError(f"the task has no input `{name}`; it has: {known}")
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def __iter__(self):
        names = os.listdir(os.environ["EXCOM_INPUTS"])
        return iter(sorted(name[: -len(".json")] for name in names))

    def __len__(self):
        return len(os.listdir(os.environ["EXCOM_INPUTS"]))


inputs = _Inputs()


def _text(value):
    # NaN and infinity are not JSON, and would be refused later without the line that made them.
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def output(value):
    """Sets what the task returns. The last call counts; None is nothing."""
    text = _text(value)
    with open(os.environ["EXCOM_OUTPUT"], "w", encoding="utf-8") as file:
        file.write(text)


def push(key, value):
    """Pushes an XCom of this task, at once; it stays even if the script fails later."""
    done = _excom(["push", "--key", key, "-"], _text(value))
    if done.returncode != 0:
        raise RuntimeError(f"the push of `{key}` failed: {done.stderr.strip()}")


_MISSING = object()


def pull(task_id, key="return_value", default=_MISSING):
    """Pulls an XCom of another task of this run; without a value, the default or NoValue."""
    done = _excom(["pull", "--task-id", task_id, "--key", key])
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode == 3:
        if default is not _MISSING:
            return default
        raise NoValue(done.stderr.strip())
    raise RuntimeError(f"the pull of `{key}` from `{task_id}` failed: {done.stderr.strip()}")


def _excom(arguments, text=None):
    command = shutil.which("excom")
    if command is None:
        raise RuntimeError(
            "the `excom` command is not on the PATH, and pull and push need it; "
            "install it (`cargo install --path crates/excom-cli`), or use inputs and output"
        )
    return subprocess.run(
        [command, "xcom", *arguments],
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
