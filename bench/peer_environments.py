"""Other simulators, each in a virtual environment of its own, asked by JSON; answers are kept.

The folder holds an environment for each peer and, by a hash of what was asked, every answer: a run
that was interrupted goes on where it was, and one that is repeated takes the seconds and cycles
that were measured before.  Remove `answers/` to measure again.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
_VERSIONS = """\
import json, platform, sys
from importlib.metadata import version
print(json.dumps({"python": platform.python_version(), **{n: version(n) for n in sys.argv[1:]}}))
"""


class Peer(NamedTuple):
    """A simulator: the packages of its environment, pinned, and the script that answers jobs."""

    name: str
    requirements: tuple[str, ...]
    script: str


SCALE_SIM = Peer("scale-sim", ("scalesim==3.0.0", "numpy==2.2.6"), "peer_scale_sim.py")
ZIGZAG = Peer("zigzag", ("zigzag-dse==3.9.1", "six==1.17.0"), "peer_zigzag.py")


class PeerError(RuntimeError):
    """A peer could not be installed or has failed; the message ends in what it said last."""


class Peers(NamedTuple):
    """The folder in which they live."""

    folder: Path

    def versions(self, peer: Peer) -> dict[str, str]:
        """Of Python and of what was asked for."""
        names = [requirement.partition("==")[0] for requirement in peer.requirements]
        answer = _called([str(self._python(peer)), "-c", _VERSIONS, *names], peer.name)
        found: dict[str, str] = json.loads(answer)
        return found

    def ask(self, peer: Peer, job: dict[str, Any], note: str) -> dict[str, Any]:
        """The answer to a job, from an earlier run if there was one.

        Raises:
            PeerError: The peer has failed.
        """
        question = json.dumps(job, sort_keys=True)
        script = (HERE / peer.script).read_text()
        identity = hashlib.sha256(repr((peer, script, question)).encode()).hexdigest()
        kept = self.folder / "answers" / f"{peer.name}-{identity[:16]}.json"
        if not kept.exists():
            print(f"  {peer.name}: {note} ...", file=sys.stderr, flush=True)
            line = [str(self._python(peer)), str(HERE / peer.script)]
            answer = json.loads(_called(line, peer.name, question).splitlines()[-1])
            kept.parent.mkdir(exist_ok=True)
            unfinished = kept.with_suffix(".part")
            unfinished.write_text(json.dumps({"job": job, "answer": answer}))
            unfinished.replace(kept)
        known: dict[str, Any] = json.loads(kept.read_text())["answer"]
        return known

    def _python(self, peer: Peer) -> Path:
        """The interpreter of a peer's environment, which is made if it is not there."""
        folder = self.folder / peer.name
        mark, python = folder / "requirements", folder / "bin" / "python"
        wanted = "\n".join(peer.requirements)
        if not mark.exists() or mark.read_text() != wanted:
            print(f"  {peer.name}: installing {', '.join(peer.requirements)}", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            _called([str(python), "-m", "pip", "install", "-q", *peer.requirements], peer.name)
            mark.write_text(wanted)
        return python


def _called(line: list[str], name: str, given: str = "") -> str:
    done = subprocess.run(line, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise PeerError(f"{name}: {last[0]}")
    return done.stdout
