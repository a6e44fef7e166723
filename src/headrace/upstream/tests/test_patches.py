"""What `git format-patch` writes is read; what is damaged is refused with file and line."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.upstream.errors import PatchError
from headrace.upstream.model import Reason
from headrace.upstream.patches import clean_subject, mark_patch, parse_patch

HEAD = """\
From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001
From: =?UTF-8?q?J=C3=B6rg?= <joerg@example.org>
Date: Tue, 1 Sep 2026 10:00:00 +0200
Subject: [PATCH 3/7] [net] tcp: free what
 was kept
Headrace-Reason: generalise
Headrace-Sent: https://lists.example.org/m/1
Headrace-Since: 2026-08-15

Why it is so.

Signed-off-by: A <a@example.org>
---
 net/tcp.c | 4 ++--
 1 file changed, 2 insertions(+), 2 deletions(-)

"""
DIFF = """\
diff --git a/net/tcp.c b/net/tcp.c
index 1111111..2222222 100644
--- a/net/tcp.c
+++ b/net/tcp.c
@@ -10,3 +10,4 @@ int f(void)
 one
-two
+TWO
+three
 four
@@ -90 +91 @@
-last
+LAST
"""
END = "-- \n2.39.5\n\n"
WHOLE = HEAD + DIFF + END


def parse(text: str) -> object:
    return parse_patch("0003-x.patch", text.encode())


def test_a_patch_is_read_whole() -> None:
    patch = parse_patch("0003-x.patch", WHOLE.encode())
    assert patch.subject == "[net] tcp: free what was kept"
    assert patch.author == "Jörg <joerg@example.org>"
    assert (patch.reason, patch.sent, patch.since) == (
        Reason.GENERALISE,
        "https://lists.example.org/m/1",
        date(2026, 8, 15),
    )
    assert patch.paths == ("net/tcp.c",)
    assert (patch.added_lines, patch.removed_lines, patch.lines) == (3, 2, 5)
    assert [(one.number, one.old_start, one.new_start, one.new_lines) for one in patch.hunks] == [
        (1, 10, 10, 4),
        (2, 90, 91, 1),
    ]
    lines = WHOLE.split("\n")
    assert [lines[one.line_no - 1] for one in patch.hunks] == ["@@ -10,3 +10,4 @@ int f(void)", "@@ -90 +91 @@"]


def test_our_lines_may_be_trailers_of_the_message() -> None:
    text = re.sub(r"(?m)^Headrace-.*\n", "", WHOLE).replace(
        "Signed-off-by:", "Headrace-Reason: agreement\nSigned-off-by:"
    )
    patch = parse_patch("x.patch", text.encode())
    assert (patch.reason, patch.sent, patch.since) == (Reason.AGREEMENT, None, date(2026, 9, 1))


@pytest.mark.parametrize(
    ("diff", "paths"),
    [
        ("diff --git a/a b/b\nsimilarity index 100%\nrename from a\nrename to b\n", ("a", "b")),
        ("diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n", ("run.sh",)),
        ("diff --git a/e b/e\nnew file mode 100644\nindex 0000000..e69de29\n", ("e",)),
        (
            "diff --git a/old b/old\ndeleted file mode 100644\nindex 1..0\n"
            "--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
            ("old",),
        ),
        (
            "diff --git a/n b/n\nnew file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x\n"
            "\\ No newline at end of file\n",
            ("n",),
        ),
        (
            'diff --git "a/f\\303\\266.c" "b/f\\303\\266.c"\nindex 1..2 100644\n--- "a/f\\303\\266.c"\n'
            '+++ "b/f\\303\\266.c"\n@@ -1 +1 @@\n-x\n+y\n',
            ("fö.c",),
        ),
        ("diff --git a/a b b/a b\nold mode 100644\nnew mode 100755\n", ("a b",)),
        (
            "diff --git a/p.bin b/p.bin\nindex 1..2 100644\n"
            "GIT binary patch\nliteral 3\nKcmZ?d\n\nliteral 4\nLcmZQz\n\n",
            ("p.bin",),
        ),
    ],
)
def test_kinds_of_changes(diff: str, paths: tuple[str, ...]) -> None:
    assert parse_patch("x.patch", (HEAD + diff + END).encode()).paths == paths


def test_a_removed_line_that_looks_like_the_signature_is_a_line() -> None:
    diff = "diff --git a/q b/q\nindex 1..2 100644\n--- a/q\n+++ b/q\n@@ -1,2 +1 @@\n-- \n x\n"
    patch = parse_patch("x.patch", (HEAD + diff + END).encode())
    assert (patch.added_lines, patch.removed_lines) == (0, 1)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "cut short"),
        ("hello\n", 1, "no mail header"),
        (WHOLE.replace("\n", "\r\n"), 1, "CR LF"),
        (WHOLE.replace("Subject:", "Subjekt:"), 2, "no Subject"),
        (WHOLE.replace("<joerg@example.org>", "me"), 2, "no mail address"),
        (HEAD + "nothing\n" + END, None, "without a diff"),
        (WHOLE.replace("Headrace-Reason: generalise\n", ""), 1, "no Headrace-Reason"),
        (WHOLE.replace("generalise", "later"), None, "'later'"),
        (WHOLE.replace("https://lists.example.org/m/1", "by mail"), None, "URL or none"),
        (WHOLE.replace("2026-08-15", "August"), None, "YYYY-MM-DD"),
        (WHOLE.replace(" four\n", ""), 26, "does not fit the counts"),
        (WHOLE.replace("+three", "three"), 25, "does not fit the counts"),
        (HEAD + DIFF.replace("+LAST\n", ""), 27, "cut short"),
        (WHOLE.replace("--- a/net", "--- net"), 19, "--no-prefix"),
        (WHOLE.replace("net/tcp.c", "net/../../etc/x"), 19, "leads out"),
        (WHOLE.replace("net/tcp.c", ".git/hooks/x"), 19, "leads out"),
        (WHOLE.replace("+three", "+<<<<<<< HEAD"), 25, "conflict marker"),
        (HEAD + "diff --git a/b b/b\nindex 1..2 100644\nBinary files a/b and b/b differ\n", 19, "--binary"),
        (WHOLE + WHOLE, 33, "one patch a file"),
        (HEAD + DIFF + "what is this\n", 30, "no part of a patch"),
        (WHOLE.replace("Why", "W\0hy"), 10, "zero byte"),
        (WHOLE.replace("Date:", "Content-Transfer-Encoding: base64\nDate:"), 2, "base64"),
    ],
)
def test_damage_names_file_and_line(text: str, line: int | None, words: str) -> None:
    with pytest.raises(PatchError) as refusal:
        parse(text)
    assert str(refusal.value).startswith("0003-x.patch: " + (f"line {line}: " if line else ""))
    assert words in str(refusal.value)


def test_marking_replaces_our_lines_and_nothing_else() -> None:
    again = mark_patch("x.patch", WHOLE.encode(), reason=Reason.AGREEMENT, sent=None, since=date(2026, 1, 2))
    patch = parse_patch("x.patch", again)
    assert (patch.reason, patch.sent, patch.since) == (Reason.AGREEMENT, None, date(2026, 1, 2))
    strip = re.compile(rb"(?m)^Headrace-.*\n")
    assert strip.sub(b"", again) == strip.sub(b"", WHOLE.encode())
    assert mark_patch("x.patch", again, reason=Reason.AGREEMENT, sent=None, since=date(2026, 1, 2)) == again


def test_marking_refuses_what_is_no_url() -> None:
    with pytest.raises(PatchError, match="use a URL or none"):
        mark_patch("x.patch", WHOLE.encode(), reason=Reason.AGREEMENT, sent="a\nSubject: b", since=date(2026, 1, 2))


def test_bytes_that_are_no_utf8_stay() -> None:
    body = WHOLE.encode().replace(b"+three", b"+thr\xe9\xff")
    assert b"+thr\xe9\xff" in mark_patch("x.patch", body, reason=Reason.DEVELOPMENT, sent=None, since=date(2026, 1, 2))


@pytest.mark.parametrize(
    ("text", "clean"),
    [("[PATCH] a", "a"), ("[PATCH v2 1/3] [net] a", "[net] a"), ("[RFC PATCH]  a\n b", "a b"), ("[net] a", "[net] a")],
)
def test_subjects(text: str, clean: str) -> None:
    assert clean_subject(text) == clean


@given(cut=st.integers(0, len(HEAD + DIFF) - 1))
def test_a_patch_cut_anywhere_is_refused_or_has_fewer_hunks(cut: int) -> None:
    try:
        patch = parse_patch("x.patch", (HEAD + DIFF)[:cut].encode())
    except PatchError as error:
        assert str(error).startswith("x.patch: ")
    else:
        assert len(patch.hunks) < 2


@given(body=st.binary(max_size=300), at=st.integers(0, len(WHOLE)))
def test_any_bytes_are_read_or_refused(body: bytes, at: int) -> None:
    text = WHOLE.encode()
    try:
        parse_patch("x.patch", text[:at] + body + text[at:])
    except PatchError as error:
        assert "x.patch" in str(error)
