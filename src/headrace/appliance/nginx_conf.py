"""Write nginx's configuration for one appliance: pure text from settings, nothing read, nothing run.

The fixed part is nginx/nginx.conf.template; what depends on settings or on the build of nginx is put in here. Only what
stock nginx 1.22 and newer has is used; newer directives are written when the build has them. Settings come from the
agent's configuration and from the control plane; a value that could end a directive is refused.
"""

import re
from dataclasses import dataclass
from importlib import resources
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from headrace.appliance.errors import ApplianceError
from headrace.catalog.model import MEDIA_TYPES, FileSuffix
from headrace.telemetry.access_log import log_format


class NginxConfError(ApplianceError):
    """A setting cannot be written into nginx's configuration; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxBuild:
    """What a binary can do, as `nginx -V` says."""

    version: tuple[int, int, int] = (1, 22, 0)
    has_tls: bool = True
    has_http2: bool = True
    has_threads: bool = True
    keeps_content: bool = False
    """Small files can be kept in memory (`open_file_cache_content`, our patch queue)."""
    gathers_records: bool = False
    """Records of TLS leave several at once (our patch queue), which is worth a larger buffer for reading."""
    corks_long_files: bool = False
    """`tcp_nopush` corks long files alone and leaves TCP_NODELAY set (our patch queue)."""
    bounds_log: bool = False
    """`access_log` takes `min_bytes` and `max_bytes` (our patch queue)."""
    without: frozenset[str] = frozenset()
    """Modules left out of the build, such as http_scgi_module."""

    @property
    def version_text(self) -> str:
        return ".".join(str(part) for part in self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxSettings:
    """Everything that the configuration depends on."""

    appliance_id: str
    listen: tuple[str, ...] = ()
    """Clear addresses: 127.0.1.1:8080, [::]:80."""
    tls_listen: tuple[str, ...] = ()
    """Addresses for TLS; need both files below."""
    tls_certificate: str = ""
    tls_key: str = ""
    serve_root: str
    """Folder that holds f/ab/<sha256>.<suffix>, files or links to files."""
    run_folder: str
    """Pid, socket, error log and temporary folders of this nginx; belongs to it alone."""
    access_log: str
    """Path of the access log; '' for none."""
    redirect_url: str = ""
    """Where a request for a file not held is sent; '' answers 404."""
    origin_url: str = ""
    is_proxying: bool = False
    """Fetch a file not held through from `origin_url`, keeping nothing, instead of redirecting."""
    resolvers: tuple[str, ...] = ()
    """Name servers for the origin's name while serving; none: it is looked up once, when nginx starts."""
    origin_ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    """Who may vouch for an https origin."""
    worker_user: str = ""
    """User of the workers when nginx starts as root; '' for the build's default."""
    worker_group: str = ""
    """Their group; '' for the one that is called as the user is."""
    workers: int = 0
    """0 for one a core."""
    worker_connections: int = 16_384
    open_files: int = 131_072
    """Limit of descriptors of a worker, within the hard limit of the machine."""
    open_file_cache: int = 100_000
    """Files that a worker keeps open, so that serving them needs no look-up on disk."""
    keep_open_s: int = 600
    """A file that nobody asked for this long is closed; one that was deleted gives back its room only then."""
    file_check_s: int = 10
    """A file taken away is served from open descriptors for at most so long."""
    sendfile_chunk_bytes: int = 1 << 20
    """Most that one connection gets in one go, so that a fast client does not hold up the others."""
    has_disk_threads: bool = False
    """Read files in threads: right when most bytes come from disk, 40 % dearer for files in memory (0007)."""
    send_timeout_s: int = 30
    """A client that takes nothing for so long is cut off."""
    shutdown_timeout_s: int = 3_600
    """After a reload, old workers finish their transfers for at most so long."""


