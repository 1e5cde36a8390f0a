"""What to type instead of `--address ray://…`: a study is driven on the cluster, as a job of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from emma_tune.storage import Place, absolute

CLIENT, JOBS_PORT = "ray://", 8265
REPLACED = ("--address", "--out")


def refuse_client(address: str | None, folder: Place, study: Path | None = None) -> None:
    """Check that an address is not one of Ray's client server.

    Raises:
        StudyError: with the command to type instead.
    """
    from emma_tune.study.file import StudyError

    if address is not None and address.startswith(CLIENT):
        raise StudyError(
            f"--address {address}: a study is not run through Ray's client. Submit it as a job of the cluster, "
            f"with a folder that all nodes see:\n{job_command(address, sys.argv[1:], folder, study)}"
        )


def job_command(address: str, typed: Sequence[str], folder: Place, study: Path | None) -> str:
    """Return the command that submits what was typed as a job.

    Args:
        address: `ray://HOST:PORT`.
        typed: the words after `emma-tune`.
        folder: of the study, which gets its full path: the job's working directory is a temporary copy.
        study: the study file, which must be in that copy.
    """
    host = address.removeprefix(CLIENT).rpartition(":")[0] or address.removeprefix(CLIENT)
    verb, *words = _without(REPLACED, typed)
    full = str(absolute(folder))
    if verb in ("run", "doctor"):
        words += ["--out", full]
    else:
        words = [full if Path(word) == Path(str(folder)) else word for word in words]
    copied = "."
    if study is not None and not study.resolve().is_relative_to(Path.cwd()):
        copied = str(study.resolve().parent)
        words = [study.name if word == str(study) else word for word in words]
    submit = ["ray", "job", "submit", "--address", f"http://{host}:{JOBS_PORT}", "--working-dir", copied]
    return shlex.join([*submit, "--", "emma-tune", verb, *words, "--address", "auto"])


def _without(options: Sequence[str], typed: Sequence[str]) -> list[str]:
    """Leave out options with their values."""
    kept, rest = [], iter(typed)
    for word in rest:
        if word in options:
            next(rest, None)
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            kept.append(word)
    return kept
