"""A small probabilistic grammar of English-like paragraphs whose entropy is known.

Every paragraph is one line about a hero, a number of things found, shared and counted. It
has what a language model must carry over a distance: the verb agrees with the head noun and
not with the nearest one, names, things and numbers come back later, counts are added up and
taken away, `he` or `she` follows from the name.

A paragraph is derived from left to right. At each choice point the alternatives begin with
different words, so a text has exactly one derivation, and

    -log p(text) = sum over its choices of -log p(choice)

is the text's probability under the grammar itself, not a bound. No model can be better on
average; `Paragraphs.nats` sums it up for what was generated. Standard library only.
"""

import math
import random

SHE = ["Tavi", "Mirel", "Osha", "Lenna", "Pim", "Rowa", "Sanni", "Ketta", "Ilva", "Dorrit"]
HE = ["Borin", "Jook", "Alvar", "Neth", "Corro", "Fen", "Uldo", "Harrin", "Wex", "Tamo"]
PLACES = ["river", "mill", "old tower", "market", "forest", "harbour", "bridge", "garden",
          "stone well", "windy hill"]
THINGS = [("shell", "shells"), ("lantern", "lanterns"), ("apple", "apples"), ("key", "keys"),
          ("feather", "feathers"), ("coin", "coins"), ("button", "buttons"),
          ("candle", "candles"), ("marble", "marbles"), ("spoon", "spoons")]
COLOURS = ["red", "blue", "green", "golden", "grey", "white", "silver", "black"]
BEINGS = [("dog", "dogs"), ("cat", "cats"), ("bird", "birds"), ("horse", "horses"),
          ("fox", "foxes"), ("farmer", "farmers"), ("child", "children"), ("goose", "geese"),
          ("sailor", "sailors"), ("mouse", "mice"), ("miller", "millers"), ("goat", "goats"),
          ("baker", "bakers"), ("sheep dog", "sheep dogs"), ("woman", "women"), ("hen", "hens")]
TEMPERS = ["quiet", "hungry", "tired", "happy", "young", "clever", "slow", "proud", "small",
           "brave", "lazy", "lonely", "kind", "strange"]
VERBS = [("sleeps", "sleep"), ("sings", "sing"), ("waits", "wait"), ("runs", "run"),
         ("laughs", "laugh"), ("hides", "hide"), ("dances", "dance"), ("listens", "listen"),
         ("works", "work"), ("eats", "eat"), ("dreams", "dream"), ("comes", "come")]
ACTIONS = [("follows", "follow"), ("likes", "like"), ("watches", "watch"),
           ("fears", "fear"), ("helps", "help"), ("knows", "know"), ("calls", "call"),
           ("feeds", "feed")]
BESIDE = ["near", "behind", "beside", "below", "with"]
ADVERBS = ["often", "again", "alone", "softly", "at noon", "all day", "too late", "by day",
           "in spring", "for hours"]
GREETINGS = ["Hello", "Look", "Wait", "Thank you", "Come here", "Good morning"]
TIMES = ["morning", "day", "evening", "summer", "winter"]
WEATHER = ["cold", "warm", "dark", "late", "windy", "bright"]
NUMBERS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def check_prefix_free():
    """No alternative is the beginning of another one it competes with: derivations are unique."""
    beings = [form for pair in BEINGS for form in pair]
    verbs = [form for pair in VERBS for form in pair]
    for words in (SHE + HE, PLACES, COLOURS + [many for _, many in THINGS], TEMPERS + beings,
                  verbs + BESIDE + ["that"], [form for pair in ACTIONS for form in pair],
                  ADVERBS, GREETINGS, TIMES, WEATHER, NUMBERS):
        spaced = sorted(word + " " for word in words)
        assert all(not b.startswith(a) for a, b in zip(spaced, spaced[1:])), words


def zipf(n):
    """Weights 1/(r+6): some words are common, some less so."""
    return [1.0 / (r + 6) for r in range(n)]


