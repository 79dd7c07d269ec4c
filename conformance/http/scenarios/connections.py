"""Connections of tasks."""

from .steps import as_

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
