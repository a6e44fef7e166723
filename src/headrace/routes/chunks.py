"""The packed form of a part of a table, and its reader. What is read may come from a broken or hostile appliance.

A table is cut into 1 to CHUNKS parts by a hash of the prefix (`cut_table`). A chunk holds each set of attributes once,
and rows in ascending order of prefix that point to them, so that equal routes are equal bytes, whoever heard them and
when (times are in `times.py`). Layout, little-endian:

    "HRC2", then by zlib: family u8 (4 or 6), rows u32, attributes u32, bytes of the attributes u32,
    rows x prefix (5 or 17 bytes), rows x place of the attributes u32, attributes x bytes u32, the attributes;

    each: origin u8, MED u8 + u32, next hop u8 + bytes, AS path u16 x (size of an AS_SET u16, its numbers u32; a plain
    number has size 0), standard communities u16 x u32, large ones u16 x 3 u32.

Releases before had "HRC1", with rows x learned second u32 behind the places; it is read, and no longer written.
"""

import hashlib
import ipaddress
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from headrace.routes.model import AddressFamily, AsPath, Attributes, Prefix, RouteError, RouteOrigin

CHUNKS = 1024
"""Parts of a large table."""
_MOST_ROUTES = 64
"""Of a part that could be cut again: a small table has few chunks, each of which costs whoever reads it; and a change
sends no more than this again."""
MOST_CHUNK_BYTES = 4 << 20
"""Of one chunk, unpacked."""

_MAGIC, _TIMED_MAGIC = b"HRC2", b"HRC1"
_HEAD = struct.Struct("<BIII")
_FRONT = struct.Struct("<BBIB")
_U16, _U32 = struct.Struct("<H"), struct.Struct("<I")
_MOST_U16 = 0xFFFF
_ORIGINS = tuple(RouteOrigin)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """A chunk that was read: columns with one entry for each route, in ascending order of prefix."""

    family: AddressFamily
    prefixes: bytes
    """5 bytes each (IPv4) or 17 (IPv6)."""
    places: "array[int]"
    """Where its attributes are in `attributes`."""
    learned_s: "array[int]"
    """Whole seconds since 1970; empty but for chunks of the old form."""
    attributes: tuple[Attributes, ...]
    packed_attributes: tuple[bytes, ...]
    """The same as bytes (`pack_attributes`)."""

    def __len__(self) -> int:
        return len(self.places)

    def routes(self) -> Iterator[tuple[Prefix, Attributes]]:
        """Each route with what was heard; equal ones share their values."""
        width = prefix_bytes(self.family)
        for row, place in enumerate(self.places):
            yield self.prefixes[row * width : (row + 1) * width], self.attributes[place]


def chunk_number(prefix: Prefix) -> int:
    """Which part of a large table the prefix is in, 0 to CHUNKS - 1; the same everywhere and for ever."""
    return zlib.crc32(prefix) % CHUNKS


def cut_table(counts: Sequence[int], most: int = _MOST_ROUTES) -> dict[int, int]:
    """Into which parts a table is cut: halved, and halves again, while a part has more than `most` routes.

    It follows from the routes alone, so that equal tables are cut alike whatever they were before; and a route more or
    less cuts or joins the part that it is in, none besides.

    Args:
        counts: how many routes have each `chunk_number`.

    Returns:
        Numbers of the parts that have routes, with the step of each: part n of step s has what has the numbers n,
        n + s, n + 2s ... below CHUNKS.
    """
    totals = [list(counts)]
    while len(totals[-1]) > 1:
        half = len(totals[-1]) // 2
        totals.append([low + high for low, high in zip(totals[-1][:half], totals[-1][half:], strict=True)])
    found: dict[int, int] = {}
    uncut = [(0, 1)]
    while uncut:
        number, step = uncut.pop()
        total = totals[-step.bit_length()][number]
        if total > most and step < CHUNKS:
            uncut += [(number, 2 * step), (number + step, 2 * step)]
        elif total:
            found[number] = step
    return found


def prefix_bytes(family: AddressFamily) -> int:
    """Width of a prefix."""
    return 5 if family is AddressFamily.IPV4 else 17


def chunk_digest(packed: bytes) -> str:
    """Name of a chunk: SHA-256 of it as it is sent, hexadecimal."""
    return hashlib.sha256(packed).hexdigest()


