#!/usr/bin/env python3
"""Ids of `gstick tokenize` against those of the official libraries, which must be the same, all of them.

    VENV/bin/python tests/interop/tokenizers_parity.py GSTICK VOCABULARY DATA [--strings N] [--seed S]

VOCABULARY is a directory with tokenizer.json (`tokenizers` is the reference), a tokenizer.model (`sentencepiece`), or a GGUF file:
the files that gstick makes of it go to the reference, and the file itself to gstick. Texts: wiki.test.raw and every
calibration set below DATA, whole, and N random strings, each by itself: scripts, combining marks, white space, controls, digits,
emoji, and the vocabulary's own special tokens, which count as such in one pass and as plain text in the other. BOS
and EOS are compared where tokenizer_config.json leaves them to tokenizer.json. Prints a line with the number of texts and ids.
"""

import argparse
import glob
import json
import os
import random
import subprocess
import sys
import tempfile

import numpy as np

RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x4FF), (0x530, 0x58F), (0x590, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F), (0xB80, 0xBFF), (0xE00, 0xE5B), (0xF00, 0xFFF),
    (0x1000, 0x109F), (0x1100, 0x11FF), (0x1680, 0x169F), (0x17D0, 0x17F9), (0x1E00, 0x1FFE), (0x2000, 0x206F), (0x2070, 0x20BF),
    (0x20D0, 0x20F0), (0x2100, 0x218B), (0x2190, 0x23FF), (0x2460, 0x24FF), (0x2580, 0x27BF), (0x3000, 0x30FF), (0x3130, 0x318E),
    (0x3200, 0x33FF), (0x4E00, 0x9FFF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xE010), (0xF900, 0xFAFF), (0xFB00, 0xFDFF),
    (0xFE00, 0xFE2F), (0xFE70, 0xFEFF), (0xFF00, 0xFFEF), (0x10330, 0x1034A), (0x1D15E, 0x1D1FF), (0x1D400, 0x1D7FF),
    (0x1F1E6, 0x1F1FF), (0x1F300, 0x1F64F), (0x1F900, 0x1FAFF), (0x20000, 0x2A6DF), (0x2F800, 0x2FA1D), (0x10FFFD, 0x10FFFD),
]
ATOMS = [
    " ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u3000", "\u00a0", "\u2581", "\u2028", "\u180e", "\u200b", "\u200d", "\ufeff",
    "\x01", "\x1b", "\x7f", "\x85", "0", "7", "42", "1234", "3.14", "\u0663\u0664", "\u00bd", "'s", "'LL", "\u2019t", "'\u017f", "the", "The",
    " of", "don't", "e\u0301", "\u0041\u030a", "q\u0307\u0323", "\u1100\u1161\u11a8", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "...", "!!", "?", ",", "_", "-", "//", "/*", "#", "<", ">", "<0x0A>", "\u4e2d\u6587", "\u3002",
    "\uff0c", "\u0130", "\u00df", "\u1e9e", "\ufb01", "\ufdfa",
]


def scalar(r):
    low, high = r.choice(RANGES)
    return chr(r.randint(low, high))


def strings(count, seed, specials):
    """Each draws from a few kinds of pieces, so that runs of one kind come up as well as mixtures."""
    r = random.Random(seed)
    kinds = [
        lambda: scalar(r), lambda: r.choice(ATOMS), lambda: r.choice(specials or ["<s>"]), lambda: " " * r.randint(1, 9),
        lambda: str(r.randint(0, 10 ** r.randint(1, 9))), lambda: "".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=r.randint(1, 9))),
        lambda: "".join(chr(r.randint(0x4E00, 0x9FFF)) for _ in range(r.randint(1, 6))),
        lambda: scalar(r) + "".join(chr(r.randint(0x300, 0x36F)) for _ in range(r.randint(1, 4))),
        lambda: r.choice(specials or ["<s>"])[: r.randint(1, 8)],
        lambda: "".join(r.choices("ABab \n!.", k=r.randint(1, 8))), lambda: scalar(r) * r.randint(2, 70),
    ]
    made = []
    while len(made) < count:
        some = r.sample(kinds, r.randint(1, 5))
        made.append("".join(r.choice(some)() for _ in range(r.randint(0, 24))))
    return made


# ---- the references ----

class Json:
    def __init__(self, directory):
        from tokenizers import Tokenizer
        self.reader = Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
        self.specials = sorted({t.content for t in self.reader.get_added_tokens_decoder().values()})

        config = os.path.join(directory, "tokenizer_config.json")
        with open(config if os.path.exists(config) else os.devnull) as f:
            self.config = json.loads(f.read() or "{}")

    def ids(self, texts, special):
        self.reader.encode_special_tokens = not special
        return [e.ids for e in self.reader.encode_batch_fast(texts, add_special_tokens=False)]

    def with_ends(self, text):
        """None where the configuration decides, of which the library knows nothing."""
        self.reader.encode_special_tokens = False
        silent = not self.config.keys() & {"add_bos_token", "add_eos_token"}
        return self.reader.encode(text).ids if silent else None


