"""An XCom backend as a program of its own: values as compressed files in a folder.

It needs Python 3.9 or newer and nothing else. docs/backend-process.md describes what is said on standard input
and output. It answers one thing after the other, and still has several calls under way: a value that is written
or read is an open file until the next piece of it comes or is asked for.
"""

import argparse
import contextlib
import errno
import gzip
import json
import os
import pathlib
import struct
import sys
import zlib

PROTOCOL = 1


class Refused(Exception):
    """An error of a kind that the engine knows."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Folder:
    def __init__(self, folder):
        self.folder = folder
        self.chunk = 0
        self.writing = {}  # call -> (place, part, file)
        self.reading = {}  # call -> file

    def hello(self, call, asked):
        self.chunk = asked["chunk"]
        # Told back as they are, so the settings decide. A backend with opinions says its own.
        told = {"store": asked["store"], "inline_limit": asked["inline_limit"]}
        reply({"is": "hello", "id": call, "protocol": PROTOCOL, "name": "folder", **told})

    # One value, from the engine.

    def serialize(self, call, asked):
        place = self.folder / asked["object"]["name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f"{place.name}.{os.getpid()}-{call}.part")
        self.writing[call] = (place, part, gzip.open(part, "xb", compresslevel=1))

    def piece(self, call, body):
        if call in self.writing:  # It is not when the call has failed before.
            self.writing[call][2].write(body)

    def end(self, call):
        if call not in self.writing:
            return
        place, part, file = self.writing[call]
        file.close()
        sync(part)
        try:
            os.link(part, place)  # Unlike a rename it never replaces anything.
        except FileExistsError:
            raise Refused("exists", f"{place} exists") from None
        sync(place.parent)
        self.forget(call)
        done(call)

    # One value, to the engine.

    def deserialize(self, call, wanted):
        try:
            self.reading[call] = gzip.open(self.folder / wanted["name"])
        except (FileNotFoundError, NotADirectoryError):
            raise Refused("lost", f"{self.folder / wanted['name']} is gone") from None
        self.next(call)

    def next(self, call):
        if call not in self.reading:
            return
        piece = self.reading[call].read(self.chunk)
        if piece:
            reply({"is": "chunk", "id": call}, piece)
        if len(piece) < self.chunk:
            self.forget(call)
            done(call)

    # Everything else.

    def purge(self, call, asked):
        place = self.folder / asked["object"]["name"]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            place.unlink()
        # What an interrupted write left, too.
        for part in place.parent.glob(f"{place.name}.*.part"):
            part.unlink(missing_ok=True)
        done(call)

    def check(self, call):
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            raise Refused("read_only", f"{self.folder} cannot be written")
        done(call)

    def forget(self, call):
        """The call is over, however it went."""
        if call in self.writing:
            _, part, file = self.writing.pop(call)
            with contextlib.suppress(OSError):
                file.close()
            part.unlink(missing_ok=True)
        if call in self.reading:
            self.reading.pop(call).close()

    def answer(self, header, body):
        """Does what a frame says. An error ends its call, and no other."""
        if header["do"] == "deserialize":
            for wanted in header["objects"]:
                self.guarded(wanted["id"], lambda: self.deserialize(wanted["id"], wanted))
            return
        call = header["id"]
        todo = {
            "hello": lambda: self.hello(call, header),
            "serialize": lambda: self.serialize(call, header),
            "chunk": lambda: self.piece(call, body),
            "end": lambda: self.end(call),
            "next": lambda: self.next(call),
            "purge": lambda: self.purge(call, header),
            "clear": lambda: done(call),  # Nothing is kept for a task instance besides its values.
            "check": lambda: self.check(call),
            "cancel": lambda: self.forget(call),
        }
        self.guarded(call, todo[header["do"]])

    def guarded(self, call, do):
        try:
            do()
        except BrokenPipeError:
            raise  # Nobody is there any more.
        except Refused as error:
            self.failed(call, error.kind, error)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            self.failed(call, "corrupt", error)
        except OSError as error:
            kinds = {errno.ENOSPC: "full", errno.EDQUOT: "full", errno.EROFS: "read_only", errno.EACCES: "read_only"}
            self.failed(call, kinds.get(error.errno, "unavailable"), error)

    def failed(self, call, kind, error):
        self.forget(call)
        reply({"is": "error", "id": call, "kind": kind, "message": str(error)})


def sync(path):
    """What was written stays, also after a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def done(call):
    reply({"is": "done", "id": call})


def reply(header, body=b""):
    header = json.dumps(header).encode()
    FRAMES.write(struct.pack("<II", len(header), len(body)) + header + body)
    FRAMES.flush()


def frames(source):
    """Frames until standard input ends, which it does when the engine has ended, however it went."""
    while len(lengths := source.read(8)) == 8:
        header, body = struct.unpack("<II", lengths)
        frame = source.read(header + body)
        if len(frame) < header + body:
            return
        yield json.loads(frame[:header]), frame[header:]


if __name__ == "__main__":
    FRAMES = sys.stdout.buffer
    # What a library prints must not come between the frames.
    sys.stdout = sys.stderr
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=pathlib.Path, help="where the values are kept")
    backend = Folder(arguments.parse_args().folder)
    try:
        for header, body in frames(sys.stdin.buffer):
            backend.answer(header, body)
    finally:
        for call in [*backend.writing, *backend.reading]:
            backend.forget(call)
