"""The values that Excom and Airflow exchange in the tests, as Python has them.

`write` writes what Airflow makes of each value; `read` reads what Excom wrote for it, and compares.
"""

import json
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum
from typing import ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import numpy as np
import pendulum
import pydantic
from airflow.sdk import Asset, AssetAlias, ObjectStoragePath
from airflow.sdk.serde import deserialize, serialize

Named = namedtuple("Named", "x y")


class Level(IntEnum):
    LOW = 1


class Colour(str, Enum):
    RED = "r"


@dataclass
class Inner:
    name: str


@dataclass
class Outer:
    __version__: ClassVar[int] = 3
    x: int
    inner: Inner
    tags: list = field(default_factory=list)


@attrs.define
class Defined:
    x: int
    when: datetime


class Model(pydantic.BaseModel):
    n: int
    when: datetime


class Own:
    __version__ = 2

    def __init__(self, text):
        self.text = text

    def __eq__(self, other):
        return isinstance(other, Own) and self.text == other.text

    def serialize(self):
        return {"text": self.text}

    @staticmethod
    def deserialize(data, version):
        assert version == 2
        return Own(data["text"])


INDIA = timezone(timedelta(hours=5, minutes=30))

VALUES = {
    "naive": datetime(2024, 1, 2, 3, 4, 5, 678901),
    "utc": datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    "before 1970": datetime(1901, 12, 13, 20, 45, 52, 1, tzinfo=timezone.utc),
    "named zone": datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Paris")),
    "fixed offset": datetime(2024, 1, 2, 3, 4, 5, tzinfo=INDIA),
    "pendulum utc": pendulum.datetime(2024, 1, 2),
    "pendulum zone": pendulum.datetime(2024, 7, 1, 12, tz="Europe/Paris"),
    "pendulum offset": pendulum.datetime(2024, 1, 2, tz=pendulum.FixedTimezone(7200)),
    "date": date(2024, 1, 2),
    "pendulum date": pendulum.date(2024, 1, 2),
    "timedelta": timedelta(days=1, seconds=1, microseconds=5),
    "whole timedelta": timedelta(minutes=-1),
    "zone": ZoneInfo("Europe/Paris"),
    "pendulum timezone": pendulum.timezone("Europe/Paris"),
    "pendulum fixed": pendulum.FixedTimezone(-3600),
    "pendulum fixed utc": pendulum.FixedTimezone(0),
    "tuple": (1, "a"),
    "empty tuple": (),
    "tuples inside": {"a": [(1, (2.5, None)), (3, (4.5, "b"))]},
    "named tuple": Named(1, 2),
    "set": {1, 2, 3},
    "frozenset": frozenset({"a"}),
    "whole decimal": Decimal("12"),
    "decimal": Decimal("-9.5"),
    "digits of a decimal": Decimal("1.10"),
    "long decimal": Decimal("12345678901234567890.123456789"),
    "large decimal": Decimal("123456789012345678901234567890"),
    "uuid": UUID("01234567-89ab-cdef-0123-456789abcdef"),
    "numpy int8": np.int8(-5),
    "numpy int64": np.int64(5),
    "numpy uint64": np.uint64(2**64 - 1),
    "numpy float16": np.float16(0.5),
    "numpy float32": np.float32(1.1),
    "numpy float64": np.float64(1.1),
    "numpy bool": np.bool_(True),
    "int enum": Level.LOW,
    "text enum": Colour.RED,
    "ordered dict": OrderedDict(b=1, a=[{2}]),
    "dataclass": Outer(1, Inner("a"), [1, 2]),
    "attrs": Defined(1, datetime(2024, 1, 2, tzinfo=timezone.utc)),
    "pydantic": Model(n=1, when=datetime(2024, 1, 2, tzinfo=timezone.utc)),
    "own": Own("a"),
    "asset": Asset(name="days", uri="s3://weather/days", extra={"a": 1}),
    "asset alias": AssetAlias("days"),
    "path": ObjectStoragePath("file:///data/days.csv"),
}


def same(value, other):
    """Whether they are equal, also in what `==` does not look at."""
    if isinstance(value, Decimal):
        return str(value) == str(other)
    if isinstance(value, tzinfo):
        day = datetime(2024, 7, 1)
        return isinstance(other, tzinfo) and value.utcoffset(day) == other.utcoffset(day)
    if isinstance(value, datetime):
        return value == other and value.utcoffset() == other.utcoffset()
    if isinstance(value, np.generic) and not isinstance(value, np.float16):
        return type(value) is type(other) and value == other
    if isinstance(value, Outer):
        # The class of a dataclass inside another is lost on the way.
        return value.x == other.x and other.inner == {"name": value.inner.name}
    return value == other


def write(path):
    with open(path, "w") as out:
        for name, value in VALUES.items():
            print(json.dumps({"name": name, "json": serialize(value)}), file=out)


def read(path, result):
    with open(path) as lines, open(result, "w") as out:
        for line in lines:
            row = json.loads(line)
            try:
                got = deserialize(row["json"])
                wrong = None if same(VALUES[row["name"]], got) else repr(got)
            except Exception as error:
                wrong = f"{type(error).__name__}: {error}"
            print(json.dumps({"name": row["name"], "wrong": wrong}), file=out)