_RENDITIONS = (FileSuffix.MP4,)
"""Asked by range, large. Everything else is a playlist or a subtitle: small and asked whole."""
_ASKED = "Range, If-Match, If-None-Match, If-Range, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status"
_ORIGINS_OWN = (
    "ETag",
    "Last-Modified",
    "Cache-Control",
    "Expires",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Timing-Allow-Origin",
    "Cross-Origin-Resource-Policy",
)
"""Headers of the origin's answer that ours replace."""
_KEPT_BYTES = 32 << 10
"""A playlist or subtitle of up to this size is answered from memory: a read less in each answer (0023)."""
_TCP_FACTS_FROM_BYTES = 200_000
"""Answers with bodies from this size on are logged with the facts of TCP."""
_LOG_CHOICE = """\
map $body_bytes_sent $headrace_is_long {
    default "";
    "~^(?:[2-9][0-9]{5}|[0-9]{7})" 1;
}
map $headrace_is_long $headrace_is_short {
    default "";
    "" 1;
}"""
"""The same bound by the digits of the length, for a build whose `access_log` does not compare."""
_MODULES_WITH_FOLDERS = ("proxy", "fastcgi", "uwsgi", "scgi")
_UNSAFE = re.compile(r"[\s\"'\\${};\x00-\x1f\x7f]")
_UNSAFE_IN_PATH = re.compile(r"[\"\\$\x00-\x1f\x7f]")
_PLACE = re.compile(r"^([ \t]*)\{\{(\w+)\}\}\n|\{\{(\w+)\}\}", re.MULTILINE)
_MOST_SOCKET_PATH_BYTES = 107


def render_nginx_conf(settings: NginxSettings, build: NginxBuild | None = None) -> str:
    """Write the configuration for `build` (the oldest that is supported, when not given).

    Raises:
        NginxConfError: no address to listen on, TLS that is half set, or a value with characters that nginx would read
            as its own.
    """
    build = build or NginxBuild()
    _check(settings, build)
    template = resources.files("headrace.appliance").joinpath("nginx/nginx.conf.template").read_text(encoding="utf-8")
    values = _values(settings, build)
    return _PLACE.sub(lambda match: _filled(match, values), template)


def parse_build(text: str) -> NginxBuild:
    """Read the output of `nginx -V`.

    Raises:
        NginxConfError: it is not nginx's.
    """
    version = re.search(r"nginx version: \S+/(\d+)\.(\d+)\.(\d+)", text)
    if not version:
        raise NginxConfError(f"not a build of nginx: {text.strip()[:200]!r}")
    return NginxBuild(
        version=(int(version[1]), int(version[2]), int(version[3])),
        has_tls="--with-http_ssl_module" in text,
        has_http2="--with-http_v2_module" in text,
        has_threads="--with-threads" in text,
        keeps_content="open_file_cache_content enabled" in text,
        gathers_records="TLS batch support enabled" in text,
        corks_long_files="tcp_nopush for long files enabled" in text,
        bounds_log="access_log min_bytes enabled" in text,
        without=frozenset(re.findall(r"--without-(\S+)", text)),
    )


def _filled(match: re.Match[str], values: dict[str, str]) -> str:
    """A place alone on its line takes several lines at its depth, or vanishes; inside a line it takes a value."""
    if match[3]:
        return values[match[3]]
    lines = values[match[2]].splitlines()
    return "".join(f"{match[1]}{line}\n" for line in lines)


