"""Machines that allow little, file systems that refuse much: a run works, or one line says what to change."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from emma_tune.storage.store import Store
from emma_tune.tuning.cluster.limits import usable_cpus
from emma_tune.tuning.cluster.scratch import scratch_folder
from tests.faults.fuse import refusing
from tests.faults.mounts import needs_mounts, small_disk
from tests.faults.runs import ROOT

pytestmark = needs_mounts

# --- file systems -----------------------------------------------------------------------------------------


def test_a_storage_without_hard_links_and_without_folders_to_sync_keeps_its_promises(tmp_path):
    with refusing(tmp_path, "link", "fsyncdir") as folder:
        store = Store(folder / "store").identified()
        assert store.identity == Store(folder / "store").identified().identity
        assert store.storage.create("once", b"first")
        assert not store.storage.create("once", b"second")
        assert store.storage.read("once") == b"first"
        files = {"tensors": b"1", "record.json": b"{}"}
        assert store.storage.commit("victim/0", files)
        assert not store.storage.commit("victim/0", {**files, "tensors": b"2"})
        assert store.storage.read("victim/0/tensors") == b"1"


def test_without_locks_nothing_is_started_and_what_is_there_can_be_read(emma, study_file, tmp_path):
    with refusing(tmp_path, "flock") as folder:
        ended = emma.here("run", study_file(), "--out", folder / "tiny")
        assert ended.exit_code == 2, ended.output
        (line,) = ended.stderr.splitlines()
        assert line.startswith(f"{folder}/tiny: expected a folder that can be read and written, found ")
        assert "a file system without locks; mount it with locks" in line

        ended = emma.here("run", study_file(store=str(folder / "store")))
        assert ended.exit_code == 2, ended.output
        assert "a file system without locks; mount it with locks" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_store_in_the_lower_layer_of_an_overlay_is_mended(tmp_path):
    key, folders = "0" * 20, {name: tmp_path / name for name in ("lower", "upper", "work", "merged")}
    for folder in folders.values():
        folder.mkdir()
    Store(folders["lower"]).storage.commit(f"victim/{key}", {"tensors.safetensors": b"cut", "record.json": b"{"})
    options = ",".join(f"{name}dir={folders[name]}" for name in ("lower", "upper", "work"))
    subprocess.run(["mount", "-t", "overlay", "-o", options, "emma-tune-test", folders["merged"]], check=True)
    try:
        store = Store(folders["merged"])
        assert store.set_aside("victim", key) is not None
        assert store.keys("victim") == []
        assert store.storage.names("aside")
    finally:
        subprocess.run(["umount", "-l", folders["merged"]], check=True)


# --- limits -----------------------------------------------------------------------------------------------


def test_a_temporary_folder_without_room_is_passed_over(tmp_path, monkeypatch):
    with small_disk(tmp_path, "1m") as disk:
        disk.fill()
        monkeypatch.setenv("TMPDIR", str(disk.path))
        with scratch_folder() as folder:
            assert not folder.is_relative_to(disk.path)


def test_the_cpus_that_a_process_is_bound_to_are_those_that_count():
    bound = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(bound)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, bound)


CHECK = """
import os, resource, sys
from emma_tune.study.file import StudyError
from emma_tune.tuning.cluster.limits import check_limits
for name, most in zip(sys.argv[1::2], sys.argv[2::2]):
    os.setuid(54321)  # root is exempt from the limit on processes
    resource.setrlimit(getattr(resource, name), (int(most),) * 2)
try:
    check_limits()
except StudyError as error:
    print(error)
"""


@pytest.mark.parametrize(("before", "limit", "found", "command"), [
    ([], ["RLIMIT_NOFILE", "40"], "found a limit after ", "ulimit -n"),
    ([], ["RLIMIT_NPROC", "50"], "found a limit after ", "ulimit -u"),
    (["unshare", "--net"], [], "found 127.0.0.1: Network is unreachable", "ip link set lo up"),
])  # fmt: skip
def test_what_a_machine_does_not_allow_is_named_with_the_command_for_it(before, limit, found, command):
    ended = subprocess.run(
        [*before, sys.executable, "-c", CHECK, *limit],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.stderr == ""
    (line,) = ended.stdout.splitlines()
    assert found in line
    assert command in line


@pytest.mark.parametrize(("limit", "advice"), [("8000000", "ulimit -v unlimited"), ("unlimited", "")])
def test_a_limit_on_addresses_which_ray_cannot_start_with_is_named(limit, advice):
    print_advice = "from emma_tune.tuning.cluster.limits import address_advice; print(address_advice())"
    ended = subprocess.run(
        ["sh", "-c", f'ulimit -v {limit} && exec "$@"', "sh", sys.executable, "-c", print_advice],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.stderr == ""
    assert ended.stdout.strip().endswith(advice)
    assert bool(ended.stdout.strip()) == bool(advice)


# --- a whole run in all of it -----------------------------------------------------------------------------

CONTAINER = """
set -e
ip link set lo up
hostname nowhere-at-all
: > "$EMPTY"
mount --bind "$EMPTY" /etc/hosts
mount --bind "$EMPTY" /etc/resolv.conf
mount -t tmpfs -o size=4k,ro emma-tune-test /dev/shm
mount -t tmpfs emma-tune-test /sys/fs/cgroup
echo 536870912 > /sys/fs/cgroup/memory.max
echo 50000000 > /sys/fs/cgroup/memory.current
printf 'inactive_file 0\\nactive_file 0\\n' > /sys/fs/cgroup/memory.stat
echo '50000 100000' > /sys/fs/cgroup/cpu.max
umask 077
ulimit -n 256
exec unshare --user --map-user=54321 -- "$@" <&-
"""
"""Nothing but loopback, and no name for this host; no shared memory, 512 MiB and half a CPU, 256 open files; a
user without a name; no standard input. With no home, and a `TMPDIR` too long for sockets."""

PROXIES = dict.fromkeys(
    ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy"), "http://127.0.0.1:9"
)


@pytest.mark.slow
def test_a_run_works_in_a_container_that_allows_little_on_a_file_system_that_refuses_much(
    emma, study_file, tmp_path
):
    file = study_file(attackers={"soft": {"epochs": 1}}, baselines=["none"], search={"points": 1})
    temporary = tmp_path / "job.1234567.cluster.example.edu" / "scratch-of-the-job"
    temporary.mkdir(parents=True)
    environment = {**emma._environment(), **PROXIES, "EMPTY": str(tmp_path / "empty")}
    environment |= {"HOME": "/proc/none", "TMPDIR": str(temporary)}
    for name in ("USER", "LOGNAME"):
        environment.pop(name, None)
    with refusing(tmp_path, "link", "fsyncdir") as folder:
        ended = subprocess.run(
            ["unshare", "--mount", "--net", "--uts", "sh", "-c", CONTAINER, "sh",
             *emma._command(("run", file, "--out", folder / "runs" / "tiny"))],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stderr == ""
        assert "1 task at a time" in ended.stdout
        assert emma.json("front", folder / "runs" / "tiny")["points"]
