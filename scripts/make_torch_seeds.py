#!/usr/bin/env python3
"""Writes the seeds of fuzz_zip and fuzz_unpickle: small inputs, right ones and nearly right ones.

    python3 scripts/make_torch_seeds.py [DIRECTORY]    (default tests/fuzz/corpus)

The same bytes at every run. Standard library only.
"""
import io
import pathlib
import struct
import sys
import zipfile

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus")


def put(target, name, data):
    folder = ROOT / ("fuzz_" + target)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def archive(members, method=zipfile.ZIP_STORED, comment=b"", wide=False):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        z.comment = comment
        for name, data in members:
            with z.open(zipfile.ZipInfo(name), "w", force_zip64=wide) as f:
                f.write(data)
    return out.getvalue()


def deflated(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members:
            z.writestr(zipfile.ZipInfo(name), data, z.compression)
    return out.getvalue()


class Stream(io.RawIOBase):
    """Cannot seek: sizes follow the data."""

    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, b):
        self.data += bytes(b)
        return len(b)


def streamed(members):
    out = Stream()
    with zipfile.ZipFile(out, "w") as z:
        for name, data in members:
            z.writestr(zipfile.ZipInfo(name), data, z.compression)
    return out.data


def end64(data, count, saturated):
    """The archive with zip64's end record, as torch.save has it."""
    at = data.rindex(b"PK\5\6")
    size, offset = struct.unpack_from("<II", data, at + 12)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0) if saturated else data[at:]
    return data[:at] + record + locator + tail


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s


def ints(values):
    return b"(" + b"".join(b"K" + bytes([v]) for v in values) + b"t"


def storage(kind=b"torch\nFloatStorage\n", key=b"0", count=24):
    return b"(" + text(b"storage") + b"c" + kind + text(key) + text(b"cpu") + b"K" + bytes([count]) + b"tQ"


def tensor(shape, stride, offset=0, **kw):
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(**kw) + b"K" + bytes([offset]) + ints(shape) + ints(stride)
            + b"\x89ccollections\nOrderedDict\n)RtR")


def seeds_of_zip():
    members = [("t/data.pkl", b"\x80\x02}."), ("t/data/0", bytes(range(96))), ("t/none", b"")]
    put("zip", "stored", archive(members))
    put("zip", "deflated", deflated(members + [("t/long", b"hello " * 100)]))
    put("zip", "streamed", streamed(members))
    put("zip", "wide", archive(members, wide=True))
    put("zip", "comment", archive(members, comment=b"a comment"))
    put("zip", "end64", end64(archive(members), 3, False))
    put("zip", "end64-saturated", end64(archive(members), 3, True))
    put("zip", "empty", archive([]))
    put("zip", "cut", archive(members)[:-9])


def seeds_of_unpickle():
    p2 = b"\x80\x02"
    whole = tensor([4, 6], [6, 1])
    put("unpickle", "whole", p2 + b"}" + text(b"w") + whole + b"s.")
    put("unpickle", "transposed", p2 + b"}" + text(b"w") + tensor([6, 4], [1, 6]) + b"s.")
    put("unpickle", "deflated", p2 + b"}(" + text(b"a") + tensor([6, 4], [1, 6], key=b"1") + text(b"b")
        + tensor([2, 2, 2], [4, 1, 2], 3, key=b"1") + b"u.")
    put("unpickle", "halves", p2 + b"}" + text(b"w") + tensor([48], [1], kind=b"torch\nBFloat16Storage\n", count=48) + b"s.")
    put("unpickle", "scalar", p2 + b"}" + text(b"w") + tensor([], [], 23) + b"s.")
    put("unpickle", "nested", p2 + b"}(" + text(b"state_dict") + b"}" + text(b"w") + whole + b"s" + text(b"epoch") + b"K\x03u.")
    put("unpickle", "module", p2 + b"ccollections\nOrderedDict\n)Rq\0(" + text(b"w") + whole + b"u}" + text(b"_metadata")
        + b"}sb.")
    put("unpickle", "parameter", p2 + b"}" + text(b"w") + b"ctorch._utils\n_rebuild_parameter\n" + whole
        + b"\x88ccollections\nOrderedDict\n)R\x87Rs.")
    put("unpickle", "untyped", p2 + b"}" + text(b"w") + b"ctorch._utils\n_rebuild_tensor_v3\n("
        + storage(b"torch.storage\nUntypedStorage\n", b"0", 96) + b"K\0" + ints([48]) + ints([1]) + b"\x89}ctorch\nuint16\ntRs.")
    put("unpickle", "protocol4", b"\x80\x04\x95\x30\0\0\0\0\0\0\0}\x94\x8c\x01k\x94]\x94(h\1\x8c\x0bcollections\x8c\x0bOrderedDict"
        b"\x93\x94)R\x94\x8a\x02\0\1e" + b"s.")
    put("unpickle", "numbers", p2 + b"(K\1M\2\3J\xff\xff\xff\xff\x8a\x01\x80\x8b\x09\0\0\0" + bytes(9) + b"G" + bytes(8)
        + b"N\x88\x89)t.")
    put("unpickle", "system", p2 + b"cos\nsystem\n" + text(b"true") + b"\x85R.")
    put("unpickle", "itself", p2 + b"]q\0h\0ah\0a.")
    put("unpickle", "mark-first", p2 + b"(t.")
    put("unpickle", "stack", p2 + b"(K\1K\2" + b"201(tr\1\0\0\0" + b"0j\1\0\0\0.")


seeds_of_zip()
seeds_of_unpickle()
