"""Two hosts with a network of their own each, and a cable between them: network namespaces, made by root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CABLE = "cable"
"""Its name at both ends."""

needs_networks = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and iproute2"
)


class Host:
    """One end of the cable.

    Args:
        name: of its network.
        ip: its address, with the bits of the network.
    """

    def __init__(self, name: str, ip: str) -> None:
        self.ip = ip
        self.within = ("ip", "netns", "exec", name)
        self._name = name

    def connect(self) -> None:
        ip("-n", self._name, "address", "add", f"{self.ip}/24", "dev", CABLE)
        for device in ("lo", CABLE):
            ip("-n", self._name, "link", "set", device, "up")

    def disconnect(self) -> None:
        """Pulls the cable: what is sent is lost, and no connection ends."""
        ip("-n", self._name, "link", "set", CABLE, "down")


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Connects two hosts; whatever happens, nothing of them stays."""
    names = [f"emma-{os.getpid()}-{number}" for number in (1, 2)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", CABLE, "netns", names[0], "type", "veth", "peer", "name", CABLE, "netns", names[1])
        hosts = Host(names[0], "10.77.0.1"), Host(names[1], "10.77.0.2")
        for host in hosts:
            host.connect()
        yield hosts
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
