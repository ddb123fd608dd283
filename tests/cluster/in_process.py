"""A fleet whose workers are objects of the tests' own process, and fail where a test says so."""

import pickle
import random
from collections import Counter
from pathlib import Path

from swingup.cluster.collector import RemoteCollector
from swingup.cluster.connection import Cluster, ClusterLost, DriverLost
from swingup.cluster.fleet import Fleet


class InProcess(Fleet):
    """lose: the numbers of the pieces of work whose worker is lost; break_at: those at which the driver and
    all workers are; gone: after so many, the cluster is.

    Answers come in any order. Messages are pickled, as between processes.
    """

    def __init__(self, shares, lose=(), gone=10**9, break_at=()):
        self.cluster = Cluster(None, len(shares), 1.0, Path("log"), lambda line: self.lines.append(line))
        self.shares, self.strikes, self.lines = shares, Counter(), []
        self.restarts = self.reconnects = 0
        self.replacing, self.random = set(), random.Random(0)
        self.break_at = set(break_at)
        self.lose, self.gone, self.work, self.made, self.queue = set(lose), gone, 0, {}, []

    def send(self, word, *rest):
        rest = pickle.loads(pickle.dumps(rest))
        if word == "weights":
            (self.weights,) = rest
            return
        w = rest[0]
        if word == "start":
            self.made[w] = RemoteCollector(rest[1])
            self.queue.append(("start", w, self.made[w].start(rest[2])))
            return
        self.work += 1
        if self.work >= self.gone:
            raise DriverLost("gone")
        if self.work in self.break_at:
            self.made.clear()
            self.queue.clear()
            raise DriverLost("the node of the driver is lost")
        if w not in self.made:
            return
        if self.work in self.lose:
            del self.made[w]
            self.queue.append(("lost", w, "killed"))
        else:
            self.queue.append(("collect", w, self.made[w].collect(self.weights, rest[1])))

    def receive(self, seconds):
        if not self.queue:
            raise DriverLost("gone")
        return pickle.loads(pickle.dumps(self.queue.pop(self.random.randrange(len(self.queue)))))

    def connect(self, seconds):
        if self.work >= self.gone:
            raise ClusterLost("gone")

    def end_driver(self, seconds):
        pass

    def close(self):
        self.made.clear()
