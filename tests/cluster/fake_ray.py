"""A stand-in for Ray whose actors are objects of the tests' own process, lost where a test says so."""

import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from multiprocessing import Pipe
from types import SimpleNamespace

from swingup.cluster.connection import Cluster, ClusterLost
from swingup.cluster.task_driver import TaskDriver
from swingup.cluster.tasks import Tasks


class RayError(Exception):
    pass


class RayTaskError(RayError):
    @property
    def cause(self):
        return self.__cause__


class ActorDiedError(RayError):
    pass


class Actor:
    """Calls run one after the other, in a thread; `die` ends it and, as Ray does, its process."""

    def __init__(self, made, cores, fake):
        self.made, self.cores, self.fake, self.dead = made, cores, fake, False
        self.thread = ThreadPoolExecutor(1)
        fake.actors.append(self)

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *args: self.thread.submit(self.call, name, args))

    def call(self, name, args):
        if name == "node":
            self.fake.take(self)
        if self.dead:
            raise ActorDiedError("the node is gone")
        try:
            found = getattr(self.made, name)(*args)
        except Exception as error:
            raise RayTaskError(str(error)) from error
        if name == "node":
            self.fake.begun.append(self)
        if self.dead:
            raise ActorDiedError("the node is gone")
        return found

    def die(self):
        self.dead = True
        self.fake.give(self)
        if process := getattr(self.made, "process", None):
            process.stdin.close()  # so its child learns that the parent is gone
            self.fake.ends.append(threading.Thread(target=process.wait))
            self.fake.ends[-1].start()


class FakeRay:
    """So many cores, which actors wait for."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, cores):
        self.free, self.changed = cores, threading.Condition()
        self.actors, self.begun, self.holders, self.ends = [], [], set(), []

    def remote(self, **options):
        def kind(made):
            make = lambda cores: lambda *args: Actor(made(*args), cores, self)
            return SimpleNamespace(options=lambda num_cpus: SimpleNamespace(remote=make(num_cpus)))

        return kind

    def take(self, actor):
        with self.changed:
            self.changed.wait_for(lambda: actor.dead or self.free >= actor.cores)
            if not actor.dead:
                self.free -= actor.cores
                self.holders.add(actor)

    def give(self, actor):
        with self.changed:
            if actor in self.holders:
                self.holders.discard(actor)
                self.free += actor.cores
            self.changed.notify_all()

    def wait(self, references, num_returns, timeout):
        return list(wait(references, timeout, FIRST_COMPLETED).done)[:num_returns], []

    def get(self, reference):
        return reference.result()

    def kill(self, actor):
        actor.die()


class FakeTasks(Tasks):
    """Tasks whose driver is a thread here; gone: after so many connections there is no cluster any more."""

    gone_by_default = 10**9

    def __init__(self, folder, nodes=(2,), need=1, patience=20.0, gone=None):
        gone = gone or self.gone_by_default
        self.room, self.gone, self.connections, self.lines = list(nodes), gone, 0, []
        super().__init__(Cluster(None, sum(nodes), patience, folder / "cluster.txt", self.lines.append), need)

    def connect(self, seconds):
        self.connections += 1
        if self.connections > self.gone:
            raise ClusterLost("gone")
        self.pipe, self.theirs = Pipe()
        self.ray = FakeRay(sum(self.room))
        self.driver = TaskDriver(self.ray, self.theirs)
        self.thread = threading.Thread(target=self.serve, args=(self.driver, self.theirs))
        self.thread.start()
        self.check_room(self.room)

    def serve(self, driver, pipe):
        try:
            driver.serve()
        except (EOFError, OSError):
            pass
        finally:
            for k in list(driver.actors):
                driver.drop(k)
            for each in self.ray.ends:
                each.join()
            for actor in self.ray.actors:
                actor.thread.shutdown()
            pipe.close()

    def break_connection(self):
        """Let the driver end, as with its node."""
        self.pipe.send(("end",))
        self.thread.join()

    def end_driver(self, seconds):
        if not self.pipe.closed:
            with suppress(OSError):  # it may be ending already
                self.pipe.send(("end",))
            self.thread.join()
            self.pipe.close()
