"""What is asked of both servers: by name, steps in their order.

A step is `METHOD path body`, sent with the token of the task `one` in `r1` unless it names another one. The path is that of
an XCom of the run `r1` of the scenario's own DAG, `task/key`; or begins with `entries`, for the list in the REST API of the
XComs of `one`; or with a slash. `{dag}` is the name of the scenario, and of its DAG. The rest of the line is the body, as it
is.
"""

import json


def step(text, **how):
    """A step with another token, or with headers."""
    return text, how


def as_(token, text):
    return step(text, token=token)


MAPPED = [f"POST many/k?map_index={index} {index * 10}" for index in range(3)]

# JSON values of every kind, and some that are none.
VALUES = {
    "null": "null",
    "true": "true",
    "false": "false",
    "zero": "0",
    "minus-zero": "-0",
    "minus-zero-float": "-0.0",
    "integer": "12345678901234567",
    "large-integer": "123456789012345678901234567890",
    "float": "1.5",
    "whole-float": "1.0",
    "exponent": "1e3",
    "small": "5e-324",
    "large-float": "1.5e300",
    "too-large-float": "1e400",
    "digits": "3.14159265358979323846264338327950288",
    "text": '"text"',
    "empty-text": '""',
    "unicode": '"é \U0001f600 \\u00e9 \\ud83d\\ude00"',
    "escapes": r'"\" \\ \/ \b \f \n \r \t"',
    "nul": r'"a\u0000b"',
    "lone-surrogate": r'"\ud800"',
    "json-in-text": r'"{\"a\": 1}"',
    "list": '[1, [2, null], {"a": []}]',
    "empty-list": "[]",
    "dict": '{"bb": 1, "a": {"c": 2.0}, "": "x"}',
    "empty-dict": "{}",
    "twice-the-key": '{"a": 1, "a": 2}',
    "tuple": '{"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2]}',
    "deep": "[" * 300 + "]" * 300,
    "spaces": ' \n {"a" : 1 } \t',
    "nothing": "",
    "nan": "NaN",
    "infinity": "-Infinity",
    "cut-off": "{",
    "two-values": "1 2",
    "no-json": "rows",
    "comma": "[1,]",
    "one-quote": "'text'",
}

# Keys as they are in a path.
KEYS = [
    "a/b",
    "a//b",
    "a%2Fb",
    "a%20b",
    "%C3%A9",
    "a+b",
    "a:b&c=d;e,f@g!h$i'j(k)*l~m",
    "100%25",
    "100%zz",
    "a%3Fb",
    "a%23b",
    "a%5Cb",
    "a%0Ab",
    "..",
    "..%2F..%2Fother",
    "%7Ba%7D",
    "a%00b",
    "a%FFb",
    "a/",
    "/a",
    "item/0",
    "a/slice/",
    "k" * 512,
    "k" * 513,
    "%C3%A9" * 512,
]

# Slices of three elements.
ENDS = [(-5, -2), (-5, 4), (-3, -1), (-2, 0), (-1, 2), (0, -5), (0, -1), (0, 2), (1, 9), (2, 1), (2, -1), (5, 9)]
SLICES = ["", *[f"?{name}={number}" for name in ("start", "stop") for number in (-9, -2, 0, 1, 9)]]
SLICES += [f"?start={start}&stop={stop}" for start, stop in ENDS]
SLICES += [f"?{ends}step={step}" for ends in ("", "start=1&", "stop=-1&") for step in (-2, -1, 0, 2)]
SLICES += ["?start=2&stop=0&step=-1", "?start=0&stop=2&step=-1", "?start=-1&stop=-3&step=-1"]

