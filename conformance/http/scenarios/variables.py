"""Variables: of tasks, and of the REST API."""

from .steps import as_, step

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
