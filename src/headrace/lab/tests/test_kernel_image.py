"""The version in a kernel image's head, and what is no kernel image."""

import struct

from headrace.lab.kernel_image import image_version


def head(text: bytes, magic: bytes = b"HdrS") -> bytes:
    made = bytearray(0x4000)
    made[0x202:0x206] = magic
    struct.pack_into("<H", made, 0x20E, 0x3000 - 0x200)
    made[0x3000 : 0x3000 + len(text)] = text
    return bytes(made)


def test_the_release_is_the_first_word() -> None:
    assert image_version(head(b"6.1.0-50-cloud-amd64 (somebody@host) #1 SMP\0rest")) == "6.1.0-50-cloud-amd64"


def test_what_is_no_image_has_none() -> None:
    for body in (b"", b"\x7fELF" * 300, head(b"6.1 x\0", magic=b"XXXX"), head(b"\0")):
        assert image_version(body) == ""
