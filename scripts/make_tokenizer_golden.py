#!/usr/bin/env python3
"""Writes tests/golden/tokenizers.json: small random tokenizers, then a few with what parity of whole vocabularies
has found, and the ids that Hugging Face's `tokenizers` gives for random texts. Needs `pip install tokenizers` (0.23.3 wrote the
file in the tree).

    make_tokenizer_golden.py OUT [--count N] [--seed S]

Each record: {"tokenizer": a whole tokenizer.json, "special": added tokens in the text
count, "cases": [[text, [ids]], ...]}.
"""
import argparse
import json
import random
import unicodedata

from tokenizers import Tokenizer

ATOMS = [
    "a", "b", "c", "ab", "  ", " ", "\n", "\r\n", "\t", "1", "23", "\u00bd", "\u2167", "'s",
    "'LL", "\u00e9", "e\u0301", "\u00c5", "\u212b", "\u65e5", "\u672c", "\u2581", "\u3000",
    "\u00a0", "\u180e", "\u200b", "!", "...", "\u2014", "$", "+", "<s>", "</s>", "<x>", "XX",
    "\u0130", "\u017f", "K", "\u00df", "\ufb01", "\U0001f999", "\u200d", "_", "-", "\uac00",
    "\u03ac", "\u01c4", "q\u0307\u0323", "\u0663", "\u0085", "\u2028", "\u24b6", "\u20ac",
    "\u00b2", "\u203f",
]
REGEXES = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[a-c]+", r"\s", r"\S", r"[\S]", r"[^\s]+", r"\w+", r"\W", r"[\w!]+", r"\d", r"\D+",
    r"\p{Han}+", r"\P{L}", r"\p{^L}", r"^.", r"$", r"\s+$", r".", r"(?=a)", r"(?<=b)", r"x*",
    r"(?i)k|s", r"\p{Lu}|\p{Ll}{2}", r"a{1,}b?", r"\u0041|\x{e9}|\x41", r"[\-\]!]+", r"a{x}",
    r"\p{P}|\p{S}", r"\v|\f", r"(?:ab)++c?",
]
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def chance(self, p):
        return self.r.random() < p

    def text(self):
        return "".join(self.r.choice(ATOMS) for _ in range(self.r.randint(0, 16)))

    def pattern(self):
        if self.chance(0.8):
            return {"Regex": self.r.choice(REGEXES)}
        return {"String": self.r.choice([" ", "a", "ab", "\u2581", "!", "\n"])}

    def pre_tokenizer(self):
        kind = self.r.choice(["Split"] * 3 + ["Digits", "Punctuation", "WhitespaceSplit", "Metaspace"])
        made = {"type": kind}
        if kind == "Split":
            made |= {"pattern": self.pattern(), "behavior": self.r.choice(BEHAVIORS), "invert": self.chance(0.3)}
        if kind == "Digits":
            made["individual_digits"] = self.chance(0.5)
        if kind == "Punctuation":
            made["behavior"] = self.r.choice(BEHAVIORS)
        if kind == "Metaspace":
            made |= {"replacement": "\u2581", "prepend_scheme": self.r.choice(["always", "never"]),
                     "split": self.chance(0.6)}
        return made

    def normalizer(self):
        kind = self.r.choice(["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "Prepend", "Replace"])
        made = {"type": kind}
        if kind == "Strip":
            made |= {"strip_left": self.chance(0.5), "strip_right": self.chance(0.5)}
        if kind == "Prepend":
            made["prepend"] = "\u2581"
        if kind == "Replace":
            made |= {"pattern": {"String": self.r.choice([" ", "a", "ab"])}, "content": self.r.choice(["", "\u2581", "zz"])}
        return made

    def vocabulary(self, byte_level):
        if byte_level:
            plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
            return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]
        text = "".join(ATOMS)
        chars = sorted(set(unicodedata.normalize("NFKD", text) + text + "\u2581z"))
        self.r.shuffle(chars)
        chars = chars[: self.r.randint(len(chars) // 2, len(chars))]
        # <0xC2> and its like, without which byte_fallback stays unused
        return chars + ([f"<0x{b:02X}>" for b in range(0x80, 0xF5)] if self.chance(0.4) else []) + ["<unk>"]

    def merges(self, vocab):
        known, made = set(vocab), []
        pool = [p for p in vocab if p in "abcz\u2581\u0120\u010a\u00e9!12"]
        for _ in range(self.r.randint(0, 40)):
            if len(pool) < 2:
                break
            left, right = self.r.choice(pool), self.r.choice(pool)
            if left + right not in known:
                known.add(left + right)
                vocab.append(left + right)
            pool.append(left + right)
            made.append([left, right])
        return made

    def added(self, vocab):
        made, end = [], len(vocab)
        contents = ["<s>", "</s>", "<x>", "XX", "a b", "\u00e9", "\u65e5\u672c", "ab"]
        for content in self.r.sample(contents, self.r.randint(0, 5)):
            ident = vocab.index(content) if content in vocab else end
            end += ident == end
            made.append({"id": ident, "content": content, "single_word": self.chance(0.2),
                         "lstrip": self.chance(0.2), "rstrip": self.chance(0.2),
                         "normalized": self.chance(0.3), "special": self.chance(0.5)})
        return made

    def tokenizer(self):
        byte_level = self.chance(0.3)
        pre = [self.pre_tokenizer() for _ in range(self.r.randint(0, 3))]
        if byte_level:
            pre.append({"type": "ByteLevel", "add_prefix_space": self.chance(0.3), "trim_offsets": True,
                        "use_regex": self.chance(0.5)})
        norm = [self.normalizer() for _ in range(self.r.choice([0, 0, 1, 2]))]
        vocab = self.vocabulary(byte_level)
        merges = self.merges(vocab)
        return {
            "version": "1.0", "added_tokens": self.added(vocab),
            "normalizer": {"type": "Sequence", "normalizers": norm} if norm else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": pre} if pre else None,
            "post_processor": None, "decoder": None,
            "model": {"type": "BPE", "unk_token": None if byte_level or self.chance(0.3) else "<unk>",
                      "fuse_unk": self.chance(0.5), "byte_fallback": self.chance(0.5),
                      "ignore_merges": self.chance(0.3), "vocab": {p: i for i, p in enumerate(vocab)},
                      "merges": merges if self.chance(0.5) else [" ".join(m) for m in merges]},
        }

    def record(self):
        made, special = self.tokenizer(), self.chance(0.5)
        reader = Tokenizer.from_str(json.dumps(made))
        reader.encode_special_tokens = not special
        cases = []
        while len(cases) < 8:
            text = self.text()
            try:
                cases.append([text, reader.encode(text, add_special_tokens=False).ids])
            except BaseException:  # the library itself trips over some texts
                continue
        return {"tokenizer": made, "special": special, "cases": cases}


# Characters whose kind differs between versions of Unicode, and what stands beside them.
NEWER = ["a", " ", "!", "1", "\U0001fa89", "\U00010d40", "\U00010d4a", "\u1c89", "\u2e43", "\u166d", "\u0897", "\U0002ebf0"]
COMPOSED = ["a", "\u0301", "\u0316", "\u1df6", "\u1abf", "\u0897", "\U00011935", "\U00011930", "\u32ff", "\uac00", "\u11a8", "\u00c5"]
BLANKS = ["a", "b", " ", "\t", "\n", "\u2581", "\u65e5", "x", "<s>"]


class Fixed(Maker):
    """Differences that comparing whole vocabularies has shown. All pairs of the atoms merge, so that each cut shows."""

    def one(self, atoms, normalizer, pre_tokenizer, without="", bare=False):
        chars = sorted(set("".join(atoms)) | {"\u2581"})
        merges = [[a, b] for a in chars for b in chars if b == "\u2581" or self.chance(0.5)]
        if without:  # as in real vocabularies with byte fallback, few merges join a blank to what is before it
            chars = [c for c in chars if c not in without]
            merges = [m for m in merges if set(m) <= set(chars) and (m[0] in ("\t", "\u2581") or m[1] != "\u2581")]
            chars += [] if bare else [f"<0x{b:02X}>" for b in range(256)]
        pieces = ["<unk>", *chars, *("".join(m) for m in merges)]
        made = {"version": "1.0", "added_tokens": [],
                "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None, "decoder": None,
                "model": {"type": "BPE", "unk_token": None if bare else "<unk>", "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                          "vocab": {p: i for i, p in enumerate(dict.fromkeys(pieces))}, "merges": merges}}
        reader = Tokenizer.from_str(json.dumps(made))
        texts = ["".join(self.r.choice(atoms) for _ in range(self.r.randint(2, 24))) for _ in range(12)]
        return {"tokenizer": made, "special": False, "cases": [[t, reader.encode(t, add_special_tokens=False).ids] for t in texts]}

    def records(self):
        split = {"type": "Split", "behavior": "Isolated", "invert": False}
        yield self.one(NEWER, None, split | {"pattern": {"Regex": r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|\p{N}{1,3}"}})
        yield self.one(NEWER, None, split | {"pattern": {"Regex": r"\w+|\P{N}"}})
        yield self.one(NEWER, None, split | {"pattern": {"Regex": r"\p{Han}|\P{C}+"}})
        yield self.one(NEWER, {"type": "Lowercase"}, {"type": "Digits", "individual_digits": False})
        yield self.one(NEWER, None, {"type": "Punctuation", "behavior": "Contiguous"})
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            yield self.one(COMPOSED, {"type": form}, None)
        blank = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        yield self.one(BLANKS, {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, blank]}, None, without="x")
        yield self.one(BLANKS, blank, None, without="\u65e5")
        yield self.one(BLANKS, blank, None, without="x\u65e5", bare=True)  # those characters vanish


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    maker = Maker(args.seed)
    records = [maker.record() for _ in range(args.count)] + list(Fixed(args.seed).records())
    with open(args.out, "w", encoding="ascii") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in records) + "\n]\n")


if __name__ == "__main__":
    main()