def table_digest(digests: Mapping[int, str]) -> str:
    """Name of a table: SHA-256 over its chunks' numbers and digests in ascending order; '' for an empty table."""
    if not digests:
        return ""
    lines = "".join(f"{number} {digests[number]}\n" for number in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


# ---- writing


def pack_chunk(family: AddressFamily, routes: Mapping[Prefix, Attributes]) -> bytes:
    """The routes of one chunk as bytes.

    Raises:
        RouteError: attributes that no peer can send, or more than MOST_CHUNK_BYTES.
    """
    packed = {attributes: pack_attributes(attributes) for attributes in set(routes.values())}
    return pack_rows(family, {prefix: packed[attributes] for prefix, attributes in routes.items()})


def pack_rows(family: AddressFamily, rows: Mapping[Prefix, bytes]) -> bytes:
    """As `pack_chunk`, from attributes that `pack_attributes` has packed.

    Raises:
        RouteError: more than MOST_CHUNK_BYTES.
    """
    order = sorted(rows)
    said: dict[bytes, int] = {}
    places = array("I", [said.setdefault(rows[prefix], len(said)) for prefix in order])
    sizes = array("I", map(len, said))
    code = 4 if family is AddressFamily.IPV4 else 6
    head = _HEAD.pack(code, len(order), len(said), sum(sizes))
    payload = b"".join((head, *order, as_little(places), as_little(sizes), *said))
    if len(payload) > MOST_CHUNK_BYTES:
        raise RouteError(f"a chunk of {len(order)} routes has {len(payload)} bytes, over {MOST_CHUNK_BYTES}")
    return _MAGIC + zlib.compress(payload, 1)


def as_little(values: "array[int]") -> bytes:
    """Numbers of 4 bytes each, little-endian."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def pack_attributes(attributes: Attributes) -> bytes:
    """Attributes as they are in a chunk; equal ones are equal bytes.

    Raises:
        RouteError: no peer can send these.
    """
    try:
        hop = ipaddress.ip_address(attributes.next_hop).packed
        has_med = attributes.med is not None
        front = _FRONT.pack(_ORIGINS.index(attributes.origin), has_med, attributes.med or 0, len(hop))
        return front + hop + _pack_path(attributes.as_path) + _pack_communities(attributes.communities)
    except (struct.error, ValueError) as error:
        raise RouteError(f"attributes {attributes!r:.200} cannot be packed: {error}") from None


def _pack_path(path: AsPath) -> bytes:
    parts = [_U16.pack(len(path))]
    for hop in path:
        numbers = (hop,) if isinstance(hop, int) else hop
        if not numbers:
            raise RouteError("an AS_SET without AS numbers")
        parts.append(struct.pack(f"<H{len(numbers)}I", 0 if isinstance(hop, int) else len(numbers), *numbers))
    return b"".join(parts)


def _pack_communities(communities: tuple[str, ...]) -> bytes:
    split = sorted({tuple(map(int, community.split(":"))) for community in communities})
    standard = [high << 16 | low for high, low in (each for each in split if len(each) == 2)]
    if any(max(each) > _MOST_U16 for each in split if len(each) == 2) or any(len(each) not in (2, 3) for each in split):
        raise RouteError(f"communities {communities!r:.200} are neither standard nor large ones")
    large = [number for each in split if len(each) == 3 for number in each]
    return struct.pack(f"<H{len(standard)}IH{len(large)}I", len(standard), *standard, len(large) // 3, *large)


# ---- reading


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChunkParts:
    """A chunk whose columns are cut apart and not looked at yet."""

    family: AddressFamily
    rows: int
    count: int
    """Sets of attributes."""
    prefixes: bytes
    places: bytes
    learned_s: bytes
    """Nothing but in chunks of the old form."""
    sizes: bytes
    """Bytes of each set of attributes."""
    attributes: bytes


def take_apart(packed: bytes) -> ChunkParts:
    """Cut a chunk into its columns. Checked is that their sizes fit, not what they hold.

    Raises:
        RouteError: not a chunk, of another version, too large, or cut off.
    """
    is_timed = packed[:4] == _TIMED_MAGIC
    payload = inflate(packed, _TIMED_MAGIC if is_timed else _MAGIC)
    try:
        code, rows, count, attribute_bytes = _HEAD.unpack_from(payload)
    except struct.error:
        raise RouteError("a chunk that is cut off") from None
    family = {4: AddressFamily.IPV4, 6: AddressFamily.IPV6}.get(code)
    if family is None:
        raise RouteError(f"a chunk of the unknown family {code}")
    start = _HEAD.size + rows * prefix_bytes(family)
    behind = start + (8 if is_timed else 4) * rows
    if not rows or not 0 < count <= rows or len(payload) != behind + 4 * count + attribute_bytes:
        raise RouteError("a chunk whose sizes do not fit its bytes")
    return ChunkParts(
        family=family,
        rows=rows,
        count=count,
        prefixes=payload[_HEAD.size : start],
        places=payload[start : start + 4 * rows],
        learned_s=payload[start + 4 * rows : behind],
        sizes=payload[behind : behind + 4 * count],
        attributes=payload[behind + 4 * count :],
    )


def unpack_chunk(packed: bytes, known: dict[bytes, Attributes] | None = None) -> Chunk:
    """Read what `pack_chunk` wrote; all of it is checked, so that what is given back can be used as it is.

    Args:
        known: attributes that were read before, by their bytes; what is new is added. The chunks of a table have most
            attributes in common, and with one `known` for all of them each is read once.

    Raises:
        RouteError: not a chunk, of another version, too large, cut off, or with contents that a chunk cannot have.
    """
    parts = take_apart(packed)
    raw = _cut(parts.attributes, from_little(parts.sizes))
    chunk = Chunk(
        family=parts.family,
        prefixes=parts.prefixes,
        places=from_little(parts.places),
        learned_s=from_little(parts.learned_s),
        attributes=_read_all_attributes(raw, {} if known is None else known),
        packed_attributes=raw,
    )
    if max(chunk.places) >= parts.count:
        raise RouteError("a chunk with a route whose attributes are missing")
    _check_prefixes(chunk.prefixes, prefix_bytes(chunk.family))
    return chunk


def unpack_attributes(data: bytes) -> Attributes:
    """Read what `pack_attributes` wrote.

    Raises:
        RouteError: broken, or with more behind.
    """
    reader = _Reader(data)
    try:
        found = _read_attributes(reader)
    except (struct.error, IndexError, ValueError):
        raise RouteError("a chunk with broken attributes") from None
    if reader.at != len(data):
        raise RouteError("a chunk with more bytes than attributes")
    return found


def inflate(packed: bytes, magic: bytes) -> bytes:
    """What lies behind the first bytes of something packed.

    Raises:
        RouteError: it begins otherwise, is broken, cut off, or over MOST_CHUNK_BYTES.
    """
    if packed[:4] != magic:
        raise RouteError(f"no chunk that this version reads: it begins with {bytes(packed[:4])!r}, not {magic!r}")
    inflater = zlib.decompressobj()
    try:
        payload = inflater.decompress(packed[4:], MOST_CHUNK_BYTES + 1)
    except zlib.error as error:
        raise RouteError(f"a broken chunk: {error}") from None
    if len(payload) > MOST_CHUNK_BYTES:
        raise RouteError(f"a chunk over {MOST_CHUNK_BYTES} bytes")
    if not inflater.eof or inflater.unused_data:
        raise RouteError("a chunk that is cut off or has more behind it")
    return payload


def from_little(data: bytes) -> "array[int]":
    """The reverse of `as_little`."""
    values = array("I", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _check_prefixes(prefixes: bytes, width: int) -> None:
    """Ascending, none twice, lengths in range, no bits behind the length."""
    bits = (width - 1) * 8
    before = b""
    for at in range(0, len(prefixes), width):
        prefix = prefixes[at : at + width]
        length = prefix[-1]
        if length > bits or int.from_bytes(prefix[:-1], "big") & ((1 << (bits - length)) - 1):
            raise RouteError(f"a chunk with {prefix.hex()}, which is no prefix")
        if prefix <= before:
            raise RouteError("a chunk whose prefixes are not in ascending order")
        before = prefix


def _cut(data: bytes, sizes: "array[int]") -> tuple[bytes, ...]:
    if sum(sizes) != len(data):
        raise RouteError("a chunk whose attributes do not fit their sizes")
    return tuple(data[start:end] for start, end in pairwise(accumulate(sizes, initial=0)))


def _read_all_attributes(raw: tuple[bytes, ...], known: dict[bytes, Attributes]) -> tuple[Attributes, ...]:
    for each in raw:
        if each not in known:
            known[each] = unpack_attributes(each)
    return tuple(known[each] for each in raw)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        found = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return found


def _read_attributes(reader: _Reader) -> Attributes:
    origin, has_med, med, hop_bytes = reader.numbers("<BBIB")
    hop = ipaddress.ip_address(bytes(reader.numbers(f"<{hop_bytes}B")))
    return Attributes(
        origin=_ORIGINS[origin],
        med=med if has_med else None,
        next_hop=str(hop),
        as_path=tuple(_read_hop(reader) for _ in range(reader.numbers("<H")[0])),
        communities=_read_communities(reader),
    )


def _read_hop(reader: _Reader) -> int | tuple[int, ...]:
    (size,) = reader.numbers("<H")
    numbers = reader.numbers(f"<{size or 1}I")
    return numbers if size else numbers[0]


def _read_communities(reader: _Reader) -> tuple[str, ...]:
    standard = reader.numbers(f"<{reader.numbers('<H')[0]}I")
    large = reader.numbers(f"<{3 * reader.numbers('<H')[0]}I")
    triples = zip(large[::3], large[1::3], large[2::3], strict=True)
    return tuple([f"{number >> 16}:{number & 0xFFFF}" for number in standard] + [f"{a}:{b}:{c}" for a, b, c in triples])


# ---- several in one message


def join_chunks(chunks: Iterable[bytes]) -> bytes:
    """Packed chunks as the body of one message: each with its size before it (u32)."""
    return b"".join(part for chunk in chunks for part in (_U32.pack(len(chunk)), chunk))


def split_chunks(body: bytes, *, most_bytes: int) -> tuple[bytes, ...]:
    """The packed chunks of a body; they are not read yet.

    Raises:
        RouteError: over `most_bytes`, or cut off.
    """
    if len(body) > most_bytes:
        raise RouteError(f"a body of {len(body)} bytes, over {most_bytes}")
    found, at = [], 0
    while at < len(body):
        end = at + 4
        if end > len(body) or (end := end + _U32.unpack_from(body, at)[0]) > len(body):
            raise RouteError("a body whose last chunk is cut off")
        found.append(body[at + 4 : end])
        at = end
    return tuple(found)