XCOMS = {
    "get.missing": [
        "GET one/k",
        "GET one/k?map_index=0",
        "GET many/k?map_index=1",
        "GET nobody/k",
        "GET /execution/xcoms/{dag}/r9/one/k",
        "GET /execution/xcoms/nowhere/r1/one/k",
        "GET one/k?offset=0",
        "GET one/k/item/0",
        "GET one/k/item/-1",
        "GET one/k/slice",
        "HEAD one/k",
        "DELETE one/k",
    ],
    "get.null": [
        "POST one/k null",
        "GET one/k",
        "GET one/k?offset=0",
        "GET one/k/item/0",
        "GET one/k/slice",
        "HEAD one/k",
        "POST many/k?map_index=0 null",
        "POST many/k?map_index=1 1",
        "GET many/k?offset=0",
        "GET many/k?offset=1",
        "GET many/k/item/0",
        "GET many/k/slice",
        "HEAD many/k",
    ],
    "get.map-index": [
        *MAPPED,
        "GET many/k",
        "GET many/k?map_index=-1",
        "GET many/k?map_index=0",
        "GET many/k?map_index=2",
        "GET many/k?map_index=3",
        "GET many/k?map_index=%201",
        "GET many/k?map_index=+1",
        "GET many/k?map_index=01",
        "GET many/k?map_index=1_0",
        "GET many/k?map_index=1.0",
        "GET many/k?map_index=1&map_index=2",
        "GET many/k?unknown=1",
    ],
    "get.wrong": [
        "GET one/k?map_index=x",
        "GET one/k?map_index=",
        "GET one/k?map_index=1.5",
        "GET one/k?map_index=-7",
        "GET one/k?map_index=99999999999",
        "GET one/k?map_index=99999999999999999999",
        "GET one/k?offset=x",
        "GET one/k?offset=99999999999999999999",
        "GET one/k?include_prior_dates=maybe",
        "GET one/k?include_prior_dates=",
        "GET one/k/item/x",
        "GET one/k/item/1.5",
        "GET one/k/item/99999999999999999999",
        "GET one/k/slice?start=x",
        "GET one/k/slice?stop=1.5",
        "GET one/k/slice?step=",
        "GET one/k/slice?include_prior_dates=2",
        "GET one/k?map_index=x&offset=y",
    ],
    "get.offset": [
        *MAPPED,
        *[f"GET many/k?offset={offset}" for offset in (0, 1, 2, 3, -1, -3, -4)],
        "GET many/k?offset=1&map_index=2",
        "POST one/k 1",
        "GET one/k?offset=0",
        "GET one/k?offset=-1",
        "GET one/k?offset=1",
    ],
    "get.prior-dates": [
        "POST /execution/xcoms/{dag}/r1/one/k 1",
        "GET /execution/xcoms/{dag}/r3/one/k",
        "GET /execution/xcoms/{dag}/r3/one/k?include_prior_dates=true",
        "GET /execution/xcoms/{dag}/r3/one/k/slice?include_prior_dates=true",
        "POST /execution/xcoms/{dag}/r2/one/k 2",
        "GET /execution/xcoms/{dag}/r3/one/k?include_prior_dates=1",
        "GET /execution/xcoms/{dag}/r1/one/k?include_prior_dates=True",
        "GET /execution/xcoms/{dag}/r3/one/k?include_prior_dates=no",
        "GET /execution/xcoms/{dag}/r3/one/other?include_prior_dates=true",
        "GET /execution/xcoms/{dag}/r9/one/k?include_prior_dates=true",
        "POST /execution/xcoms/{dag}/r1/many/k?map_index=1 3",
        "GET /execution/xcoms/{dag}/r2/many/k?map_index=1&include_prior_dates=true",
        "GET /execution/xcoms/{dag}/r2/many/k?map_index=0&include_prior_dates=true",
        "GET /execution/xcoms/{dag}/r2/many/k/slice?include_prior_dates=true",
    ],
    "slice.prior-dates-of-two-runs": [
        "POST /execution/xcoms/{dag}/r1/one/k 1",
        "POST /execution/xcoms/{dag}/r2/one/k 2",
        "GET /execution/xcoms/{dag}/r3/one/k/slice?include_prior_dates=true",
    ],
    "item": [
        *MAPPED,
        *[f"GET many/k/item/{position}" for position in (0, 1, 2, 3, -1, -2, -3, -4)],
        "GET many/k/item/+1",
        "GET many/k/item/01",
        "GET many/k/item/%201",
        "GET many/k/item/1/",
        "GET many/k/item/",
        as_("many[1]", "DELETE many/k?map_index=1"),
        "GET many/k/item/1",
        "GET many/k/item/2",
        "POST one/k [1,2]",
        "GET one/k/item/0",
        "GET one/k/item/-1",
        "GET one/k/item/1",
    ],
    "head": [
        "HEAD many/k",
        *MAPPED,
        "HEAD many/k",
        "HEAD many/k?map_index=1",
        "HEAD many/k?map_index=x",
        "HEAD many/k?unknown=1",
        "HEAD many/",
        "HEAD nobody/k",
    ],
    "slice": [*MAPPED, *[f"GET many/k/slice{ends}" for ends in SLICES]],
    "slice.of-one": [
        "POST one/k [1,2]",
        *[f"GET one/k/slice{ends}" for ends in ("", "?start=0", "?start=1", "?stop=1", "?step=-1", "?start=-1", "?stop=-1", "/")],
    ],
    "post.wrong": [
        "POST one/k?map_index=x 1",
        "POST one/k?mapped_length=x []",
        "POST one/k?dag_result=maybe 1",
        "POST one/k?mapped_length=1025 []",
        "GET one/k",
        step("POST one/k 1", headers={"content-type": "text/plain"}),
        step("POST one/k 1", headers={"content-type": "application/x-www-form-urlencoded"}),
        step("POST one/k 1", headers={"content-type": "application/json; charset=utf-8"}),
        step("POST one/k 1", headers={"content-type": "application/vnd.example+json"}),
        step("POST one/k 2", headers={"content-type": ""}),
        step("POST one/k 3", headers={"content-type": None}),
        step("POST one/k", headers={"content-type": None}),
        step("POST one/k", headers={"content-type": "text/plain"}),
        "GET one/k",
    ],
    "post.mapped-length": [
        "POST one/return_value?mapped_length=2 [1,2]",
        "GET one/return_value",
        "POST one/return_value?mapped_length=1024 [1,2]",
        "POST one/return_value?mapped_length=0 []",
        "POST one/return_value?mapped_length= []",
        "GET one/return_value",
        "POST one/k?dag_result=true 1",
        "POST one/k?dag_result=false 1",
        "POST one/k?unknown=1 1",
    ],
    "post.negative-length": ["POST one/k?mapped_length=-1 []", "GET one/k"],
    "post.again": ["POST one/k 1", "POST one/k 2", "GET one/k", "DELETE one/k", "POST one/k 3", "GET one/k"],
    "post.for-others": [
        "POST two/k 1",
        "GET two/k",
        "POST /execution/xcoms/{dag}/r2/one/k 2",
        "GET /execution/xcoms/{dag}/r2/one/k",
    ],
    "post.unknown-run": ["POST /execution/xcoms/{dag}/r9/one/k 1", "POST /execution/xcoms/nowhere/r1/one/k 1"],
    "post.unknown-task": ["POST nobody/k 1", "GET nobody/k"],
    "post.unknown-map-index": ["POST one/k?map_index=3 1", "POST many/k 1", "POST many/k?map_index=7 1", "GET many/k/slice"],
    "delete": [
        "POST one/k 1",
        "DELETE one/k",
        "GET one/k",
        "DELETE one/k",
        "POST one/k 2",
        "GET one/k",
        "DELETE one/k?map_index=x",
        "DELETE one/k?unknown=1",
        "GET one/k",
        *MAPPED,
        as_("many[1]", "DELETE many/k?map_index=1"),
        "GET many/k/slice",
        "HEAD many/k",
    ],
    "delete.of-others": [
        "POST two/k 1",
        "DELETE two/k",
        "GET two/k",
        "DELETE nobody/k",
        "DELETE /execution/xcoms/nowhere/r1/one/k",
        *MAPPED,
        "DELETE many/k",
        "DELETE many/k?map_index=1",
        "GET many/k/slice",
        "POST /execution/xcoms/{dag}/r2/one/k 1",
        "DELETE /execution/xcoms/{dag}/r2/one/k",
        "GET /execution/xcoms/{dag}/r2/one/k",
    ],
    "key.empty": ["GET one/", "POST one/ 1", "DELETE one/", "GET one", "POST one 1", "DELETE one"],
    "key.like-a-part": [
        "POST one/a/slice 1",
        "GET one/a/slice",
        "POST one/a/item/0 1",
        "GET one/a/item/0",
        "POST one/a/item/x 1",
        "DELETE one/a/slice",
        "DELETE one/a/item/0",
        "POST one/slice 1",
        "GET one/slice",
        "POST one/a/slice/ 2",
        "GET one/a/slice/",
        "POST one/a/item/0/ 3",
        "GET one/a/item/0/",
    ],
    "methods": [
        "PUT one/k 1",
        "PATCH one/k 1",
        "OPTIONS one/k",
        "PUT one/k/slice 1",
        "GET /execution/nothing",
        "GET /execution/xcoms",
        "POST /execution/xcoms/{dag} 1",
    ],
    "values": [
        line
        for name, value in VALUES.items()
        for line in (f"POST one/{name} {value}", f"GET one/{name}", f"GET one/{name}/slice")
    ],
    "keys": [line for key in KEYS for line in (f"POST one/{key} 1", f"GET one/{key}", f"DELETE one/{key}", f"GET one/{key}")],
}

