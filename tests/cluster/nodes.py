"""Three Ray nodes on this machine's loopback address, started by a process of their own and killed by pid."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil

TOKEN = "7" * 64

CODE = """
import json, os, sys
os.makedirs(os.path.join(os.environ["RAY_TMPDIR"], "ray"), exist_ok=True)
from ray.cluster_utils import Cluster
node = {"object_store_memory": 80_000_000}
head = {**node, "num_cpus": 2, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = [cluster.head_node, *(cluster.add_node(wait=True, num_cpus=4, **node) for _ in range(2))]
pids = [[info.process.pid for of in node.all_processes.values() for info in of] for node in nodes]
print(json.dumps({"address": cluster.address, "nodes": pids}), flush=True)
sys.stdin.read()
"""


class Nodes:
    """A cluster of three nodes, the head first; a context manager that ends all its processes."""

    def __init__(self, folder):
        # Ray takes its own address for 127.0.0.1 with this variable, and listens nowhere else.
        self.environment = {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_TMPDIR": str(folder), "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        }  # fmt: skip
        self.log = (folder / "nodes.txt").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True, env=os.environ | self.environment,
        )  # fmt: skip

    def __enter__(self):
        line = self.process.stdout.readline()
        about = json.loads(line)
        self.address, self.nodes = about["address"], about["nodes"]
        self.started = {pid for node in self.nodes for pid in tree(*node)}
        return self

    def workers(self, kind="RemoteCollector"):
        """The processes of Ray's actors of a class."""
        found = []
        for node in self.nodes:
            for pid in tree(*node):
                with suppress(psutil.Error, IndexError):
                    if psutil.Process(pid).cmdline()[0].startswith(f"ray::{kind}"):
                        found.append(pid)
        return found

    def kill(self, k):
        """Kill a node: its processes and their children."""
        end(tree(*self.nodes[k]))

    def __exit__(self, *error):
        end({pid for node in self.nodes for pid in tree(*node)} | set(tree(self.process.pid)))
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            stream.close()


def tree(*pids):
    """These processes and all their descendants."""
    found = list(pids)
    for pid in pids:
        with suppress(psutil.Error):
            found += [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return found


def end(pids):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
