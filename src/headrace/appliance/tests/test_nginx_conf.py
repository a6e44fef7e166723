import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.appliance.nginx_conf import (
    NginxBuild,
    NginxConfError,
    NginxSettings,
    own_socket,
    parse_build,
    render_nginx_conf,
    split_address,
)

PLAIN = NginxSettings(
    appliance_id="a1",
    listen=("192.0.2.1:80", "[2001:db8::1]:80"),
    serve_root="/srv/serve",
    run_folder="/srv/run",
    access_log="/srv/run/access.log",
    redirect_url="https://steer.example/base/",
)
NEW = NginxBuild(version=(1, 31, 3))
TLS = {"tls_listen": ("192.0.2.1:443",), "tls_certificate": "/c.pem", "tls_key": "/k.pem"}


def rendered(build: NginxBuild = NEW, **settings: Any) -> str:
    return render_nginx_conf(replace(PLAIN, **settings), build)


def test_nothing_is_left_to_fill_in() -> None:
    for build in (NEW, NginxBuild()):
        for settings in ({}, TLS, {"is_proxying": True, "origin_url": "http://origin.example"}):
            text = rendered(build, **settings)
            assert "{{" not in text
            assert text.count("{") == text.count("}")
            assert not re.search(r"^ *$\n^ *$", text, re.MULTILINE), "no two empty lines in a row"


def test_miss_is_sent_on_with_our_name() -> None:
    assert 'return 302 "https://steer.example/base$uri?not=a1&$args";' in rendered()
    assert "return 302" not in rendered(redirect_url="")


def test_cache_status_names_us_as_the_standard_wants() -> None:
    assert "add_header Cache-Status 'a1; hit';" in rendered()
    assert "add_header Cache-Status '\"1a\"; hit';" in rendered(appliance_id="1a")


@pytest.mark.parametrize(
    ("build", "has", "has_not"),
    [
        (NEW, ("http2 on;", "keepalive_min_timeout", "ssl_session_tickets on;", " ssl reuseport"), ("ssl http2",)),
        (NginxBuild(version=(1, 26, 3)), ("http2 on;",), ("keepalive_min_timeout",)),
        (NginxBuild(), (" ssl http2 reuseport", "ssl_session_tickets off;"), ("http2 on;", "keepalive_min_timeout")),
        (NginxBuild(has_http2=False), (" ssl reuseport",), ("http2",)),
        (NginxBuild(without=frozenset(["http_scgi_module"])), ("uwsgi_temp_path",), ("scgi_temp_path",)),
    ],
)
def test_only_what_the_build_has(build: NginxBuild, has: tuple[str, ...], has_not: tuple[str, ...]) -> None:
    text = rendered(build, **TLS)
    assert all(part in text for part in has)
    assert not any(re.search(rf"(?<!\w){part}", text) for part in has_not)


def test_disk_threads() -> None:
    assert "aio threads;" in rendered(has_disk_threads=True)
    assert "aio" not in rendered(NginxBuild(has_threads=False), has_disk_threads=True)


@pytest.mark.parametrize(
    ("origin", "resolvers", "server", "target"),
    [
        ("http://origin.example", (), "server origin.example:80;", "http://headrace_origin$uri"),
        ("https://origin.example:444/base/", (), "server origin.example:444;", "https://headrace_origin/base$uri"),
        ("http://192.0.2.9:81", ("192.0.2.53",), "server 192.0.2.9:81;", "http://headrace_origin$uri"),
        ("http://[2001:db8::9]", ("192.0.2.53",), "server [2001:db8::9]:80;", "http://headrace_origin$uri"),
        (
            "http://origin.example",
            ("192.0.2.53", "2001:db8::53"),
            "resolver 192.0.2.53 [2001:db8::53]",
            "http://origin.example:80$uri",
        ),
    ],
)
def test_proxying(origin: str, resolvers: tuple[str, ...], server: str, target: str) -> None:
    text = rendered(is_proxying=True, origin_url=origin, resolvers=resolvers)
    assert server in text
    assert f"proxy_pass {target}$is_args$args;" in text
    assert ("proxy_ssl_verify on;" in text) == origin.startswith("https")
    assert "proxy_max_temp_file_size 0;" in text
    assert "proxy_store" not in text
    assert "proxy_cache" not in text


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": ()},
        {"listen": ("80",)},
        {"listen": ("localhost:80",)},
        {"listen": ("192.0.2.1:0",)},
        {"listen": ("192.0.2.1:99999",)},
        {"listen": ("2001:db8::1:80",)},
        {"listen": ("[192.0.2.1]:80",)},
        {"listen": ("192.0.2.1:80 ssl",)},
        {"tls_listen": ("192.0.2.1:443",)},
        {"tls_listen": ("192.0.2.1:443",), "tls_certificate": "/c.pem"},
        {"is_proxying": True},
        {"redirect_url": "steer.example"},
        {"redirect_url": "http://"},
        {"redirect_url": "http://x/$uri"},
        {"redirect_url": 'http://x/"'},
        {"redirect_url": "http://x/;}"},
        {"origin_url": "file:///etc"},
        {"serve_root": "serve"},
        {"serve_root": '/srv/"; }'},
        {"access_log": "/log\nuser root;"},
        {"worker_user": "root; include /x"},
        {"resolvers": ("192.0.2.53;",)},
    ],
    ids=str,
)
def test_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(NginxConfError):
        rendered(**settings)