class Paragraphs:
    """Draws paragraphs; `nats` is the sum of -log p over all of them."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.nats = 0.0
        self.choices = 0

    def draw(self, options, weights=None):
        weights = weights or zipf(len(options))
        total = sum(weights)
        at = self.random.random() * total
        chosen = len(options) - 1
        for i, w in enumerate(weights):
            at -= w
            if at < 0:
                chosen = i
                break
        self.nats -= math.log(weights[chosen] / total)
        self.choices += 1
        return options[chosen]

    def uniform(self, options):
        return self.draw(options, [1.0] * len(options))

    def maybe(self, p):
        return self.draw([True, False], [p, 1.0 - p])

    # --- phrases ---

    def noun_phrase(self):
        """'the [temper] being(s)' -> (text, is_plural)"""
        temper = self.draw(TEMPERS) + " " if self.maybe(0.6) else ""
        plural = self.maybe(0.5)
        return temper + self.draw(BEINGS)[plural], plural

    def scene(self):
        """Agreement across what stands between subject and verb."""
        subject, plural = self.noun_phrase()
        between = ""
        kind = self.draw(["plain", "place", "relative"], [0.2, 0.4, 0.4])
        if kind == "place":
            other, _ = self.noun_phrase()
            between = f" {self.draw(BESIDE)} the {other}"
        elif kind == "relative":
            other, others = self.noun_phrase()
            between = f" that the {other} {self.draw(ACTIONS)[others]}"
        verb = self.draw(VERBS)[plural]
        tail = " " + self.draw(ADVERBS) if self.maybe(0.6) else ""
        return f"{subject}{between} {verb}{tail}"

    # --- a paragraph and its state ---

    def paragraph(self):
        name = self.draw(SHE + HE, zipf(len(SHE)) + zipf(len(HE)))
        s = {"hero": name, "friend": None, "count": self.uniform(list(range(3, 10)))}
        s["pronoun"] = "she" if name in SHE else "he"
        s["place"] = self.draw(PLACES)
        s["found"] = s["count"]
        colour = self.draw(COLOURS) + " " if self.maybe(0.5) else ""
        s["thing"] = self.draw(THINGS)
        s["what"] = colour + s["thing"][1]
        time = self.draw(TIMES)
        out = [f"{name} lived near the {s['place']}.",
               f"One {time} {s['pronoun']} found {NUMBERS[s['count']]} {s['what']}."]
        while True:
            kind = self.draw(*self.next_kinds(s))
            if kind == "end":
                break
            out.append(getattr(self, "say_" + kind)(s))
        audience = s["friend"] or "everybody"
        out.append(f"At night {name} went back to the {s['place']} and told {audience} "
                   f"about the {NUMBERS[s['found']]} {s['what']}.")
        return " ".join(out)

    @staticmethod
    def next_kinds(s):
        """Which sentences may follow, and their weights."""
        kinds = {"end": 1.0, "scene": 4.0, "weather": 1.0, "greeting": 0.7}
        if s["friend"] is None:
            kinds["friend"] = 1.6
        elif s["count"] >= 1:
            kinds["share"] = 1.3
        if s["count"] >= 1:
            kinds["counting"] = 0.7
        if s["count"] <= 8:
            kinds["more"] = 0.8
        return list(kinds), list(kinds.values())

    def say_scene(self, _):
        return f"The {self.scene()}."

    def say_weather(self, _):
        return f"It was {self.draw(WEATHER)}, and the {self.scene()}."

    def say_greeting(self, s):
        people = [s["hero"]] + ([s["friend"]] if s["friend"] else [])
        who = self.uniform(people)
        word = self.draw(GREETINGS)
        if len(people) == 1:
            return f'"{word}," said {who}.'
        other = people[1] if who == people[0] else people[0]
        return f'"{word}, {other}," said {who}.'

    def say_friend(self, s):
        others = [n for n in SHE + HE if n != s["hero"]]
        s["friend"] = self.draw(others, [1.0] * len(others))
        return f"A friend named {s['friend']} came by."

    def say_share(self, s):
        k = self.uniform(list(range(1, s["count"] + 1)))
        s["count"] -= k
        be = "was" if s["count"] == 1 else "were"
        return (f"{s['friend']} asked for {NUMBERS[k]}, so {s['hero']} gave {NUMBERS[k]} away "
                f"and {NUMBERS[s['count']]} {be} left.")

    def say_counting(self, s):
        counted = ", ".join(NUMBERS[1:s["count"] + 1])
        return f"{s['pronoun'].capitalize()} counted them: {counted}."

    def say_more(self, s):
        k = self.uniform(list(range(1, 10 - s["count"])))
        s["count"] += k
        name = s["thing"][s["count"] != 1]
        return (f"Then {s['pronoun']} found {NUMBERS[k]} more, and now there "
                f"{'was' if s['count'] == 1 else 'were'} {NUMBERS[s['count']]} {name}.")

    def text(self, size):
        """Whole paragraphs, each with a final newline, of at most `size` characters."""
        lines, used = [], 0
        while True:
            before = self.nats, self.choices
            line = self.paragraph() + "\n"
            if used + len(line) > size:
                self.nats, self.choices = before
                return "".join(lines)
            lines.append(line)
            used += len(line)


if __name__ == "__main__":
    check_prefix_free()
    source = Paragraphs(1)
    sample = source.text(2000)
    print(sample, end="")
    print(f"{source.nats:.2f} nats, {len(sample)} characters, {source.choices} choices")
