"""A Ray cluster of several nodes on this machine, each a process tree of its own under an address of its own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import psutil
from ray._raylet import GcsClient

from tests.conftest import tree, wait_for, workers

RAY = (sys.executable, "-m", "ray.scripts.scripts")
HEAD = "127.0.0.1"

IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""A node that does not answer is given up after 6 to 9 s; as Ray comes, after about a minute."""


class Machine:
    """One node.

    Args:
        ip: its address.
        arguments: of `ray start`.
        environment: of all that runs on it.
        within: a command that runs another one in a network of its own.
    """

    def __init__(
        self, ip: str, *arguments: object, environment: dict[str, str], within: Sequence[str] = ()
    ) -> None:
        self.ip = ip
        self._process = subprocess.Popen(
            [*within, *RAY, "start", "--block", f"--node-ip-address={ip}", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self._frozen: list[psutil.Process] = []

    @property
    def alive(self) -> bool:
        """Whether it has not ended, by itself or otherwise."""
        return self._process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """Of Ray and of its workers, and what those started."""
        return tree(self._process.pid)

    def workers(self) -> list[psutil.Process]:
        """Those that run a stage."""
        return workers(self._process.pid)

    def kill(self) -> None:
        """SIGKILL to all of it at once, as when the power goes."""
        doomed = [*self.processes(), *self._frozen]
        _signal(doomed, signal.SIGSTOP)  # so that none sees the others die, and nothing is started meanwhile
        doomed += self.processes()
        _signal(doomed, signal.SIGKILL)
        self._process.wait()
        psutil.wait_procs(doomed, timeout=10)  # their ports are free then

    def freeze(self) -> None:
        """Falls silent, as when its network goes: connections stay open, nobody answers."""
        self._frozen = self.processes()
        _signal(self._frozen, signal.SIGSTOP)

    def thaw(self) -> None:
        """Goes on where it was, as if nothing had been."""
        _signal(self._frozen, signal.SIGCONT)


class Machines:
    """A cluster: a head that runs no tasks, and nodes that do.

    Args:
        cpus: of each node that it begins with.
        environment: of all nodes, beside the settings that make Ray notice a silent one soon.
    """

    def __init__(self, *cpus: int, environment: dict[str, str] | None = None) -> None:
        self.port = _free_port()
        self._folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets have short paths
        self._environment = {
            "RAY_AUTH_MODE": "disabled",  # whether this machine's user has a token must not matter
            "RAY_USAGE_STATS_ENABLED": "0",
            **IMPATIENT,
            **(environment or {}),
        }
        self._started: list[Machine] = []
        self._count = 1
        self.nodes: list[Machine] = []
        try:
            self.start_head()
            for each in cpus:
                self.add(each)
            self.wait()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """For drivers."""
        return f"{HEAD}:{self.port}"

    def start_head(self) -> None:
        """The head, for the first time or again: a new one knows nothing of the last."""
        self.head = self._start(
            HEAD, "--head", f"--port={self.port}", "--num-cpus=0",
            f"--ray-client-server-port={_free_port()}", "--include-dashboard=false",
        )  # fmt: skip
        wait_for(lambda: _answers(self.port), what="the head")

    def restart_head(self) -> None:
        """Kills the head, and starts one at the same address."""
        self.head.kill()
        self.start_head()

    def wait(self) -> None:
        """Until all nodes have joined."""
        wait_for(lambda: self.joined() == {node.ip for node in self.nodes}, what="the nodes")

    def add(self, cpus: int) -> Machine:
        """One more node; it joins in some seconds."""
        self._count += 1
        node = self._start(f"127.0.0.{self._count}", f"--address={self.address}", f"--num-cpus={cpus}")
        self.nodes.append(node)
        return node

    def joined(self) -> set[str]:
        """The addresses of the nodes that the head believes to be alive, without its own."""
        client = GcsClient(address=self.address)
        alive = [node for node in client.get_all_node_info().values() if node.state == node.ALIVE]
        return {node.node_manager_address for node in alive if not node.is_head_node}

    def forget_the_lost(self) -> None:
        """Leaves out nodes that the head has given up while they were silent: they end when they hear of that."""
        known = GcsClient(address=self.address).get_all_node_info().values()
        lost = {node.node_manager_address for node in known if node.state == node.DEAD}
        self.nodes = [node for node in self.nodes if node.ip not in lost]

    def kill(self, node: Machine) -> None:
        """Takes a node away for good."""
        node.kill()
        self.nodes.remove(node)

    def close(self) -> None:
        """Nothing of it is left."""
        for machine in self._started:
            machine.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, ip: str, *arguments: object) -> Machine:
        # two that start at the same time would take the same names in one, and no head starts where another was
        folder = f"{self._folder}/{len(self._started)}"
        given = (f"--temp-dir={folder}", "--object-store-memory=80000000", *arguments)
        machine = Machine(ip, *given, environment=self._environment)
        self._started.append(machine)
        return machine


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _free_port() -> int:
    """Below those that the system gives to connections: who knocks where nobody is must not take it himself."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        if not _answers(port):
            return port


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((HEAD, port)) == 0