TOKENS = {
    "token.none": [as_(None, line) for line in ("GET one/k", "POST one/k 1", "HEAD one/k", "GET /execution/health")],
    "token.other-scheme": [
        step("GET one/k", token=None, headers={"authorization": "Basic YTpi"}),
        step("GET one/k", token=None, headers={"authorization": "Bearer"}),
        step("GET one/k", token=None, headers={"authorization": "Bearer "}),
        step("GET one/k", token=None, headers={"authorization": "x"}),
    ],
    "tokens": [
        as_(name, "GET one/k")
        for name in (
            "no token", "queued", "expired", "just expired", "ends soon", "not yet", "from the future", "endless", "without iat",
            "without jti and nbf", "without scope", "of another scope", "of another audience", "of audiences", "HS256",
            "of another secret", "unsigned", "of nobody", "of no task instance", "admin",
        )
    ],
    "token.of-another-task": ["POST two/k 1", "GET two/k", "GET /execution/xcoms/get.missing/r1/one/k"],
    "version": [
        step("GET one/k", headers={"airflow-api-version": version})
        for version in ("2026-06-30", "2025-04-11", "2025-12-01", "2030-01-01", "2025-01-01", "", "soon", "2026-06-31")
    ],
    "correlation": [step("GET one/k", headers={"correlation-id": "abc"})],
}

