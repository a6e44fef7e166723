"""Writes the shell script that shows a regression without Headrace: clone, build, serve, ask. Pure.

`sh reproduce.sh REVISION` builds that commit of plain upstream and ends with 0 (good) or 1 (bad), as `git bisect run`
wants it; where a cost is what regressed, it prints the cost. What it asks is of the same kind as the check, with common
tools (curl, valgrind); its figures are its own.
A kernel is booted as User-Mode Linux on this machine's own files, and the same is done within it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.lab.profiles import Profile, netem_words
from headrace.upstream.recipe import Recipe, expand, fill

_HEAD = """#!/bin/sh
# {title}
#
#   sh reproduce.sh {bad}   # {on_bad}
#   sh reproduce.sh {good}   # {on_good}
#
# Clones into ./source, builds there, needs: {packages} {tools}
set -eu
revision=${{1:-{bad}}}
here=$(mktemp -d)
[ -d source ] || git clone {url} source
git -C source checkout --quiet --force "$revision"
git -C source clean -qdfx
"""
_SERVE = """
cat > "$here/ask.sh" <<'ASK'
here=$1 nginx=$2
mkdir -p "$here/run" "$here/content"
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$here/key" -out "$here/cert" 2>/dev/null
cat > "$here/nginx.conf" <<CONF
user root;
worker_processes 1;
pid $here/run/nginx.pid;
error_log $here/run/error.log info;
events { worker_connections 4096; }
http {
    access_log off;
    sendfile on;
    sendfile_max_chunk 1m;
    tcp_nodelay on;
    keepalive_requests 1000000;
    reset_timedout_connection on;
    open_file_cache max=1000;
    server {
        listen 127.0.0.1:8077;
        listen 127.0.0.1:8443 ssl;
        ssl_certificate $here/cert;
        ssl_certificate_key $here/key;
        root $here/content;
    }
}
CONF
for size in 1024 4095 4097 100000 2097151 2097153 8400857; do
    head -c $size /dev/urandom > "$here/content/$size"
done
base=http://127.0.0.1:8077
"$nginx" -p "$here" -c "$here/nginx.conf"
tries=0
until curl -s -o /dev/null $base/1024; do tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1; done
master=$(cat "$here/run/nginx.pid")
worker() { cat /proc/$master/task/$master/children | awk '{print $1}'; }
bad=0
"""
_END = """
if grep -E 'exited on signal|\\[alert\\]|\\[emerg\\]' "$here/run/error.log"; then bad=1; fi
kill $master
echo $bad > "$here/bad"
ASK
"""
_RUN_NGINX = """
sh "$here/ask.sh" "$here" "$PWD/source/{output}"
"""
_RUN_LINUX = """
cat > "$here/init" <<INIT
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
ip link set lo up
{netem}timeout 300 sh "$here/ask.sh" "$here" "\\$(command -v nginx)"
echo o > /proc/sysrq-trigger
sleep 10
INIT
chmod +x "$here/init"
timeout 600 "$PWD/source/{output}" mem=512M rootfstype=hostfs rootflags=/ rw init="$here/init" \\
    con0=fd:0,fd:1 con=null oops=panic panic=-1 </dev/null | tee "$here/console" || true
if grep -E 'Kernel panic|BUG:|WARNING:|Oops' "$here/console"; then echo 1 > "$here/bad"; fi
"""
_LAST = """
found=$(cat "$here/bad" 2>/dev/null || echo 1)
rm -rf "$here"
echo "$revision: $([ "$found" = 0 ] && echo {good} || echo bad)"
exit "$found"
"""

_BYTES = """
{base}for size in 4097 100000 2097153 8400857; do
    for first in 0 1 4095 4096 4097 2093056 2097151 2097152 2097153; do
        for length in 1 4096 4097 65536 69632 1048576 1052672 3145728; do
            [ $((first + length)) -le $size ] || continue
            curl -sk --max-time 10 -r $first-$((first + length - 1)) -o "$here/got" $base/$size || bad=1
            tail -c +$((first + 1)) "$here/content/$size" | head -c $length | cmp - "$here/got" || bad=1
        done
    done
    curl -sk --max-time 10 -r -1000 -o "$here/got" $base/$size || bad=1
    tail -c 1000 "$here/content/$size" | cmp - "$here/got" || bad=1
    curl -sk --max-time 10 -o "$here/got" $base/$size && cmp "$here/got" "$here/content/$size" || bad=1
