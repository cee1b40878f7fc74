"""Makes error_rates.json, error rates of jiwer.

It needs jiwer 4.0.0: python tests/reference/make_error_rate_reference.py

Texts are compared as they are: jiwer's default transformations would drop spaces at
their ends.
"""

import json
from pathlib import Path
import random

import jiwer

LETTERS = "abc "


def changed(text: str, generator: random.Random) -> str:
    """The text with some characters dropped, replaced or added."""
    result = []
    for character in text:
        draw = generator.random()
        if draw < 0.1:
            continue
        result.append(generator.choice(LETTERS) if draw < 0.2 else character)
        if draw > 0.9:
            result.append(generator.choice(LETTERS))
    return "".join(result)


def main() -> None:
    generator = random.Random(0)
    true = ["the cat sat on the mat", "a", "hello  world", "same", "kitten", "sunday"]
    read = [
        "the bat sat on mat",
        "",
        "hello world again",
        "same",
        "sitting",
        "saturday",
    ]
    for _ in range(40):
        words = [
            "".join(generator.choices(LETTERS[:3], k=generator.randint(1, 6)))
            for _ in range(generator.randint(1, 6))
        ]
        true.append(" ".join(words))
        read.append(changed(true[-1], generator))
    characters = jiwer.ReduceToListOfListOfChars()
    words = jiwer.Compose(
        [
            jiwer.RemoveMultipleSpaces(),
            jiwer.Strip(),
            jiwer.ReduceToListOfListOfWords(),
        ]
    )
    made = {
        "true": true,
        "read": read,
        "character_error_rate": jiwer.cer(true, read, characters, characters),
        "word_error_rate": jiwer.wer(true, read, words, words),
        "each": [
            jiwer.cer([a], [b], characters, characters)
            for a, b in zip(true, read, strict=True)
        ],
    }
    path = Path(__file__).with_name("error_rates.json")
    path.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