def _values(settings: NginxSettings, build: NginxBuild) -> dict[str, str]:
    me = settings.appliance_id
    named = f'"{me}"' if me[:1].isdigit() else me  # RFC 8941: a token does not start with a digit, so it is a string
    return {
        "appliance_id": me,
        "main": _main(settings),
        "worker_processes": str(settings.workers or "auto"),
        "open_files": str(settings.open_files),
        "shutdown_timeout_s": str(settings.shutdown_timeout_s),
        "run_folder": settings.run_folder,
        "worker_connections": str(settings.worker_connections),
        "temporary_paths": _temporary_paths(settings, build),
        "types": "\n".join(f"{MEDIA_TYPES[suffix]} {suffix};" for suffix in FileSuffix),
        "sendfile_chunk_bytes": str(settings.sendfile_chunk_bytes),
        "output_buffers": "1 128k" if build.gathers_records else "2 24k",
        "tcp_nopush": "on" if build.corks_long_files else "off",
        "small_content": f"open_file_cache_content {_KEPT_BYTES};" if build.keeps_content else "",
        "transport": _transport(settings, build),
        "open_file_cache": str(settings.open_file_cache),
        "keep_open_s": str(settings.keep_open_s),
        "file_check_s": str(settings.file_check_s),
        "send_timeout_s": str(settings.send_timeout_s),
        "log_format": log_format(),
        "log_format_short": log_format(has_tcp=False),
        "access_log": _access_log(settings, "headrace_short"),
        "tcp_facts_from": f"{_TCP_FACTS_FROM_BYTES:,}",
        "log_choice": "" if build.bounds_log else _LOG_CHOICE,
        "access_log_renditions": _access_log_renditions(settings, build),
        "upstream": _upstream(settings),
        "listen": _listen(settings, build),
        "serve_root": settings.serve_root,
        "tls": _tls(settings, build),
        "cors": _cors(),
        "file_location": file_location(*FileSuffix),
        "rendition_location": file_location(*_RENDITIONS),
        "small_location": file_location(*(suffix for suffix in FileSuffix if suffix not in _RENDITIONS)),
        "file_headers": _file_headers(),
        "small_headers": _file_headers(is_embeddable=False),
        "hit": f"'{named}; hit'",
        "preflight_headers": _preflight_headers(),
        "refused_headers": f'{_cors()}\nadd_header Allow "GET, HEAD, OPTIONS" always;',
        "own_socket": own_socket(settings.run_folder),
        "miss": _miss(settings, f"'{named}; fwd=miss'"),
    }


def file_location(*suffixes: FileSuffix) -> str:
    """The expression that a path of these kinds of file fits. That the folder repeats the first digits of the name is
    checked only when there is no such file: a back reference costs a mapping of memory in each request (0009)."""
    return '"^/f/[0-9a-f][0-9a-f]/(?<sha>[0-9a-f]{64})\\.(?:' + "|".join(suffixes) + ')$"'


def own_socket(run_folder: str) -> str:
    """The socket on which nginx asks itself. A path too long for the kernel is taken relative to nginx's folder."""
    path = f"{run_folder}/own.sock"
    return path if len(path.encode()) <= _MOST_SOCKET_PATH_BYTES else "own.sock"


def _access_log(settings: NginxSettings, *uses: str) -> str:
    """The one log, in each format used (with its condition)."""
    if not settings.access_log:
        return "access_log off;"
    # A larger buffer pushes other things out of the core's cache: 5 % of a small answer (0009).
    return "\n".join(f'access_log "{settings.access_log}" {use} buffer=32k flush=1s;' for use in uses)


def _access_log_renditions(settings: NginxSettings, build: NginxBuild) -> str:
    if build.bounds_log:
        short, long = f"max_bytes={_TCP_FACTS_FROM_BYTES - 1}", f"min_bytes={_TCP_FACTS_FROM_BYTES}"
    else:
        short, long = "if=$headrace_is_short", "if=$headrace_is_long"
    return _access_log(settings, f"headrace_short {short}", f"headrace {long}")


def _main(settings: NginxSettings) -> str:
    who = f"{settings.worker_user} {settings.worker_group}".strip()
    lines = [f"user {who};"] if settings.worker_user else []
    return "\n".join([*lines, "pcre_jit on;"])


def _temporary_paths(settings: NginxSettings, build: NginxBuild) -> str:
    kept = [name for name in _MODULES_WITH_FOLDERS if f"http_{name}_module" not in build.without]
    return "\n".join(f'{name}_temp_path "{settings.run_folder}/{name}";' for name in ["client_body", *kept])


