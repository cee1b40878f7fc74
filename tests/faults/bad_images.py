"""Files that are called images: damaged, hostile, or only unusual.

As a program, `python -m tests.faults.bad_images FOLDER` decodes each file of a folder
and prints a line of JSON about it.
"""

from collections.abc import Iterator
import io
import json
import os
import pathlib
import resource
import struct
import sys
import time
import zlib

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


def photo(mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file (https://www.w3.org/TR/png-3/)."""
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc


def png(width: int, height: int, *chunks: bytes, bits: int = 8, kind: int = 2) -> bytes:
    """A PNG file with this header, and IDAT of one row unless chunks are given."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    data = chunks or (chunk(b"IDAT", zlib.compress(bytes(1 + 3 * min(width, 1000)))),)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *data, chunk(b"IEND", b"")]
    return b"".join(parts)


def tiff(*tags: tuple[int, int, int, int], rest: bytes = b"", then: int = 0) -> bytes:
    """A TIFF file of (tag, type, count, value)s; `then` is the next directory."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    return head + entries + struct.pack("<I", then) + rest


def grey_tiff(width: int, height: int, *changes: tuple[int, int, int, int], **more):
    """A TIFF file of one strip of grey, with other tags for some of its own."""
    size = 8 + 2 + 9 * 12 + 4
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, size),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, width * height & 0xFFFFFFFF),
    ]
    changed = {tag[0]: tag for tag in changes}
    tags = [changed.pop(tag[0], tag) for tag in tags]
    return tiff(*sorted([*tags, *changed.values()]), rest=bytes(4096), **more)


def damaged() -> Iterator[tuple[str, bytes, bool]]:
    """(name, content, whether it cannot be read) of each format, in six ways."""
    for format in FORMATS:
        whole = encoded(photo(), format)
        middle = len(whole) // 2
        flipped = bytearray(whole)
        flipped[middle : middle + 40] = bytes(x ^ 0x5A for x in flipped[middle:][:40])
        yield f"{format}_magic", whole[:8], True
        yield f"{format}_header", whole[:30], True
        # The directory of Pillow's TIFF files comes last or first.
        yield f"{format}_half", whole[:middle], True
        yield f"{format}_one_byte_short", whole[:-1], False
        yield f"{format}_flipped", bytes(flipped), False
        yield f"{format}_zeros", whole[:middle] + bytes(len(whole) - middle), False


def hostile() -> Iterator[tuple[str, bytes, bool]]:
    """(name, content, whether it cannot be read)."""
    yield "empty", b"", True
    yield "text", b"hello", True
    yield "zeros", bytes(10_000), True
    yield "html", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", True
    yield "random", np.random.default_rng(0).bytes(10_000), True
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", True
    yield "pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", True
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", True
    yield "heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), True
    yield "ico", encoded(photo(), "ICO"), True
    yield "jpeg2000", encoded(photo(), "JPEG2000"), True
    yield "tga", encoded(photo(), "TGA"), True
    yield "ppm", encoded(photo(), "PPM"), True
    # Sizes in the header that would take gigabytes.
    for side in (10_000, 20_000, 2**31 - 1):
        yield f"png_bomb_{side}", png(side, side), True
    yield "gif_bomb", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0), True
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x01\x00\x00;"
    yield "gif_frame_bomb", b"GIF89a\x01\0\x01\0\0\0\0" + frame, True
    bmp = struct.pack("<IiiHHIIiiII", 40, 60_000, -60_000, 1, 24, 0, 0, 1, 1, 0, 0)
    yield "bmp_bomb", b"BM" + struct.pack("<IHHI", 99, 0, 0, 54) + bmp, True
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\0" * 2
    riff = b"RIFF" + struct.pack("<I", 22) + b"WEBP" + vp8x
    yield "webp_bomb", riff, True
    sof = struct.pack(">BHHB", 8, 65535, 65535, 1) + b"\x01\x11\0"
    jpeg = b"\xff\xd8\xff\xc0" + struct.pack(">H", 2 + len(sof)) + sof
    yield "jpeg_bomb", jpeg + b"\xff\xda\0\x08\x01\x01\0\0?\0", True
    yield "tiff_bomb", grey_tiff(60_000, 60_000), True
    # Small images whose other parts are large, endless or absent.
    big = zlib.compress(bytes(200 << 20), 9)
    yield "png_text_bomb", png(4, 4, chunk(b"zTXt", b"a\0\0" + big)), True
    yield "png_icc_bomb", png(4, 4, chunk(b"iCCP", b"a\0\0" + big)), True
    yield "png_idat_bomb", png(4, 4, chunk(b"IDAT", big)), False
    yield "png_without_data", png(4, 4, chunk(b"tEXt", b"a\0b")), True
    yield "png_no_pixels", png(0, 0), True
    yield "png_bits", png(4, 4, bits=7), True
    bad_crc = bytearray(encoded(photo(), "PNG"))
    bad_crc[29] ^= 1
    yield "png_checksum", bytes(bad_crc), True
    yield "png_palette", png(4, 4, kind=3), False
    yield "jpeg_only_ends", b"\xff\xd8\xff\xd9", True
    whole = encoded(photo(size=(200, 200)), "JPEG", progressive=True)
    yield "jpeg_progressive_truncated", whole[: len(whole) * 2 // 3], True
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 100
    yield "jpeg_broken_exif", encoded(photo(), "JPEG", exif=exif), False
    yield "gif_without_frame", b"GIF89a\x04\0\x04\0\0\0\0;", True
    yield "tiff_loop", grey_tiff(4, 4, then=8), False
    yield "tiff_no_pixels", grey_tiff(0, 0), True
    yield "tiff_strip_outside", grey_tiff(64, 64, (273, 4, 1, 2**31)), True
    yield "tiff_compression", grey_tiff(4, 4, (259, 3, 1, 9999)), True
    yield "tiff_bits", grey_tiff(4, 4, (258, 3, 1, 13)), True
    yield "tiff_many_values", grey_tiff(4, 4, (700, 1, 2**32 - 1, 8)), False
    tile = ((322, 4, 1, 2**20), (323, 4, 1, 2**20), (324, 4, 1, 122), (325, 4, 1, 16))
    yield "tiff_tile_bomb", grey_tiff(4, 4, (259, 3, 1, 8), *tile), True
    yield "tiff_float", encoded(photo("L").convert("F"), "TIFF"), True
    wide = np.arange(6, dtype=np.int32).reshape(2, 3) * 70_000
    yield "tiff_32_bit", encoded(Image.fromarray(wide), "TIFF"), True
    yield "tiff_lab", encoded(Image.new("LAB", (4, 4)), "TIFF"), False


def special(folder: pathlib.Path) -> list[str]:
    """Makes what is no regular file, and returns its names."""
    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "folder.png").mkdir()
    return ["pipe.jpg", "device.png", "gone.png", "loop.png", "folder.png"]


def main(folder: str) -> None:
    from jaxcnn.data import images
    from jaxcnn.data.examples import BadImageError

    def used_mib() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

    for name in sorted(os.listdir(folder)):
        before, begin = used_mib(), time.perf_counter()
        path = os.path.join(folder, name)
        try:
            shape, problem = images.decode(path, 3).shape, None
        except BadImageError as error:
            shape, problem = None, str(error)
        seconds, used = time.perf_counter() - begin, used_mib() - before
        row = {"shape": shape, "problem": problem, "seconds": seconds, "mib": used}
        print(json.dumps({"name": name, **row}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
