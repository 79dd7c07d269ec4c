"""A process that says hello as it should, and then misbehaves in the way that its argument names."""

import fcntl
import json
import os
import struct
import sys
import time

how = sys.argv[1]
source, sink = sys.stdin.buffer, sys.stdout.buffer


def reply(header, body=b""):
    header = json.dumps(header).encode()
    sink.write(struct.pack("<II", len(header), len(body)) + header + body)
    sink.flush()


def frames():
    while len(lengths := source.read(8)) == 8:
        header, body = struct.unpack("<II", lengths)
        yield json.loads(source.read(header)), source.read(body)


def for_ever():
    while True:
        time.sleep(60)


if len(sys.argv) > 2:
    # How often it was started, and that it runs, can be seen from outside.
    held = open(sys.argv[2], "a")
    held.write("started\n")
    held.flush()
    fcntl.flock(held, fcntl.LOCK_EX)
if how == "count":
    sys.exit("this never works")
if how == "no_hello":
    for_ever()
if how == "print":
    print("Hello, I am ready!", flush=True)

hello = {"is": "hello", "id": 0, "protocol": 1, "name": how, "store": "process", "inline_limit": 65536}
hello.update({"protocol": {"protocol": 2}, "store": {"store": "other"}, "limit": {"inline_limit": 9}}.get(how, {}))
kept = b""
asked = []
for header, body in frames():
    do = header["do"]
    call = header.get("id", header.get("objects", [{}])[0].get("id"))
    if do == "hello":
        reply(hello)
        if how == "deaf":
            for_ever()
        if how == "closes_input":
            source.close()
            os.close(0)
            for_ever()
    elif how == "silent":
        pass
    elif how == "exits":
        print("something is wrong\nout of luck", file=sys.stderr, flush=True)
        sys.exit(3)
    elif how == "exits_in_a_frame":
        sink.write(struct.pack("<II", 100, 100) + b"{}")
        sink.flush()
        sys.exit(0)
    elif how == "garbage":
        reply({"is": "what", "id": call})
    elif how == "no_json":
        sink.write(struct.pack("<II", 4, 0) + b"\xff{}[")
        sink.flush()
    elif how == "long_header":
        sink.write(struct.pack("<II", 1 << 30, 0))
        sink.flush()
    elif how == "long_body":
        sink.write(struct.pack("<II", 30, 262145))
        sink.flush()
    elif how == "wrong_id":
        reply({"is": "done", "id": call + 1000})
    elif how == "negative_id":
        reply({"is": "done", "id": -1})
    elif how == "body_of_done":
        reply({"is": "done", "id": call}, b"x")
    elif how == "unasked":
        for _ in range(100):
            reply({"is": "chunk", "id": call}, b"x" * 1000)
    elif how == "hello_again":
        reply({**hello, "id": call})
    elif how == "early_done" and do == "serialize":
        reply({"is": "done", "id": call})
    elif how == "refuses" and do == "serialize":
        reply({"is": "error", "id": call, "kind": "full", "message": "no room", "hint": "buy a disk"})
    elif how == "strange_error":
        reply({"is": "error", "id": call, "kind": "whatever", "message": "m" * 900000})
    elif how == "exits_in_a_value" and do == "deserialize":
        reply({"is": "chunk", "id": call}, b'"half')
        sys.exit(4)
    elif how == "endless" and do in ("deserialize", "next"):
        reply({"is": "chunk", "id": call}, b"x" * 262144)
    elif how == "altered" and do == "deserialize":
        reply({"is": "chunk", "id": call}, kept.replace(b"x", b"y"))
        reply({"is": "done", "id": call})
    elif how == "short" and do == "deserialize":
        reply({"is": "done", "id": call})
    elif how == "swaps" and do == "deserialize":
        asked += [wanted["id"] for wanted in header["objects"]]
        if len(asked) == 2:
            # Each call gets what the other one asked for.
            for call, text in zip(reversed(asked), "ab"):
                reply({"is": "chunk", "id": call}, json.dumps(text * 100000).encode())
                reply({"is": "done", "id": call})
    elif how == "moves" and do == "check":
        pass  # The other calls are answered.
    elif do == "chunk":
        kept += body
    elif do in ("end", "purge", "check", "clear"):
        reply({"is": "done", "id": call})

if how == "stays":
    for_ever()