class SentencePiece:
    """The library finds no control pieces in a text, so there is one pass only."""

    def __init__(self, path):
        import sentencepiece
        self.reader = sentencepiece.SentencePieceProcessor(model_file=path)
        self.specials = ["<s>", "</s>", "<unk>"]

    def ids(self, texts, special):
        return None if special else self.reader.encode(texts)

    def with_ends(self, text):
        return None


def reference(vocabulary):
    if os.path.isdir(vocabulary):
        vocabulary = os.path.join(vocabulary, "tokenizer.json")
    return SentencePiece(vocabulary) if vocabulary.endswith(".model") else Json(os.path.dirname(vocabulary))


# ---- gstick ----

class Gstick:
    def __init__(self, program, vocabulary, scratch):
        self.program, self.vocabulary, self.scratch = program, vocabulary, scratch

    def call(self, path, *flags):
        out = os.path.join(self.scratch, "ids.i32")
        done = subprocess.run([self.program, "tokenize", self.vocabulary, "--text", path, "-o", out, *flags], capture_output=True,
                              text=True)
        if done.returncode:
            sys.exit(f"gstick tokenize {self.vocabulary}: {done.stderr.strip()}")
        return np.fromfile(out, "<i4")

    def whole(self, text, *flags):
        path = os.path.join(self.scratch, "text.txt")
        with open(path, "w", encoding="utf-8", newline="") as f:
            f.write(text)
        return self.call(path, *flags).tolist()

    def each(self, texts, *flags):
        path = os.path.join(self.scratch, "text.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"text": t}) + "\n" for t in texts)
        ids, made, begin = self.call(path, "--jsonl", *flags), [], 0
        for end in np.flatnonzero(ids == -1):
            made.append(ids[begin:end].tolist())
            begin = end + 1
        return made


# ---- comparing ----

class Verdict:
    def __init__(self):
        self.texts = self.ids = self.bad = 0

    def take(self, what, text, got, want):
        self.texts += 1
        self.ids += len(want)
        if got == want:
            return
        self.bad += 1
        if self.bad > 5:
            return
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
        print(f"{what}: id {at} of {len(want)} differs: {got[max(at - 2, 0):at + 6]}, wanted {want[max(at - 2, 0):at + 6]}"
              + (f" in {text!a}" if len(text) < 200 else ""), file=sys.stderr)


def texts_of(data):
    """Name and text, of a file of text or of all lines of a calibration set."""
    for path in [os.path.join(data, "data/text/wiki.test.raw"), *sorted(glob.glob(os.path.join(data, "data/text/calib/*.jsonl")))]:
        with open(path, encoding="utf-8", newline="") as f:
            yield os.path.basename(path), f.read()


def compare(gstick, official, data, count, seed):
    verdict = Verdict()
    for special in (False, True):
        flags = ["--no-bos"] + (["--special"] if special else [])
        if official.ids([""], special) is None:
            continue
        for name, text in texts_of(data):
            verdict.take(name, text, gstick.whole(text, *flags), official.ids([text], special)[0])
        random_texts = strings(count, seed, official.specials)
        for i, (text, got, want) in enumerate(zip(random_texts, gstick.each(random_texts, *flags), official.ids(random_texts, special),
                                                  strict=True)):
            verdict.take(f"string {i}{' with special tokens' if special else ''}", text, got, want)
    text = "with its ends"
    want = official.with_ends(text)
    if want is not None:
        verdict.take("ends", text, gstick.whole(text, "--special"), want)
    return verdict


def files_of_gguf(program, gguf, scratch):
    """A directory with the vocabulary's files as every bundle of this model has them."""
    made = os.path.join(scratch, "bundle")
    done = subprocess.run([program, "quantize", gguf, "-o", made, "--scheme", "w8a16"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"gstick quantize {gguf}: {done.stderr.strip()}")
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gstick")
    parser.add_argument("vocabulary")
    parser.add_argument("data")
    parser.add_argument("--strings", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = files_of_gguf(args.gstick, args.vocabulary, scratch) if args.vocabulary.endswith(".gguf") else args.vocabulary
        verdict = compare(Gstick(args.gstick, args.vocabulary, scratch), reference(made), args.data, args.strings, args.seed)
    print(f"{verdict.texts} texts, {verdict.ids} ids, {verdict.bad} texts differ")
    return 1 if verdict.bad else 0


if __name__ == "__main__":
    sys.exit(main())
