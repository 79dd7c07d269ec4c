"""XComs in the REST API."""

import json

from .steps import MAPPED, as_, step


def read(path=""):
    return as_("reader", f"GET entries{path}")


def post(body, task="one"):
    path = "entries" if task == "one" else f"/api/v2/dags/{{dag}}/dagRuns/r1/taskInstances/{task}/xcomEntries"
    return as_("writer", f"POST {path} {body}")


def patch(path, body):
    return as_("writer", f"PATCH entries/{path} {body}")


RESERVED = ["__classname__", "__version__", "__data__", "__id__", "__cache__", "__type", "__source", "__var", "__other__"]

ALL = "/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries?dag_display_name_prefix_pattern={dag}"
FILL = [
    "POST one/rows 1",
    "POST one/Return 2",
    "POST two/rows 3",
    *MAPPED,
    "POST /execution/xcoms/{dag}/r2/one/rows 4",
    "POST /execution/xcoms/{dag}/r3/one/a%25b 5",
    "POST /execution/xcoms/{dag}/r3/one/a_b 6",
]


def lists(*queries):
    return [as_("reader", f"GET {ALL}{query and '&'}{query}") for query in queries]


def of_class(name, data, version="1"):
    """An object as workers write it, with its names in the order in which PostgreSQL keeps them."""
    return f'{{"__data__": {data}, "__version__": {version}, "__classname__": "{name}"}}'


def in_text(value):
    return json.dumps(value, ensure_ascii=False)


PAIR = of_class("builtins.tuple", "[1, 2]")
UTC = of_class("builtins.tuple", '["UTC", "pendulum.tz.timezone.FixedTimezone", 1, true]')
MODULE = "unusual_prefix_0123456789abcdef0123456789abcdef01234567_mod.Point"

# Values that are shown otherwise than they are stored.
SHOWN = {
    "null": "null",
    "true": "true",
    "zero": "0",
    "integer": "-12345678901234567",
    "large-integer": "123456789012345678901234567890",
    "float": "1.5",
    "whole-float": "1.0",
    "small": "5e-324",
    "exponent": "1e3",
    "below-exponent": "0.0001",
    "text": '"text"',
    "empty-text": '""',
    "unicode": '"é 😀"',
    "list": '[1, "a", "it\'s", "\\"both\\" it\'s", [null, true], 1.0, 1e15, 0.00001]',
    "characters": '["é", "😀", "\\u00a0", "\\u200b", "\\ue000", "\\u007f", "\\t\\r\\n\\\\"]',
    "dict": '{"a": {"c": 2.0}, "bb": [], "ccc": {}}',
    "twice-the-key": '{"a": 1, "a": 2}',
    "json-number-in-text": '"5"',
    "json-null-in-text": '"null"',
    "json-dict-in-text": in_text('{"a": [1.0]}'),
    "json-text-in-text": in_text('"a"'),
    "json-tuple-in-text": in_text(PAIR),
    "space-in-text": '" 1 "',
    "no-json-in-text": '"{a}"',
    "nan-in-text": '"NaN"',
    "infinity-in-text": '"[-Infinity]"',
    "tuple": PAIR,
    "empty-tuple": of_class("builtins.tuple", "[]"),
    "tuples": of_class("builtins.tuple", f'[1, {PAIR}, "a", [{PAIR}, "b"], null]'),
    "tuple-in-list": f"[{PAIR}]",
    "tuple-in-dict": f'{{"a": {PAIR}}}',
    "set": of_class("builtins.set", '["b", "a"]'),
    "frozenset": of_class("builtins.frozenset", "[1]"),
    "tuple-of-dict": of_class("builtins.tuple", '{"a": 1}'),
    "datetime": of_class("datetime.datetime", f'{{"tz": {UTC}, "timestamp": 1704164645.678901}}', "2"),
    "naive-datetime": of_class("datetime.datetime", '{"tz": null, "timestamp": 1704164645.0}', "2"),
    "date": of_class("datetime.date", '"2024-01-02"', "2"),
    "timedelta": of_class("datetime.timedelta", "86401.000005", "2"),
    "zone": of_class("zoneinfo.ZoneInfo", '"Europe/Paris"'),
    "decimal": of_class("decimal.Decimal", "1.1"),
    "numpy": of_class("numpy.bool", "true"),
    "frame": of_class("pandas.DataFrame", '"50415231"'),
    "object": of_class("mymod.DC", '{"s": "q", "x": 1, "yy": [1, "a"], "zzz": {"a": "b"}}', "0"),
    "object-of-quotes": of_class("mymod.DC", '{"a": "it\'s", "b": ["it\'s"], "c": null}', "0"),
    "object-in-object": of_class("mymod.DC", f'{{"a": {of_class("mymod.Other", "[1]")}}}', "0"),
    "object-of-dag-file": of_class(MODULE, "{}"),
    "object-without-data": '{"__version__": 3, "__classname__": "mymod.DC"}',
    "object-of-null": of_class("mymod.DC", "null"),
    "version-of-bool": of_class("mymod.DC", "1", "true"),
    "no-version": '{"__data__": 1, "__classname__": "mymod.DC"}',
    "old-tuple": '{"__var": [1], "__type": "tuple"}',
    "old-dict": f'{{"__var": {{"a": {PAIR}}}, "__type": "dict"}}',
    "old-object-in-dict": '{"__var": {"__data__": 1, "__version__": 1, "__classname__": "a.B"}, "__type": "dict"}',
    "of-airflow": of_class("airflow.sdk.definitions.asset.AssetAlias", '{"name": "al", "group": "asset"}', "0"),
    "of-airflow-inside": f'[{PAIR}, {of_class("airflow.sdk.definitions.asset.AssetAlias", "1")}]',
    "of-airflow-in-text": in_text(of_class("airflow.sdk.definitions.asset.AssetAlias", '{"name": "al", "group": "asset"}', "0")),
    "of-airflow-in-text-unknown": in_text(of_class("airflow.nowhere.Nothing", "1")),
}