done
"""
_ABORTS = """
for turn in $(seq 300); do
    curl -s --max-time 0.0$((turn % 9 + 1)) --limit-rate 2m -o /dev/null $base/8400857 || true
    curl -s --max-time 5 -o /dev/null $base/1024 || bad=1
done
"""
_RELOAD = """
for turn in $(seq 20); do
    kill -HUP $master
    for again in 1 2 3 4 5; do curl -s --max-time 5 -o /dev/null $base/100000 || bad=1; done
done
"""
_MEMORY = """
anon() { awk '/^RssAnon/ {print $2 * 1024}' /proc/$(worker)/status; }
ask() {
    curl -s -H 'Connection: close' -o /dev/null "$base/1024?[1-$1]"
    for turn in $(seq $(($1 / 10))); do curl -s --max-time 0.02 --limit-rate 2m -o /dev/null $base/8400857 || true; done
}
ask 1000
before=$(anon)
ask 3000
after=$(anon)
echo "memory of the worker per request: $(((after - before) / 3300)) bytes"
[ $(((after - before) / 3300)) -lt 100 ] || bad=1
"""
_DESCRIPTORS = """
count() { ls /proc/$master/fd | wc -l; }
kill -HUP $master; sleep 1
before=$(count)
for turn in $(seq 20); do kill -HUP $master; sleep 0.3; done
sleep 1
echo "descriptors of the master: $before, after 20 reloads $(count)"
[ $(($(count) - before)) -lt 10 ] || bad=1
"""
_SOCKETS = """
count() { awk '/^TCP:/ {print $3}' /proc/net/sockstat; }
curl -s -H 'Connection: close' -o /dev/null "$base/1024?[1-500]"
before=$(count)
curl -s -H 'Connection: close' -o /dev/null "$base/1024?[1-3000]"
sleep 2
echo "sockets in use: $before, after 3000 connections $(count)"
[ $(($(count) - before)) -lt 100 ] || bad=1
"""
_SLAB = """
slab() { awk '/^Slab/ {print $2 * 1024}' /proc/meminfo; }
curl -s -H 'Connection: close' -o /dev/null "$base/1024?[1-2000]"
before=$(slab)
curl -s -H 'Connection: close' -o /dev/null "$base/1024?[1-8000]"
after=$(slab)
echo "memory of the kernel per connection: $(((after - before) / 8000)) bytes"
[ $(((after - before) / 8000)) -lt 50 ] || bad=1
"""
_INSTRUCTIONS = """
kill $master; sleep 1
count() {
    valgrind --tool=callgrind --callgrind-out-file="$here/out" "$nginx" -p "$here" -c "$here/nginx.conf" \\
        -g 'daemon off; master_process off;' 2>/dev/null & traced=$!
    until curl -s -o /dev/null $base/1024; do sleep 0.2; done
    curl -s -o /dev/null "$base/1024?[1-$1]"
    kill $traced; wait $traced || true
    awk '/^(totals|summary):/ {print $2; exit}' "$here/out"
}
few=$(count 100) many=$(count 600)
echo "instructions per request: $(((many - few) / 500))"
"$nginx" -p "$here" -c "$here/nginx.conf"; sleep 1; master=$(cat "$here/run/nginx.pid")
"""
_COSTS = """
ticks() { awk '{print $14 + $15}' /proc/$(worker)/stat; }
before=$(ticks)
for turn in $(seq 40); do curl -s -r 0-99999 -o /dev/null "$base/8400857?[1-200]"; done
echo "CPU per GB: $((($(ticks) - before) * 1000 / $(getconf CLK_TCK) * 1000 / 800)) ms"
curl -s -o /dev/null -w '%{time_starttransfer}\\n' "$base/1024?[1-2000]" | sort -n |
    awk '{all[NR] = $1} END {print "first byte, median and 99 %:", all[int(NR / 2)], all[int(NR * 0.99)]}'
