"""The archive is one that cpio itself reads, and holds what was put in."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from headrace.lab.root_image import RootImage


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Read an archive as the kernel does (init/initramfs.c)."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        body_at = (at + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], archive[body_at : body_at + fields[6]])
        at = (body_at + fields[6] + 3) // 4 * 4


def test_holds_files_links_devices_and_the_folders_above() -> None:
    image = RootImage()
    image.file("/lab/bin/tool", b"abc", mode=0o755)
    image.link("/sh", "lab/bin/tool")
    image.device("/dev/console", 5, 1)
    found = entries(image.to_cpio())
    assert list(found) == ["lab", "lab/bin", "lab/bin/tool", "sh", "dev", "dev/console"]
    assert found["lab/bin/tool"] == (0o100755, b"abc")
    assert found["sh"] == (0o120777, b"lab/bin/tool")
    assert found["dev/console"][0] == 0o020600
    assert found["lab"][0] == 0o040755


@given(st.dictionaries(st.text("abc", min_size=1, max_size=9), st.binary(max_size=50), max_size=8))
def test_any_sizes_are_padded(files: dict[str, bytes]) -> None:
    image = RootImage()
    for name, body in files.items():
        image.file(f"/{name}", body)
    archive = image.to_cpio()
    assert {name: body for name, (_, body) in entries(archive).items()} == files
    assert len(archive) % 4 == 0


def test_device_numbers_are_in_their_fields() -> None:
    image = RootImage()
    image.device("/console", 5, 1)
    record = image.to_cpio()[:110]
    assert struct.unpack("8s8s", record[78:94]) == (b"00000005", b"00000001")
