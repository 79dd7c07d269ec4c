"""Asks Airflow and Excom the same, and compares what they answer.

Usage: python conformance/http [--record] SECRET TOKEN AIRFLOW EXCOM…

The secret that signs all tokens, one that may do everything with Excom, and the addresses of Airflow and of servers of Excom,
which must answer alike. Airflow's database is the one that its settings name in the environment. Every difference must be one
of `differences.json`, as it stands there, and each of those must still be one, and about a line of COMPATIBILITY.md; with
`--record` they become those that there are.
"""

import json
import sys
from collections import Counter
from decimal import Decimal, getcontext
from pathlib import Path
from urllib.parse import urlsplit

from scenarios import SCENARIOS
from sides import Airflow, Excom, subject

DIFFERENCES = Path(__file__).with_name("differences.json")
COMPATIBILITY = Path(__file__).parents[2] / "COMPATIBILITY.md"

# Headers that clients read.
HEADERS = ["content-range", "content-type", "correlation-id", "location"]

# What each server has in its own way.
PER_SERVER = {
    "timestamp": "when it was pushed", "is_encrypted": "whether it is in the database", "start_date": "when it began",
    "ti_id": "which task instance", "responded_at": "when it was answered", "responded_by": "who answered", "responded_by_user": "who answered",
}

# What Airflow says when its database refused something, instead of what is wrong with it.
BY_DATABASE = "Value rejected by database"

# More digits than any number here has.
getcontext().prec = 1000


def number(text):
    """A number with a fraction, to the digit."""
    return {"number": str(Decimal(text).normalize())}


def refusal(detail):
    """What programs read of why a request was refused; the rest is for people."""
    if isinstance(detail, list):
        # Within a body, each library names places in its own way.
        places = {tuple(part["loc"][: 1 if part["loc"][0] == "body" else None]) for part in detail}
        return {"places": sorted(".".join(map(str, place)) for place in places)}
    return {"reason": detail["reason"]} if isinstance(detail, dict) and "reason" in detail else {}


def parsed(raw):
    return json.loads(raw, parse_float=number, parse_constant=number)


def content(status, kind, raw):
    """A body as it is compared."""
    if raw and not kind:
        # How a run stands, line by line.
        return [parsed(line) for line in raw.splitlines()]
    if not raw or "json" not in kind:
        return raw.decode(errors="replace")
    body = parsed(raw)
    if status >= 400:
        return refusal(body.get("detail"))
    events = body.get("asset_events", []) if isinstance(body, dict) else []
    for event in events:
        event["id"] = "its number"
    inner = lambda: [body.get("dag_run", {}), *body.get("xcom_entries", []), *body.get("variables", []), *events]
    for entry in [body, *inner()] if isinstance(body, dict) else []:
        for name, what in PER_SERVER.items():
            if entry.get(name) is not None:
                entry[name] = what
    return body


def text(answer):
    return json.dumps(answer, sort_keys=True)


def same(airflow, excom):
    """Whether two answers are the same to a client. A refusal of Excom's may say more, and names one wrong place for all."""
    told, ours = airflow["body"], excom["body"]
    if airflow["status"] == excom["status"] >= 400:
        if not told or told == {"reason": BY_DATABASE}:
            ours = told
        elif "places" in told and ours.get("places") and set(ours["places"]) <= set(told["places"]):
            ours = told
    return text(airflow) == text(excom | {"body": ours})


def asked(server, dag, tokens, what):
    """Takes one step, and tells the answer."""
    line, how = what if isinstance(what, tuple) else (what, {})
    method, path, body = (line.split(" ", 2) + [None])[:3]
    entries = "/api/v2/dags/{dag}/dagRuns/r1/taskInstances/one/xcomEntries"
    if path.startswith("entries"):
        path = path.replace("entries", entries, 1)
    elif not path.startswith("/"):
        path = "/execution/xcoms/{dag}/r1/" + path
    headers = {}
    if token := how.get("token", "task"):
        headers["authorization"] = f"Bearer {tokens[token]}"
    if body is not None:
        headers["content-type"] = "application/json"
    headers |= how.get("headers", {})
    headers = {name: value for name, value in headers.items() if value is not None}
    path = path.replace("{dag}", dag).replace("{ti}", subject(tokens["task"]))
    status, head, body = server.send(method, path, body and body.replace("{dag}", dag), headers)
    answer = {"status": status} | {name: head[name] for name in HEADERS if name in head}
    if not body:
        answer.pop("content-type", None)
    if status < 400 and "airflow-api-version" in head:
        answer["airflow-api-version"] = head["airflow-api-version"]
    if "location" in answer:
        answer["location"] = urlsplit(answer["location"]).path
    if "refreshed-api-token" in head:
        answer["refreshed-api-token"] = "a token"
    return answer | {"body": content(status, head.get("content-type", ""), body)}


def label(what):
    """How a step is named among the differences."""
    line, how = what if isinstance(what, tuple) else (what, {})
    line = line if len(line) < 200 else f"{line[:80]}… ({len(line)} characters)"
    return f"{line} {json.dumps(how)}" if how else line


def compared(airflow, excoms):
    """All steps that differ, with both answers, by scenario, request, and how often it was made there before."""
    found = {}
    servers = [airflow, *excoms]
    waiting = {server: server.prepare(SCENARIOS) for server in servers}
    for name, steps in SCENARIOS.items():
        tokens = {server: server.tokens(waiting[server][name]) for server in servers}
        before = Counter()
        for what in steps:
            theirs, ours, *others = (asked(server, name, tokens[server], what) for server in servers)
            place = (name, label(what), before[label(what)])
            before[label(what)] += 1
            if not same(theirs, ours):
                found[place] = {"airflow": theirs, "excom": ours}
            for other in others:
                if text(other) != text(ours):
                    found[place] = {"airflow": theirs, "excom": ours, "another excom": other}
    return found


def recorded():
    """The differences that are listed."""
    listed = json.loads(DIFFERENCES.read_text())
    return {(entry.pop("scenario"), entry.pop("asked"), entry.pop("before")): entry for entry in listed}


def record(found):
    """Lists those that there are."""
    names = ("scenario", "asked", "before")
    entries = (json.dumps(dict(zip(names, place)) | entry, ensure_ascii=False) for place, entry in found.items())
    DIFFERENCES.write_text("[\n" + ",\n".join(entries) + "\n]\n")


def main():
    recording = sys.argv[1] == "--record"
    secret, token, airflow, *excoms = sys.argv[1 + recording :]
    known = recorded()
    found = compared(Airflow(airflow, secret), [Excom(excom, secret, token) for excom in excoms])
    for place, entry in found.items():
        entry["line"] = known.get(place, {}).get("line", "")
    if recording:
        record(found)
    rows = COMPATIBILITY.read_text().splitlines()
    lines = {row.removeprefix("| ").split(" | ")[0] for row in rows if row.startswith("| ")}
    wrong = {place: entry for place, entry in found.items() if entry != known.get(place) or entry["line"] not in lines}
    gone = {place: entry for place, entry in known.items() if place not in found}
    for title, entries in (("differs, and is not listed so", wrong), ("listed, and differs no more", gone)):
        for place, entry in entries.items():
            print(f"{title}: {json.dumps([*place, entry], ensure_ascii=False)}")
    requests = sum(map(len, SCENARIOS.values()))
    print(f"{len(SCENARIOS)} scenarios, {requests} requests, {len(found)} differences, {len(wrong) + len(gone)} not as listed")
    sys.exit(bool(wrong or gone))


if __name__ == "__main__":
    main()
