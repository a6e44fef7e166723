"""Tree ids are git's, and a difference of trees is what it takes to get from one to the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.upstream.errors import UpstreamError
from headrace.upstream.tree import FILE, LINK, PROGRAM, Leaf, blob_id, changes, tree_id, tree_id_of

leaves = st.builds(Leaf, st.sampled_from([FILE, PROGRAM, LINK]), st.binary(max_size=3).map(blob_id))
trees = st.dictionaries(st.sampled_from([b"a", b"b/c", b"b/d", b"b.c", b"e/f/g"]), leaves)


def test_ids_are_those_of_git() -> None:
    # The numbers are git's own: `git hash-object`, `git mktree` and `git write-tree` on these files.
    assert blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert tree_id({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    tree = {
        b"a.c": Leaf(FILE, blob_id(b"int a;\n")),
        b"a/b.c": Leaf(FILE, blob_id(b"int b;\n")),
        b"a/d/run": Leaf(PROGRAM, blob_id(b"#!/bin/sh\n")),
        b"a-link": Leaf(LINK, blob_id(b"a/b.c")),
    }
    assert tree_id(tree) == "8fd75e124190c4f1a2cfa82afc3e8e44fbf766e8"


@given(trees, trees)
def test_different_trees_have_different_ids(one: dict[bytes, Leaf], other: dict[bytes, Leaf]) -> None:
    assert (tree_id(one) == tree_id(other)) == (one == other)


@given(trees)
def test_order_does_not_matter(tree: dict[bytes, Leaf]) -> None:
    assert tree_id(dict(reversed(tree.items()))) == tree_id(tree)


@given(trees, trees)
def test_changes_lead_from_one_to_the_other(old: dict[bytes, Leaf], new: dict[bytes, Leaf]) -> None:
    write, remove = changes(old, new)
    assert {path: leaf for path, leaf in old.items() if path not in remove} | {path: new[path] for path in write} == new
    assert not any(old.get(path) == new[path] for path in write)


@pytest.mark.parametrize("text", ["", "abc", "4B825DC642CB6EB9A060E54BF8D69288FBEE4904", "0" * 64])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(UpstreamError, match="id of a tree"):
        tree_id_of(text)
