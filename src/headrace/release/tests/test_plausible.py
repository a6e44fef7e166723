"""Which diffs are harmless: told by texts as git writes them, and doubtful ones stay plausible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.release.plausible import Harmless, harmless_because, parse_diff


def diff(path: str, *lines: str) -> str:
    body = "\n".join(lines)
    head = f"diff --git a/{path} b/{path}\nindex 111..222 100644\n--- a/{path}\n+++ b/{path}\n"
    return f"{head}@@ -10,6 +10,6 @@ static int f(void)\n{body}\n"


COMMENT = diff("net/ipv4/tcp_output.c", " \tint a;", "-\t/* send the hed */", "+\t/* send the head */", " \ta = 1;")
CODE = diff("net/ipv4/tcp_output.c", " \tint a;", "-\ta = 1;", "+\ta = 2;")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (COMMENT, Harmless.COMMENTS),
        (CODE, None),
        (COMMENT + CODE, None),
        (diff("net/core/sock.c", "-\ta = 1; // one", "+\ta = 1;   // first"), Harmless.COMMENTS),
        (diff("net/core/sock.c", "-\ta = 1; // one", "+\ta = 2; // one"), None),
        (diff("net/core/sock.c", '-\tf("/* no */");', '+\tf("/* not */");'), None),
        (diff("net/core/sock.c", " /**", "- * foo - doe", "+ * foo - do", "  * @sk: socket"), Harmless.COMMENTS),
        (diff("net/core/sock.c", "  * one", "- * two", "+ * three", "+ * four", "  * five"), Harmless.COMMENTS),
        (diff("net/core/sock.c", "  * one", "- * two", "+ * three", "  */", " int x;"), Harmless.COMMENTS),
        (diff("net/core/sock.c", " \tint a;", "-\t*p = 3;", "+\t*p = 4;"), None),
        (diff("net/core/sock.c", "-#define A 1", "+#define A 2"), None),
        (diff("net/core/sock.c", "-if (a)", "-\tb();", "+if (a)", "+  b();"), Harmless.COMMENTS),
        (diff("net/core/sock.c", " \t/* old", "-\tb();", "+\tc();", " \t*/"), Harmless.COMMENTS),
        (diff("net/core/sock.c", "-\tb();", "+\t/* b(); */"), None),
        (diff("Documentation/networking/tcp.rst", "-old", "+new"), Harmless.DOCS),
        (diff("net/ipv4/Kconfig", "-# old words", "+# new words"), Harmless.COMMENTS),
        (diff("net/ipv4/Kconfig", "-\tdefault y", "+\tdefault n"), None),
        (diff("net/ipv4/Makefile", "-obj-y += a.o # a", "+obj-y += a.o # the a"), Harmless.COMMENTS),
        (diff("scripts/x.sh", '-echo "# a"', '+echo "# b"'), None),
        (diff("scripts/x.sh", "-echo $# x", "+echo $# y"), None),
        (diff("scripts/x.pl", "-#!/usr/bin/perl", "+#!/usr/bin/perl -w"), None),
        (diff("arch/arm64/kernel/entry.S", "-\tnop", "+\tret"), Harmless.OTHER_ARCHITECTURE),
        (diff("arch/um/kernel/irq.c", "-\ta();", "+\tb();"), None),
        (diff("arch/x86/lib/memcpy_64.S", "-\tnop", "+\tret"), None),
        (diff("tools/testing/selftests/net/x.c", "-\ta();", "+\tb();"), Harmless.NOT_BUILT),
        (diff("src/os/win32/ngx_files.c", "-a();", "+b();"), Harmless.NOT_BUILT),
        (diff("arch/x86/lib/x86-opcode-map.txt", "-a", "+b"), None),
        (diff("docs/xml/nginx/changes.xml", "-a", "+b"), Harmless.DOCS),
        (diff("contrib/vim/syntax/nginx.vim", "-a", "+b"), Harmless.NOT_BUILT),
        (diff("arch/riscv/kernel/a.c", "-a", "+b") + COMMENT, Harmless.MIXED),
        (diff("firmware/x.bin.ihex", "-a", "+b"), None),
        ("diff --git a/net/a.c b/net/a.c\nBinary files a/net/a.c and b/net/a.c differ\n", None),
        ("diff --git a/net/a.c b/net/b.c\nsimilarity index 100%\nrename from net/a.c\nrename to net/b.c\n", None),
        ("diff --git a/x.sh b/x.sh\nold mode 100644\nnew mode 100755\n", None),
        ("diff --cc net/a.c\nindex 1,2..3\n--- a/net/a.c\n+++ b/net/a.c\n@@@ -1,2 -1,2 +1,3 @@@\n++\ta();\n", None),
        ("", Harmless.EMPTY),
    ],
)  # fmt: skip
def test_harmless(text: str, reason: Harmless | None) -> None:
    assert harmless_because(parse_diff(text)) is reason


def test_deleted_and_spaced_paths_are_read() -> None:
    text = "diff --git a/net/my file.c b/net/my file.c\ndeleted file mode 100644\n"
    text += "--- a/net/my file.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-int a;\n"
    (change,) = parse_diff(text)
    assert change.path == "net/my file.c"
    assert harmless_because([change]) is None


def test_architectures_of_ours_can_be_others() -> None:
    text = diff("arch/arm64/kernel/entry.S", "-\tnop", "+\tret")
    assert harmless_because(parse_diff(text), architectures=frozenset({"arm64"})) is None


@given(text=st.text(max_size=400))
def test_any_text_is_read(text: str) -> None:
    harmless_because(parse_diff(text))
    harmless_because(parse_diff("diff --git a/x.c b/x.c\n@@ -1 +1 @@\n" + text))


@given(
    code=st.lists(st.sampled_from(["a = 1;", "b(c);", 'f("x");', "}", "if (x) {"]), min_size=1), at=st.integers(0, 20)
)
def test_a_changed_statement_is_never_harmless(code: list[str], at: int) -> None:
    at %= len(code)
    lines = [f" {line}" for line in code]
    lines[at : at + 1] = [f"-{code[at]}", f"+{code[at]} g();"]
    assert harmless_because(parse_diff(diff("net/core/dev.c", *lines))) is None