VARIABLES = {
    "variables": [
        "GET /execution/variables/{dag}.k",
        'PUT /execution/variables/{dag}.k {"val": "text"}',
        "GET /execution/variables/{dag}.k",
        'PUT /execution/variables/{dag}.k {"value": "other", "description": "of a test"}',
        "GET /execution/variables/{dag}.k",
        'PUT /execution/variables/{dag}.k {"val": ""}',
        "GET /execution/variables/{dag}.k",
        'PUT /execution/variables/{dag}.k {"val": null}',
        "GET /execution/variables/{dag}.k",
        'PUT /execution/variables/{dag}.k {"val": "é \U0001f600 \\" \\\\ \\n"}',
        "GET /execution/variables/{dag}.k",
        "DELETE /execution/variables/{dag}.k",
        "GET /execution/variables/{dag}.k",
        "DELETE /execution/variables/{dag}.k",
    ],
    "variables.keys": [
        *[f'PUT /execution/variables/{{dag}}.{key} {{"val": "1"}}' for key in ("a", "b/c", "b%20d", "%25", "A", "_", "10%25")],
        "GET /execution/variables/{dag}.b/c",
        "GET /execution/variables/{dag}.b%20d",
        "GET /execution/variables/keys?prefix={dag}.",
        "GET /execution/variables/keys?prefix={dag}.b",
        "GET /execution/variables/keys?prefix={dag}.%25",
        "GET /execution/variables/keys?prefix={dag}._",
        "GET /execution/variables/keys?prefix={dag}.&limit=2",
        "GET /execution/variables/keys?prefix={dag}.&limit=2&offset=2",
        "GET /execution/variables/keys?prefix={dag}.&offset=99",
        "GET /execution/variables/keys?prefix=nothing",
        "GET /execution/variables/keys?limit=0",
        "GET /execution/variables/keys?limit=10001",
        "GET /execution/variables/keys?limit=x",
        "GET /execution/variables/keys?offset=-1",
    ],
    "variables.wrong": [
        "PUT /execution/variables/{dag}.k {}",
        'PUT /execution/variables/{dag}.k {"val": 1}',
        'PUT /execution/variables/{dag}.k {"val": "x", "description": 1}',
        'PUT /execution/variables/{dag}.k {"val": "x", "more": 1}',
        'PUT /execution/variables/{dag}.k {"val": "x", "value": "y"}',
        "PUT /execution/variables/{dag}.k [1]",
        "PUT /execution/variables/{dag}.k {",
        "PUT /execution/variables/{dag}.k",
        step('PUT /execution/variables/{dag}.k {"val": "x"}', headers={"content-type": "text/plain"}),
        "GET /execution/variables/{dag}.k",
        "GET /execution/variables/",
        'PUT /execution/variables/ {"val": "x"}',
        "DELETE /execution/variables/",
        'POST /execution/variables/{dag}.k {"val": "x"}',
        as_(None, "GET /execution/variables/{dag}.k"),
        as_("queued", "GET /execution/variables/{dag}.k"),
    ],
    "variables.long": [
        *[f'PUT /execution/variables/{"k" * length} {{"val": "1"}}' for length in (250, 251)],
        f"GET /execution/variables/{'k' * 250}",
        f"DELETE /execution/variables/{'k' * 250}",
    ],
    "variables.nul": ['PUT /execution/variables/{dag}.k {"val": "a\\u0000b"}', "GET /execution/variables/{dag}.k"],
    "variables.surrogate": ['PUT /execution/variables/{dag}.k {"val": "\\ud800"}', "GET /execution/variables/{dag}.k"],
    "variables.named-keys": [
        'PUT /execution/variables/keys {"val": "x"}',
        "GET /execution/variables/keys?prefix=keys",
        "DELETE /execution/variables/keys",
    ],
}


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