def _transport(settings: NginxSettings, build: NginxBuild) -> str:
    lines = []
    if build.has_http2 and build.version >= (1, 25, 1):
        lines += ["http2 on;", "http2_max_concurrent_streams 128;"]
    if build.version >= (1, 27, 4):
        lines.append("keepalive_min_timeout 20s;")  # a reload does not close a connection that a player still uses
    if settings.has_disk_threads and build.has_threads:
        lines.append("aio threads;")
    return "\n".join(lines)


def _listen(settings: NginxSettings, build: NginxBuild) -> str:
    options = "reuseport backlog=4096"
    is_old = build.has_http2 and build.version < (1, 25, 1)  # there, http2 on a clear port would end HTTP/1.1 on it
    clear = [f"listen {address} {options};" for address in settings.listen]
    secured = [f"listen {address} ssl{' http2' if is_old else ''} {options};" for address in settings.tls_listen]
    return "\n".join(clear + secured)


def _tls(settings: NginxSettings, build: NginxBuild) -> str:
    if not settings.tls_listen:
        return ""
    tickets = "on" if build.version >= (1, 23, 2) else "off"  # older builds never change the key of their tickets
    return "\n".join(
        (
            f'ssl_certificate "{settings.tls_certificate}";',
            f'ssl_certificate_key "{settings.tls_key}";',
            "ssl_protocols TLSv1.2 TLSv1.3;",
            "ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;",
            "ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384;",
            "ssl_session_cache shared:headrace_tls:20m;",
            "ssl_session_timeout 1d;",
            f"ssl_session_tickets {tickets};",
        )
    )


def _cors(*, is_embeddable: bool = True) -> str:
    lines = [
        'add_header Access-Control-Allow-Origin "*" always;',
        'add_header Access-Control-Expose-Headers "*" always;',  # all of them; credentials are never allowed here
        'add_header Timing-Allow-Origin "*" always;',
    ]
    if is_embeddable:
        lines.append('add_header Cross-Origin-Resource-Policy "cross-origin" always;')
    return "\n".join(lines)


def _file_headers(*, is_embeddable: bool = True) -> str:
    """Headers of a file. Without `is_embeddable` the one is left out that only elements which load without CORS need:
    no page shows a playlist or a subtitle so, and 44 bytes decide whether a small answer is one packet or two (0009).
    """
    lines = [
        "add_header ETag '\"$sha\"';",
        'add_header Last-Modified "";',  # the time of a copy says nothing about the content
        'add_header Cache-Control "max-age=31536000, immutable";',
    ]
    return "\n".join([_cors(is_embeddable=is_embeddable), *lines])


def _preflight_headers() -> str:
    lines = (
        'add_header Access-Control-Allow-Methods "GET, HEAD, OPTIONS";',
        f'add_header Access-Control-Allow-Headers "{_ASKED}";',
        'add_header Access-Control-Max-Age "86400";',
        'add_header Allow "GET, HEAD, OPTIONS";',
    )
    return "\n".join([_cors(), *lines])


def _upstream(settings: NginxSettings) -> str:
    """How the origin's address is found when files are fetched through."""
    if not settings.is_proxying:
        return ""
    if settings.resolvers and not _is_address(_origin(settings).hostname or ""):
        servers = " ".join(f"[{address}]" if ":" in address else address for address in settings.resolvers)
        return f"resolver {servers} valid=30s;\nresolver_timeout 2s;"
    return f"upstream headrace_origin {{\n    server {_host_and_port(_origin(settings))};\n    keepalive 16;\n}}"


def _miss(settings: NginxSettings, cache_status: str) -> str:
    if settings.is_proxying:
        return _proxied(settings, cache_status)
    own = [_cors(), 'add_header Cache-Control "no-store" always;', f"add_header Cache-Status {cache_status} always;"]
    if not settings.redirect_url:
        return "\n".join([*own, "return 404;"])
    target = f"{settings.redirect_url.rstrip('/')}$uri?not={settings.appliance_id}"
    return "\n".join(
        [
            *own,
            "if ($args) {",
            f'    return 302 "{target}&$args";',
            "}",
            f'return 302 "{target}";',
        ]
    )


