#!/usr/bin/env python3
"""Writes loaders/tokenizer/unicode_tables.inc: where Hugging Face's `tokenizers` know other characters than our libraries.

That package carries several versions of Unicode: Oniguruma's for expressions, Rust's for digits and lower case, and old ones
for punctuation and normal forms. The package itself is asked about every character. Needs `pip install tokenizers unicodedata2
fonttools` (0.23.3, 18.0 and 4.60 wrote the file in the tree) and a Python of Unicode 14 or older, which is the oldest that
the PCRE2 of a supported system has (3.11).

    make_unicode_tables.py OUT
"""
import sys
import unicodedata

import unicodedata2
from fontTools import unicodedata as scripts
from tokenizers import Regex, normalizers, pre_tokenizers

POINTS = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, POINTS))


def ranges(points, key=lambda c: None):
    """[first, last, key] of neighbours with the same key."""
    made = []
    for c in sorted(points):
        if made and made[-1][1] == c - 1 and made[-1][2] == key(c):
            made[-1][1] = c
        else:
            made.append([c, c, key(c)])
    return made


def matched(pattern):
    left = set()
    for piece, _ in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(TEXT):
        left |= set(map(ord, piece))
    return set(POINTS) - left


def newer():
    """What Oniguruma knows and Unicode 14 does not, with category and script, as Oniguruma has them."""
    points = {c for c in matched(r"\P{Cn}") if unicodedata.category(chr(c)) == "Cn"}
    category, script = {}, {}
    for name in sorted({unicodedata2.category(chr(c)) for c in points}):
        category |= {c: name for c in matched(rf"\p{{{name}}}") & points}
    for name in sorted({scripts.script_name(scripts.script(chr(c))).replace(" ", "_") for c in points}):
        try:
            script |= {c: name for c in matched(rf"\p{{{name}}}") & points}
        except Exception:
            pass
    assert category.keys() == points
    return ranges(points, lambda c: (category[c], script.get(c, "")))


def numeric():
    found = set()
    for i in range(0, len(POINTS), 100000):
        text = "".join("a" + chr(c) for c in POINTS[i : i + 100000])
        found |= {ord(p) for p, _ in pre_tokenizers.Digits(True).pre_tokenize_str(text) if len(p) == 1 and p != "a"}
    return found


def punctuation():
    left = set()
    for piece, _ in pre_tokenizers.Punctuation("removed").pre_tokenize_str(TEXT):
        left |= set(map(ord, piece))
    return {c for c in set(POINTS) - left if c >= 0x80}


def lower():
    """Characters whose lower case Unicode 14 does not know: {character: distance}."""
    fold, made = normalizers.Lowercase(), {}
    for c in POINTS:
        low = fold.normalize_str(chr(c))
        if low != chr(c).lower():
            assert len(low) == 1
            made[c] = ord(low) - c
    return made


def inert():
    """What moves or changes in a normal form today, but not in the package's."""
    nfd, nfkd, made = normalizers.NFD(), normalizers.NFKD(), set()
    for c in POINTS:
        x = chr(c)
        if not unicodedata2.combining(x) and not unicodedata2.decomposition(x):
            continue
        if nfkd.normalize_str(x) == x and all(nfd.normalize_str(t) == t for t in ("\u0345" + x, x + "\u0334")):
            made.add(c)
            parts = unicodedata2.decomposition(x)
            if parts and not parts.startswith("<"):
                made.add(int(parts.split()[0], 16))  # or the two would be composed
    return {c for c in made if not (0xAC00 <= c <= 0xD7A3)}


def rows(name, kind, lines):
    return [f"static const {kind} {name}[] = {{", *(f"    {line}" for line in pack(lines)), "};"]


def pack(items):
    made = [""]
    for item in items:
        if len(made[-1]) + len(item) > 112:
            made.append("")
        made[-1] += ("" if not made[-1] else " ") + item + ","
    return made


def main():
    assert unicodedata.unidata_version <= "14.0.0"
    digits, points, shifts = numeric(), punctuation(), lower()
    old_digits = {c for c in POINTS if unicodedata.category(chr(c)) in ("Nd", "Nl", "No")}
    assert old_digits <= digits
    with open(sys.argv[1], "w", encoding="ascii") as f:
        f.write("\n".join([
            "/* Written by scripts/make_unicode_tables.py. */", "",
            *rows("newer", "gs_unicode_newer", [f'{{0x{a:x}, 0x{b:x}, "{k[0]}", "{k[1]}"}}' for a, b, k in newer()]), "",
            *rows("numeric", "range", [f"{{0x{a:x}, 0x{b:x}}}" for a, b, _ in ranges(digits - old_digits)]), "",
            *rows("punctuation", "range", [f"{{0x{a:x}, 0x{b:x}}}" for a, b, _ in ranges(points)]), "",
            *rows("lower", "shifted", [f"{{0x{a:x}, 0x{b:x}, {k}}}" for a, b, k in ranges(shifts, shifts.get)]), "",
            *rows("inert", "range", [f"{{0x{a:x}, 0x{b:x}}}" for a, b, _ in ranges(inert())]), ""]))


if __name__ == "__main__":
    main()