"""

_ASKED = (
    ("function.bytes-tls", _BYTES.replace("{base}", "base=https://127.0.0.1:8443\n")),
    ("function.", _BYTES.replace("{base}", "")),
    ("impairment.reload", _RELOAD),
    ("impairment.", _ABORTS + _BYTES.replace("{base}", "")),
    ("soak.descriptors", _DESCRIPTORS),
    ("soak.sockets", _SOCKETS),
    ("soak.kernel", _SLAB),
    ("soak.slab", _SLAB),
    ("soak.", _MEMORY),
    ("performance.instructions", _INSTRUCTIONS),
    ("performance.", _COSTS),
    ("build.", ""),
)
"""By the beginning of the check's id; the first that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a script is to show."""

    title: str
    url: str
    good: str
    bad: str
    component: str
    check_id: str
    profile: Profile | None = None
    """The network of the check, laid on the guest's loopback where a kernel is what is built."""


def reproduction_script(shown: Shown, recipe: Recipe) -> str:
    """The script."""
    component = shown.component
    asked = next(text for beginning, text in _ASKED if shown.check_id.startswith(beginning))
    is_measured = shown.check_id.startswith("performance.")
    tools = ["git", "curl", "openssl", *(["valgrind"] if "valgrind" in asked else [])]
    tools += ["nginx", "iproute2"] if component == "linux" else []
    last = _LAST.replace("{good}", "measured" if is_measured else "good")
    head = _HEAD.format(
        title=" ".join(shown.title.split()),
        good=shown.good,
        bad=shown.bad,
        on_bad="prints what it costs" if is_measured else "bad: ends with 1",
        on_good="likewise; compare the two" if is_measured else "good: ends with 0",
        url=shlex.quote(shown.url),
        packages=recipe.toolchain.packages,
        tools=" ".join(tools),
    )
    output = recipe.outputs[component]
    run = _RUN_NGINX.format(output=output)
    if component == "linux":
        words = netem_words(shown.profile.down) if shown.profile else []
        netem = f"tc qdisc add dev lo root {' '.join(words)}\n" if words else ""
        run = _RUN_LINUX.format(output=output, netem=netem)
    return head + _build(recipe) + _SERVE + asked.lstrip("\n") + _END.lstrip("\n") + run + last


def _build(recipe: Recipe) -> str:
    """The recipe's commands, in the source's folder."""
    lines: list[str] = []
    names: list[str] = []
    for number, (name, text) in enumerate(recipe.fragments):
        names.append(f"@HERE@/{number}-{name}")
        lines += [f"cat > \"$here/{number}-{name}\" <<'FRAGMENT'", text.rstrip("\n"), "FRAGMENT"]
    lines += ["(", "cd source"]
    lines += [f"export {name}={_quoted(fill(text, _PLACES))}" for name, text in recipe.environment.items()]
    for command in (*recipe.configure.commands, *recipe.build.commands):
        lines.append(" ".join(_quoted(word) for word in expand(command, places=_PLACES, fragments=names)))
    return "\n".join([*lines, ")"]) + "\n"


_PLACES = {"tree": "@TREE@", "jobs": "@JOBS@"}
_MEANT: Sequence[tuple[str, str]] = (("@TREE@", '"$PWD"'), ("@JOBS@", '"$(nproc)"'), ("@HERE@", '"$here"'))


def _quoted(word: str) -> str:
    """A word for the shell, with the places as variables of it."""
    quoted = shlex.quote(word)
    for place, meant in _MEANT:
        quoted = quoted.replace(place, f"'{meant}'" if quoted.startswith("'") else meant)
    return quoted
