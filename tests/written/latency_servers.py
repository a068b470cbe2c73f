"""Latency servers in processes of their own, models for them, and an `ssh` that leads to this machine."""

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from onnx import TensorProto, helper

SERVER = Path(__file__).resolve().parents[2] / "evonas" / "runtimes" / "latency_server.py"
SECRET = "a-token-that-is-written-nowhere"
# the options of ssh that evonas uses; a thread carries the port's traffic
SSH = r"""#!{python}
import os, select, socket, subprocess, sys, threading

words, ways = sys.argv[1:], []
with open(os.environ["SSH_SAID"], "a") as said:
    said.write(repr(words) + "\n")
while words and words[0] != "--":
    flag = words.pop(0)
    if flag in ("-o", "-p"):
        words.pop(0)
    elif flag == "-L":
        ways.append(words.pop(0).split(":"))
if words[1] == "nobody@elsewhere":
    sys.exit("nobody@elsewhere: Permission denied (publickey).")


def carry(one, other):
    ends = [one, other]
    while True:
        for end in select.select(ends, [], [])[0]:
            piece = end.recv(65536)
            if not piece:
                one.close(), other.close()
                return
            (other if end is one else one).sendall(piece)


def lead(way):
    listening = socket.create_server((way[0], int(way[1])))
    while True:
        near, _ = listening.accept()
        try:
            far = socket.create_connection((way[2], int(way[3])))
        except OSError:
            near.close()
            continue
        threading.Thread(target=carry, args=(near, far), daemon=True).start()


for way in ways:
    threading.Thread(target=lead, args=(way,), daemon=True).start()
os._exit(subprocess.call(["/bin/sh", "-c", words[2]]))
"""


def model(size: int = 64, layers: int = 1) -> bytes:
    """Matrix products of `size` x `size`, as an ONNX file."""
    names = [f"x{number}" for number in range(layers + 1)]
    nodes = [helper.make_node("MatMul", [one, one], [other]) for one, other in pairwise(names)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in (names[0], names[-1])
    ]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(made.SerializeToString())


class Served:
    """A server in its own process."""

    def __init__(self, port: int = 0, options: tuple[str, ...] = (), token: str = SECRET) -> None:
        environment = {**os.environ, "EVONAS_DEVICE_TOKEN": token}
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), "--port", str(port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline() + self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.said)
        assert found is not None, self.said + self.process.communicate()[1]
        self.port = int(found.group(1))
        self.address = f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        """As its owner would."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)
        return self.process.returncode


@contextmanager
def served(*options: str, port: int = 0) -> Iterator[Served]:
    server = Served(port, options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def fake_ssh(folder: Path) -> Path:
    """An executable `ssh` in a folder, which runs commands on this machine and carries ports for real."""
    path = folder / "ssh"
    path.write_text(SSH.replace("{python}", sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
