"""The peers' Python environments: build/peers/ENVIRONMENT, made from requirements/*.txt when first needed."""

import hashlib
import os
import pathlib
import subprocess
import sys

REQUIREMENTS = pathlib.Path(__file__).with_name("requirements")
# Peer -> (its environment, what is installed there in this order). What is there already stays.
PEERS = {
    "onnxruntime": ("onnxruntime", ["onnxruntime"]),
    "openvino": ("openvino", ["openvino"]),
    "pytorch": ("pytorch", ["pytorch"]),
    "zentorch": ("pytorch", ["pytorch", "zentorch"]),
}


class Unavailable(Exception):
    """Why a peer cannot be measured here."""


def clean_environment():
    """The process's environment without what would lead another Python astray."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"}


def run_logged(words, log):
    with open(log, "w", encoding="utf-8") as file:
        code = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, env=clean_environment(),
                              stdin=subprocess.DEVNULL).returncode
    if code != 0:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise Unavailable(f"cannot be installed: {last[0][:200]} (all of it in {log.parent.name}/{log.name})")


def is_amd(cpuinfo):
    return "AuthenticAMD" in cpuinfo


def python_of(peer, folder, say):
    """The interpreter of the peer's environment under `folder`, which is made where it lacks; or Unavailable."""
    environment, parts = PEERS[peer]
    if peer == "zentorch" and not is_amd(pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")):
        raise Unavailable("made for AMD processors, and this is none")
    home = pathlib.Path(folder) / environment
    python = home / "bin" / "python"
    for index, part in enumerate(parts):
        requirements = REQUIREMENTS / f"{part}.txt"
        # The folder is part of the stamp: the environment's scripts hold it.
        stamp_text = f"{hashlib.sha256(requirements.read_bytes()).hexdigest()} in {home.resolve()}"
        stamp = home / f"{part}.stamp"
        if stamp.exists() and stamp.read_text() == stamp_text and python.exists():
            continue
        home.parent.mkdir(parents=True, exist_ok=True)
        log = home.parent / f"{part}.log"
        if index == 0:
            say(f"making {home} from {requirements.name}")
            run_logged([sys.executable, "-m", "venv", "--clear", str(home)], log)
        else:
            say(f"adding {requirements.name} to {home}")
        run_logged([str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps",
                    "--only-binary", ":all:", "--require-hashes", "-r", str(requirements)], log)
        stamp.write_text(stamp_text)
    return python