# Objects that are none.
MALFORMED = {
    "class-of-number": '{"__data__": 1, "__version__": 1, "__classname__": 5}',
    "class-of-nothing": of_class("", "1"),
    "version-of-text": of_class("a.B", "1", '"1"'),
    "old-dict-of-list": '{"__var": [1], "__type": "dict"}',
    "old-type-of-number": '{"__var": [1], "__type": 5}',
}

REST = {
    "rest.get": [
        "POST one/k {\"a\": [1, null, \"é\"]}",
        read("/k"),
        read("/k?map_index=-1"),
        read("/k?map_index=0"),
        read("/other"),
        read("/k?map_index=-2"),
        read("/k?map_index=99999999999"),
        read("/k?map_index=x"),
        read("/k?unknown=1"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r9/taskInstances/one/xcomEntries/k"),
        as_("reader", "GET /api/v2/dags/nowhere/dagRuns/r1/taskInstances/one/xcomEntries/k"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/nobody/xcomEntries/k"),
        as_("reader", "GET /api/v2/dags/~/dagRuns/r1/taskInstances/one/xcomEntries/k"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/~/taskInstances/one/xcomEntries/k"),
        "POST one/a/b 1",
        read("/a/b"),
        read("/a%2Fb"),
        "POST many/k?map_index=1 null",
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/many/xcomEntries/k?map_index=1"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/many/xcomEntries/k"),
        read("/k?deserialize=false&stringify=false"),
        read("/k?deserialize=maybe"),
        read("/k?stringify=maybe"),
    ],
    "rest.shown": [
        line
        for name, value in SHOWN.items()
        for line in (
            f"POST one/{name} {value}",
            read(f"/{name}?deserialize=true"),
            read(f"/{name}?stringify=true"),
            read(f"/{name}?deserialize=1&stringify=yes"),
        )
    ],
    "rest.shown-wrong": [
        read("/k?deserialize=true"),
        read("/k?stringify=true&map_index=x"),
        read("/k?deserialize=2"),
        "POST many/k?map_index=1 [1.0]",
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/many/xcomEntries/k?map_index=1&stringify=true"),
    ],
    "rest.shown-order": ['POST one/k {"bb": 1, "a": 2}', read("/k?stringify=true")],
    "rest.shown-unassigned": ['POST one/k ["\\u0378"]', read("/k?stringify=true")],
    "rest.shown-malformed": [
        line
        for name, value in MALFORMED.items()
        for line in (f"POST one/{name} {value}", read(f"/{name}?deserialize=true"), read(f"/{name}?stringify=true"))
    ],
    "rest.list": [
        *FILL,
        read(),
        read("?xcom_key=rows"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/~/taskInstances/one/xcomEntries"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/~/xcomEntries"),
        as_("reader", "GET /api/v2/dags/~/dagRuns/r3/taskInstances/~/xcomEntries?dag_display_name_pattern={dag}"),
        as_("reader", "GET /api/v2/dags/nowhere/dagRuns/~/taskInstances/~/xcomEntries"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r9/taskInstances/~/xcomEntries"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/nobody/xcomEntries"),
        *lists(""),
    ],
    "rest.list-filters": [
        *FILL,
        *lists(
            "xcom_key=rows", "xcom_key=ROWS", "xcom_key=", "map_index=1", "map_index=-1", "map_index=-2", "map_index=99999999999",
            "map_index_filter=1",
            "map_index_filter=-1", "map_index=1&map_index_filter=2", "xcom_key_pattern=ROW", "xcom_key_pattern=o%25s",
            "xcom_key_pattern=s%25o", "xcom_key_pattern=_", "xcom_key_pattern=r_ws", "xcom_key_pattern=%25", "xcom_key_pattern=~",
            "xcom_key_pattern=", "xcom_key_pattern=row|ret", "xcom_key_pattern=row%20|%20ret", "xcom_key_pattern=|",
            "xcom_key_pattern=a%5C%25b", "xcom_key_prefix_pattern=ro", "xcom_key_prefix_pattern=RO", "xcom_key_prefix_pattern=ro|Re",
            "xcom_key_prefix_pattern=~", "xcom_key_prefix_pattern=", "xcom_key_prefix_pattern=a%25", "xcom_key_prefix_pattern=a_",
            "run_id_pattern=R2", "run_id_prefix_pattern=r3", "task_id_pattern=AN", "task_id_prefix_pattern=ma", "run_id_pattern=r1|r2",
            "logical_date_gte=2026-11-02T00:00:00Z", "logical_date_gt=2026-11-02T00:00:00Z", "logical_date_lte=2026-11-02T00:00:00Z",
            "logical_date_lt=2026-11-02T00:00:00Z", "logical_date_gte=2026-11-02T00:00:00Z&logical_date_lt=2026-11-03T00:00:00Z",
            "logical_date_gte=2026-11-02T02:00:00%2B02:00", "logical_date_gte=2026-11-02", "logical_date_gte=2026-11-02T00:00:00",
            "run_after_gte=2026-11-02T00:00:00Z", "run_after_gt=2026-11-02T00:00:00Z", "run_after_lte=2026-11-02T00:00:00Z",
            "run_after_lt=2026-11-02T00:00:00Z", "unknown=1",
        ),
    ],
    "rest.list-order": [
        *FILL,
        # Airflow leaves open in which order what is equal comes.
        *lists(
            *[
                f"order_by={sign}{name}&order_by=run_id&order_by=task_id&order_by=map_index&order_by=key"
                for sign in ("", "-")
                for name in ("key", "dag_id", "run_id", "task_id", "map_index", "timestamp", "run_after")
            ],
            "order_by=-timestamp", "order_by=value", "order_by=", "order_by=-", "order_by=logical_date",
        ),
    ],
    "rest.list-pages": [
        *FILL,
        *lists("limit=2", "limit=2&offset=2", "limit=0", "offset=99", "limit=1000", "limit=99999999999999999999"),
        *lists("limit=-1", "offset=-1", "limit=x", "offset=x", "limit="),
    ],
    "rest.list-wrong": [
        *lists("map_index=x", "map_index_filter=x", "logical_date_gte=soon", "run_after_lt="),
        *lists("logical_date_lt=2026-13-01T00:00:00Z"),
    ],
    "rest.post": [
        post('{"key": "k", "value": {"a": 1}}'),
        read("/k"),
        "GET one/k",
        post('{"key": "k", "value": 2}'),
        post('{"key": "null", "value": null}'),
        read("/null"),
        post('{"key": "a/b c", "value": [1.0, 2]}'),
        read("/a/b%20c"),
        post('{"key": "m", "value": 1, "map_index": 2}', "many"),
        as_("reader", "GET /api/v2/dags/{dag}/dagRuns/r1/taskInstances/many/xcomEntries/m?map_index=2"),
        post('{"key": "i", "value": 12345678901234567890123}'),
        read("/i"),
    ],
    "rest.post-wrong": [
        post("{}"),
        post('{"key": "k"}'),
        post('{"value": 1}'),
        post('{"key": 1, "value": 1}'),
        post('{"key": null, "value": 1}'),
        post('{"key": "k", "value": 1, "more": 1}'),
        post('{"key": "k", "value": 1, "map_index": "x"}'),
        post('{"key": "k", "value": 1, "map_index": "-1"}'),
        post('{"key": "k2", "value": 1, "map_index": -1.0}'),
        post('{"key": "k", "value": 1, "map_index": null}'),
        post('{"key": "k", "value": 1, "map_index": -2}'),
        post("[]"),
        post("{"),
        post(""),
        post('{"key": "nan", "value": NaN}'),
        step('POST entries {"key": "k3", "value": 1}', token="writer", headers={"content-type": "text/plain"}),
        step('POST entries {"key": "k4", "value": 1}', token="writer", headers={"content-type": None}),
    ],
    "rest.post-unknown": [
        post('{"key": "k", "value": 1}', "nobody"),
        as_("writer", 'POST /api/v2/dags/nowhere/dagRuns/r1/taskInstances/one/xcomEntries {"key": "k", "value": 1}'),
        as_("writer", 'POST /api/v2/dags/{dag}/dagRuns/r9/taskInstances/one/xcomEntries {"key": "k", "value": 1}'),
    ],
    "rest.post-unknown-map-index": [post('{"key": "k", "value": 1, "map_index": 7}')],
    "rest.post-empty-key": [post('{"key": "", "value": 1}')],
    "rest.post-long-key": [post('{"key": "%s", "value": 1}' % ("k" * 513))],
    "rest.post-nul": [post('{"key": "k", "value": "a\\u0000b"}')],
    "rest.reserved": [
        *[post('{"key": "k", "value": {"%s": 1}}' % key) for key in RESERVED],
        post('{"key": "k1", "value": [{"a": {"__data__": 1}}]}'),
        post('{"key": "k2", "value": "{\\"__type\\": 1}"}'),
        post('{"key": "k3", "value": "[{\\"__type\\": 1}]"}'),
        post('{"key": "k4", "value": "__type"}'),
        post('{"key": "k5", "value": {"a": "{\\"__type\\": 1}"}}'),
        post('{"key": "k6", "value": "{\\"a\\": \\"{\\\\\\"__type\\\\\\": 1}\\"}"}'),
        post('{"key": "k7", "value": "\\"{\\\\\\"__type\\\\\\": 1}\\""}'),
        post('{"key": "__type", "value": 1}'),
        "POST one/k {\"__type\": 1}",
        patch("k", '{"value": {"__type": 1}}'),
    ],
    "rest.patch": [
        patch("k", '{"value": 1}'),
        "POST one/k 1",
        patch("k", '{"value": {"b": 2}}'),
        read("/k"),
        patch("k", '{"value": null}'),
        "GET one/k",
        "POST many/k?map_index=1 1",
        as_("writer", 'PATCH /api/v2/dags/{dag}/dagRuns/r1/taskInstances/many/xcomEntries/k {"value": 2, "map_index": 1}'),
        as_("writer", 'PATCH /api/v2/dags/{dag}/dagRuns/r1/taskInstances/many/xcomEntries/k {"value": 2}'),
        as_("writer", 'PATCH /api/v2/dags/nowhere/dagRuns/r1/taskInstances/one/xcomEntries/k {"value": 2}'),
        as_("writer", 'PATCH /api/v2/dags/{dag}/dagRuns/r9/taskInstances/one/xcomEntries/k {"value": 2}'),
        patch("k", "{}"),
        patch("k", '{"value": 1, "more": 1}'),
        patch("k", '{"value": 1, "map_index": "x"}'),
        patch("k", "{"),
        as_("writer", 'PUT entries/k {"value": 1}'),
    ],
    "rest.delete": [
        "POST one/k 1",
        as_("admin", "DELETE entries/k"),
        read("/k"),
        "GET one/k",
        as_("admin", "DELETE entries/k"),
        as_("admin", "DELETE entries/k?map_index=x"),
        as_("admin", "DELETE entries/k?map_index=-2"),
        as_("admin", "DELETE entries/k?map_index=99999999999"),
        as_("admin", "DELETE /api/v2/dags/nowhere/dagRuns/r1/taskInstances/one/xcomEntries/k"),
        as_("admin", "DELETE /api/v2/dags/{dag}/dagRuns/r9/taskInstances/one/xcomEntries/k"),
        "POST many/k?map_index=1 1",
        as_("admin", "DELETE /api/v2/dags/{dag}/dagRuns/r1/taskInstances/many/xcomEntries/k"),
        as_("admin", "DELETE /api/v2/dags/{dag}/dagRuns/r1/taskInstances/many/xcomEntries/k?map_index=1"),
    ],
    "rest.tokens": [
        as_(None, "GET entries"),
        as_("no token", "GET entries"),
        as_("HS256", "GET entries"),
        as_("task", "GET entries"),
        as_("reader", 'POST entries {"key": "k", "value": 1}'),
        as_("writer", 'POST entries {"key": "k", "value": 1}'),
        as_("reader", 'PATCH entries/k {"value": 1}'),
        as_("reader", "DELETE entries/k"),
    ],
    "rest.delete-as-writer": ["POST one/k 1", as_("writer", "DELETE entries/k")],
}
