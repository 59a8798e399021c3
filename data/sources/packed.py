"""Files that come compressed: gzip, and zip with one file in it. The log keeps them as they came."""

import io
import zipfile
import zlib

from data.observations import InputError

LARGEST = 4_000_000_000
"""Bytes beyond which what unpacks is refused: no customs file is so large, and a bomb is larger."""
_CHUNK = 1 << 22


def unpacked(raw: bytes, name: str) -> bytes:
    """The file's content; `raw` itself where it is not compressed. Raises InputError."""
    if raw[:2] == b"\x1f\x8b":
        return _inflated(raw, name)
    if raw[:4] == b"PK\x03\x04":
        return _only_member(raw, name)
    if raw[:6] == b"7z\xbc\xaf\x27\x1c":
        raise InputError(f"{name}: a 7z archive; unpack it first (7z x)")
    return raw


def _inflated(raw: bytes, name: str) -> bytes:
    parts, size, left = [], 0, raw
    while left:
        stream = zlib.decompressobj(wbits=31)
        try:
            while left and not stream.eof:
                parts.append(stream.decompress(left, _CHUNK))
                left, size = stream.unconsumed_tail, size + len(parts[-1])
                if size > LARGEST:
                    raise InputError(f"{name}: unpacks to more than {LARGEST:,} bytes; is it what it says it is?")
        except zlib.error as error:
            raise InputError(f"{name}: its gzip is damaged after {size:,} bytes ({error}); download it again") from error
        if not stream.eof:
            raise InputError(f"{name}: its gzip is cut off after {size:,} bytes; download it again")
        left = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _only_member(raw: bytes, name: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            if any(m.filename.startswith("xl/") for m in members):
                raise InputError(f"{name}: an Excel workbook; save the sheet as CSV, with its codes as text")
            if len(members) != 1:
                raise InputError(f"{name}: a zip of {len(members)} files; unpack it and name the one that is meant")
            if members[0].file_size > LARGEST:
                raise InputError(f"{name}: unpacks to more than {LARGEST:,} bytes; is it what it says it is?")
            return archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{name}: its zip is damaged, or locked ({error}); download it again") from error