def _proxied(settings: NginxSettings, cache_status: str) -> str:
    """Stream from the origin with nothing kept: ranges go through, and no temporary file is ever written."""
    origin = _origin(settings)
    is_looked_up = bool(settings.resolvers) and not _is_address(origin.hostname or "")
    server = _host_and_port(origin) if is_looked_up else "headrace_origin"
    lines = [
        _file_headers(),
        f"add_header Cache-Status {cache_status};",
        f"proxy_pass {origin.scheme}://{server}{origin.path.rstrip('/')}$uri$is_args$args;",
        f'proxy_set_header Host "{origin.netloc}";',
        'proxy_set_header Connection "";',
        "proxy_http_version 1.1;",
        "proxy_pass_request_body off;",
        'proxy_set_header Content-Length "";',
        "proxy_max_temp_file_size 0;",
        "proxy_buffers 8 32k;",
        "proxy_connect_timeout 5s;",
        "proxy_read_timeout 15s;",
        "proxy_next_upstream off;",
        *(f"proxy_hide_header {name};" for name in _ORIGINS_OWN),
    ]
    if origin.scheme == "https":
        lines += [
            "proxy_ssl_server_name on;",
            f'proxy_ssl_name "{origin.hostname}";',
            "proxy_ssl_verify on;",
            "proxy_ssl_verify_depth 4;",
            f'proxy_ssl_trusted_certificate "{settings.origin_ca_file}";',
        ]
    return "\n".join(lines)


def _origin(settings: NginxSettings) -> SplitResult:
    return urlsplit(settings.origin_url)


def _host_and_port(url: SplitResult) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def _is_address(host: str) -> bool:
    """Whether no name server is needed."""
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _check(settings: NginxSettings, build: NginxBuild) -> None:
    if not (settings.listen or settings.tls_listen):
        raise NginxConfError("nginx: no address to listen on")
    if settings.tls_listen and not (settings.tls_certificate and settings.tls_key):
        raise NginxConfError("nginx: TLS needs both a certificate and a key")
    if settings.tls_listen and not build.has_tls:
        raise NginxConfError("nginx: this build has no TLS; name another program")
    if settings.is_proxying and not settings.origin_url:
        raise NginxConfError("nginx: on_miss is proxy, but there is no origin")
    _check_characters(settings)
    for address in (*settings.listen, *settings.tls_listen):
        split_address(address)
    for name in ("redirect_url", "origin_url"):
        url = getattr(settings, name)
        if url and not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
            raise NginxConfError(f"nginx: {name} {url!r} is not an http or https URL")


def _check_characters(settings: NginxSettings) -> None:
    for name in ("serve_root", "run_folder", "access_log", "tls_certificate", "tls_key", "origin_ca_file"):
        value = getattr(settings, name)
        if _UNSAFE_IN_PATH.search(value) or (value and not value.startswith("/")):
            raise NginxConfError(f"nginx: {name} {value!r} must be an absolute path without quotes, $ and backslashes")
    words = (
        settings.appliance_id,
        settings.redirect_url,
        settings.origin_url,
        settings.worker_user,
        settings.worker_group,
    )
    for value in (*words, *settings.resolvers, *settings.listen, *settings.tls_listen):
        if _UNSAFE.search(value):
            raise NginxConfError(f"nginx: {value!r} holds a character that nginx reads as its own")


def split_address(address: str) -> tuple[str, int]:
    """Take a listening address apart: '[::]:80' -> ('::', 80).

    Raises:
        NginxConfError: not an IP address and a port.
    """
    host, _, port = address.rpartition(":")
    try:
        plain = str(ip_address(host.removeprefix("[").removesuffix("]")))
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536 and (":" in plain) == host.startswith("[")):
            raise ValueError(port)
    except ValueError:
        raise NginxConfError(f"nginx: cannot listen on {address!r}: write 192.0.2.10:80 or [2001:db8::1]:80") from None
    return plain, int(port)