def test_tls_needs_a_build_with_it() -> None:
    with pytest.raises(NginxConfError, match="no TLS"):
        rendered(NginxBuild(has_tls=False), **TLS)


@given(st.text(min_size=1, max_size=60))
def test_no_url_changes_the_configuration(text: str) -> None:
    url = f"http://steer.example/{text}"
    try:
        written = rendered(redirect_url=url)
    except (NginxConfError, ValueError):
        return
    assert written == rendered(redirect_url="http://steer.example/base").replace(
        "http://steer.example/base", url.rstrip("/")
    )


@pytest.mark.parametrize(
    ("address", "parts"), [("0.0.0.0:80", ("0.0.0.0", 80)), ("[::]:443", ("::", 443)), ("[0:0::1]:1", ("::1", 1))]
)
def test_split_address(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


def test_socket_path_within_the_limit_of_the_kernel() -> None:
    assert own_socket("/srv/run") == "/srv/run/own.sock"
    assert own_socket("/" + "x" * 200) == "own.sock"


def test_what_our_patches_add_is_used_where_it_is() -> None:
    ours = replace(NEW, keeps_content=True, gathers_records=True, corks_long_files=True, bounds_log=True)
    plain, patched = rendered(), rendered(ours)
    assert "open_file_cache_content" not in plain
    assert "output_buffers 2 24k;" in plain
    small = patched[patched.index("sendfile off;") :]
    assert small.index("open_file_cache_content 32768;") < small.index("location @special")
    assert patched.count("open_file_cache_content") == 1, "renditions stay on disk"
    assert "output_buffers 1 128k;" in patched
    assert "tcp_nopush off;" in plain
    assert "tcp_nopush on;" in patched
    assert "headrace_short max_bytes=199999 " in patched
    assert "headrace min_bytes=200000 " in patched
    assert "$headrace_is_" not in patched


def test_both_ways_to_choose_a_log_have_one_bound() -> None:
    expression = re.search(r'"~(\S+)" 1;', rendered())
    assert expression
    for length in (0, 9, 99_999, 199_999, 200_000, 999_999, 1_000_000, 4 << 20, 10**15):
        assert bool(re.match(expression[1], str(length))) == (length >= 200_000), length


def test_parse_build() -> None:
    text = (
        "nginx version: nginx/1.26.3 (Debian)\nbuilt with OpenSSL 3\nTLS SNI support enabled\n"
        "configure arguments: --with-http_ssl_module --with-http_v2_module --with-threads --without-http_scgi_module"
    )
    assert parse_build(text) == NginxBuild(version=(1, 26, 3), without=frozenset(["http_scgi_module"]))
    assert parse_build("nginx version: freenginx/1.31.0\n") == NginxBuild(
        version=(1, 31, 0), has_tls=False, has_http2=False, has_threads=False
    )
    ours = parse_build(
        f"{text}\nTLS batch support enabled\nopen_file_cache_content enabled\n"
        "tcp_nopush for long files enabled\naccess_log min_bytes enabled\n"
    )
    assert (ours.keeps_content, ours.gathers_records) == (True, True)
    assert (ours.corks_long_files, ours.bounds_log) == (True, True)
    with pytest.raises(NginxConfError):
        parse_build("Server version: Apache/2.4")
