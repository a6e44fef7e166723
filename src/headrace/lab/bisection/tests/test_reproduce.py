"""The script for upstream: every check has one, nothing of Headrace in it, places as variables of the shell."""

import pytest

from headrace.lab.bisection.reproduce import Shown, reproduction_script
from headrace.lab.profiles import read_profiles
from headrace.release.config import parse_release_config
from headrace.upstream.recipe import parse_recipe

RECIPE = parse_recipe(
    "both",
    'about = "a"\n[build]\ncommands = [["make", "-j{jobs}", "all it takes"]]\n'
    '[outputs]\nnginx = "objs/nginx"\nlinux = "linux"\n'
    '[environment]\nCFLAGS = "-O2 -fmap={tree}=."\n[toolchain]\ncommands = [["cc"]]\npackages = "gcc make"\n'
    '[configure]\nfragments = ["one"]\ncommands = [["merge", "{fragments}"]]\n',
    {"one": "CONFIG_A=y\n"},
    source="both.toml",
)
CHECKS = (
    *("build.warnings", "function.bytes", "function.bytes-tls", "impairment.reload", "impairment.network.wifi"),
    *(one.check_id for one in parse_release_config().definitions),
)


def script(check: str, component: str = "nginx", network: str = "") -> str:
    return reproduction_script(
        Shown(
            title="it\nfails",
            url="https://example.org/a b",
            good="0" * 40,
            bad="1" * 40,
            component=component,
            check_id=check,
            profile=read_profiles()[network] if network else None,
        ),
        RECIPE,
    )


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("component", ["nginx", "linux"])
def test_every_check_has_a_script(check: str, component: str) -> None:
    text = script(check, component)
    assert "headrace" not in text.lower()
    assert "@" not in text.replace('"$@"', "").split("cat >")[0]
    assert text.startswith("#!/bin/sh\n# it fails\n")
    assert "git clone 'https://example.org/a b' source" in text


def test_places_become_variables_of_the_shell() -> None:
    text = script("function.bytes")
    assert """export CFLAGS='-O2 -fmap='"$PWD"'=.'""" in text
    assert """make -j"$(nproc)" 'all it takes'""" in text
    assert 'merge "$here"/0-one' in text
    assert "CONFIG_A=y\nFRAGMENT" in text


def test_a_kernel_is_booted_with_the_network_of_the_check() -> None:
    text = script("impairment.network.wifi", "linux", "wifi")
    assert 'timeout 600 "$PWD/source/linux" mem=512M rootfstype=hostfs' in text
    assert "tc qdisc add dev lo root netem" in text
    assert "tc qdisc" not in script("function.bytes", "linux")
