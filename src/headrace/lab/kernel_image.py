"""What an x86 kernel image (bzImage) says of itself in its head. Pure.

The fields are those of the boot protocol: Documentation/arch/x86/boot.rst of the kernel.
"""

import struct

HEAD_BYTES = 1 << 16
"""The text of the version lies within."""
_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_VERSION_AT = 0x20E
_SETUP_BYTES = 0x200


def image_version(head: bytes) -> str:
    """The kernel's release, as `uname -r` will say it; '' when these are not the first bytes of a bzImage."""
    if head[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC:
        return ""
    at = int(struct.unpack_from("<H", head, _VERSION_AT)[0]) + _SETUP_BYTES
    words = head[at : at + 200].partition(b"\0")[0].decode(errors="replace").split()
    return words[0] if words else ""