# Both have `my_db`, `json` and `untyped` in the environment, and `files` in a file: see the test that starts them.
CONNECTIONS = {
    "connections": [
        *[f"GET /execution/connections/{known}" for known in ("my_db", "MY_DB", "My_Db", "json", "untyped", "files", "fields")],
        *[f"GET /execution/connections/{missing}" for missing in ("nowhere", "FILES", "empty", "{dag}")],
        "GET /execution/connections/my_db?unknown=1",
    ],
    "connections.ids": [
        f"GET /execution/connections/{conn_id}"
        for conn_id in (
            "", "/", "a/b", "a%2Fb", "my_db/", "my_db%20", "%20my_db", "my%5Fdb", "my_db%0A", "my_db%00", "%C3%A9", "%FF", "..", "%2E%2E",
            "..%2F..%2Fmy_db", "my.db", "my%25db", "my_db%3F", "k" * 250, "k" * 251, "{{ conn }}".replace(" ", "%20"), "'%20or%201=1--",
        )
    ],
    "connections.methods": [
        f"{method} /execution/connections/my_db{body}"
        for method, body in (("POST", " {}"), ("PUT", ' {"conn_type": "http"}'), ("PATCH", " {}"), ("DELETE", ""), ("HEAD", ""))
    ],
    "connections.tokens": [
        as_(None, "GET /execution/connections/my_db"),
        *[as_(token, "GET /execution/connections/my_db") for token in ("no token", "queued", "expired", "reader", "admin", "many[1]")],
        as_("queued", "GET /execution/connections/nowhere"),
    ],
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

WAIT = "/api/v2/dags/{dag}/dagRuns/r4/wait"
RETURNED = [
    'POST /execution/xcoms/{dag}/r4/one/return_value {"a": [1, null, "é", 1.5]}',
    *[f"POST /execution/xcoms/{{dag}}/r4/many/return_value?map_index={index} {index}" for index in (2, 0)],
    "POST /execution/xcoms/{dag}/r4/two/other 1",
]


def wait(*queries, path=WAIT):
    return [as_("reader", f"GET {path}{query and '?'}{query}") for query in queries]


WAITS = {
    "rest.wait": [
        *RETURNED,
        *wait(
            "interval=1", "interval=1&result=one", "interval=0.5&result=many", "interval=1e300&result=two",
            "interval=1&result=two&result=one&result=nobody&result=many&result=one", "interval=1&result=",
            "interval=1&unknown=1",
        ),
        "POST /execution/xcoms/{dag}/r4/two/return_value null",
        *wait("interval=1&result=two"),
    ],
    "rest.wait-wrong": [
        *wait("", "interval=", "interval=x", "interval=0", "interval=-1", "interval=nan", "interval=1&interval=0"),
        *wait("interval=1", path="/api/v2/dags/{dag}/dagRuns/r9/wait"),
        *wait("interval=1", path="/api/v2/dags/nowhere/dagRuns/r4/wait"),
        *wait("interval=1", path="/api/v2/dags/~/dagRuns/r4/wait"),
        as_(None, f"GET {WAIT}?interval=1"),
        as_("task", f"GET {WAIT}?interval=1"),
        as_("reader", f"POST {WAIT}?interval=1"),
    ],
    "rest.wait-result": [
        "POST /execution/xcoms/{dag}/r4/one/return_value?dag_result=true 1",
        *wait("interval=1"),
        "POST /execution/xcoms/{dag}/r4/one/return_value 2",
        *wait("interval=1"),
    ],
}


def variable(line):
    """A request about variables. What Airflow's simple auth manager lets nobody but operators do, an admin does here."""
    method, rest = line.split(" ", 1)
    return as_("admin", f"{method} /api/v2/variables{rest}")


MADE = [
    variable('POST  {"key": "{dag}.a", "value": "text", "description": "of a test"}'),
    variable('POST  {"key": "{dag}.b/c", "value": {"n": [1, 2.0, null], "é": {}}}'),
    variable('POST  {"key": "{dag}.c", "value": ""}'),
]

OWN = "variable_key_prefix_pattern={dag}"

REST_VARIABLES = {
    "rest.variables": [
        *MADE,
        *[variable(f"GET /{{dag}}.{key}") for key in ("a", "b/c", "b%2Fc", "c", "d", "A")],
        *[f"GET /execution/variables/{{dag}}.{key}" for key in ("a", "b/c", "c")],
        variable('POST  {"key": "{dag}.a", "value": "again"}'),
        variable("DELETE /{dag}.a"),
        variable("GET /{dag}.a"),
        variable("DELETE /{dag}.a"),
        variable("GET /"),
        variable("DELETE /"),
        variable(f"GET /{'k' * 251}"),
        variable(f"DELETE /{'k' * 251}"),
        variable('PUT /{dag}.c {"key": "{dag}.c", "value": "x"}'),
        variable('POST /{dag}.c {"key": "{dag}.c", "value": "x"}'),
    ],
    "rest.variables-values": [
        step
        for number, value in enumerate(
            ('"x"', "1", "-0", "1.0", "1e3", "true", "null", "[]", "{}", '[1, {"a": [], "b": {"c": null}}]', '"é 😀"',
             '["é 😀 \\u0000\\u007f\\" / \\\\"]', '"a\\u0000b"', '{"a": 1, "a": 2}', '"[1,2]"', '"1e3"', '" 5 "', '"{"')
        )
        for step in (
            variable(f'POST  {{"key": "{{dag}}.{number}", "value": {value}}}'),
            variable(f"GET /{{dag}}.{number}"),
            f"GET /execution/variables/{{dag}}.{number}",
        )
    ],
    "rest.variables-patch": [
        *MADE,
        variable('PATCH /{dag}.a {"key": "{dag}.a", "value": "other"}'),
        variable('PATCH /{dag}.a {"key": "{dag}.a", "value": [1], "description": "new"}'),
        variable('PATCH /{dag}.a?update_mask=description {"key": "{dag}.a", "value": "not this", "description": "newer"}'),
        variable('PATCH /{dag}.a?update_mask=value {"key": "{dag}.a", "value": "this", "description": "not this"}'),
        variable('PATCH /{dag}.a?update_mask=value&update_mask=description {"key": "{dag}.a", "value": "both", "description": "too"}'),
        variable('PATCH /{dag}.a?update_mask=description {"key": "{dag}.a", "value": "not this"}'),
        variable('PATCH /{dag}.a?update_mask=nothing {"key": "{dag}.a", "value": "not this"}'),
        variable('PATCH /{dag}.a?update_mask=value,description {"key": "{dag}.a", "value": "not this"}'),
        variable('PATCH /{dag}.a?update_mask=key {"key": "{dag}.a", "value": "not this"}'),
        variable('PATCH /{dag}.a?update_mask=key&update_mask=value {"key": "{dag}.a", "value": "not this"}'),
        variable('PATCH /{dag}.a {"key": "{dag}.a", "value": null, "description": null}'),
        "GET /execution/variables/{dag}.a",
        variable('PATCH /{dag}.a {"key": "{dag}.b/c", "value": "x"}'),
        variable('PATCH /{dag}.d {"key": "{dag}.d", "value": "x"}'),
        variable('PATCH /{dag}.d?update_mask=key {"key": "{dag}.d", "value": "x"}'),
        variable('PATCH /{dag}.b/c {"key": "{dag}.b/c", "value": "x"}'),
        variable('PATCH / {"key": "", "value": "x"}'),
    ],
    "rest.variables-wrong": [
        variable(f"POST  {body}")
        for body in (
            "{}", '{"key": "{dag}.k"}', '{"value": "x"}', '{"key": 1, "value": "x"}', '{"key": null, "value": "x"}', "[]", "{",
            '{"key": "{dag}.k", "value": "x", "more": 1}', '{"key": "{dag}.k", "val": "x"}',
            '{"key": "{dag}.k", "value": "x", "description": 1}', '{"key": "{dag}.k", "value": "x", "team_name": "t"}',
            '{"key": "%s", "value": "x"}' % ("k" * 251),
        )
    ]
    + [
        variable('POST  {"key": "{dag}.k", "value": "x", "team_name": null}'),
        variable('PATCH /{dag}.k {"key": "{dag}.k"}'),
        variable('PATCH /{dag}.k {"key": "{dag}.k", "value": "x", "more": 1}'),
        variable('PATCH /{dag}.k {"key": "{dag}.k", "value": "x", "team_name": "t"}'),
        step('POST /api/v2/variables {"key": "{dag}.t", "value": "x"}', token="admin", headers={"content-type": "text/plain"}),
    ],
    "rest.variables-empty-key": [variable('POST  {"key": "", "value": "x"}')],
    "rest.variables-list": [
        *MADE,
        *[
            variable(f"GET ?{OWN}&{query}")
            for query in (
                "order_by=key", "order_by=-key", "order_by=description", "order_by=-description", "order_by=is_encrypted&order_by=key",
                "order_by=value", "order_by=", "order_by=key&limit=2", "order_by=key&limit=2&offset=2", "offset=9", "limit=0", "limit=-1",
                "limit=x", "offset=-1", "order_by=key&variable_key_pattern=B", "order_by=key&variable_key_pattern=b%25c",
                "order_by=key&variable_key_pattern=%25c", "order_by=key&variable_key_pattern=~", "order_by=key&unknown=1",
                "order_by=key&variable_key_pattern=.a|.c",
            )
        ],
        variable("GET ?variable_key_pattern={dag}.b"),
        variable("GET ?variable_key_prefix_pattern={dag}.b"),
        variable("GET ?variable_key_prefix_pattern={dag}.B"),
    ],
    # Airflow also hides elsewhere what it has once found to be a secret, so each is another one.
    "rest.variables-hidden": [
        step
        for number, (key, value) in enumerate(
            (
                ("password", '"hunter-1"'), ("my%20API-Key", '"hunter-2"'), ("TOKEN_of", '{"a": ["hunter-3", null], "b": "hunter-4"}'),
                ("server", '{"host": "h", "login": {"password": "hunter-5", "user": "u"}}'),
                ("text", '"{\\"secret\\": \\"hunter-6\\", \\"a\\": [{\\"proxies\\": [\\"hunter-7\\"]}]}"'),
                ("deep.secret", '[[[[[[["hunter-8"]]]]]]]'), ("keys", '"plain"'), ("passphrases", '""'),
            )
        )
        for step in (
            variable(f'POST  {{"key": "{{dag}}.{key.replace("%20", " ")}", "value": {value}}}'),
            variable(f"GET /{{dag}}.{key}"),
        )
    ],
    "rest.variables-secret-numbers": [
        variable('POST  {"key": "{dag}.secret", "value": {"a": 12345, "b": true}}'),
    ],
    "rest.variables-tokens": [
        as_(None, "GET /api/v2/variables"),
        as_("no token", "GET /api/v2/variables"),
        as_("task", "GET /api/v2/variables"),
        as_("reader", 'POST /api/v2/variables {"key": "{dag}.k", "value": "x"}'),
        as_("reader", "DELETE /api/v2/variables/{dag}.k"),
    ],
}

SCENARIOS = XCOMS | TOKENS | VARIABLES | CONNECTIONS | REST | WAITS | REST_VARIABLES
