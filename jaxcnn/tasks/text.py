"""Lines of text: the characters in an image, from left to right.

The network says for each of T frames, from left to right, which character stands there
or none (ctc.py). Error rates are those of the field: edits over the length of the true
texts, summed over a whole split.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import math
import os
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError, require
from jaxcnn.targets import Target, Targets
from jaxcnn.tasks import ctc
from jaxcnn.tasks.edit_distance import edit_distance
from jaxcnn.tasks.parts import Part, Table
from jaxcnn.tasks.task import (
    Batch,
    Column,
    Metric,
    Predicted,
    Task,
    metric_table,
    only_target,
    ratio,
)

SPACE = " "
BLANK = "(blank)"  # name of the last output, which is no character
LISTED = 20  # lines in the table of a report


def _read_lexicon(path: str, characters: Sequence[str]) -> tuple[str, ...]:
    """The words of a file, one on each line.

    Raises:
        UserError: It cannot be read, has no word, or one with a character that the
            training texts do not have.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"task.lexicon {path!r} cannot be read as text in UTF-8: {error}."
        ) from error
    known = set(characters)
    words = {}
    for number, line in enumerate(lines, start=1):
        for character in line.strip():
            if character not in known:
                raise UserError(
                    f"{path}, line {number}: the texts of the data set have no "
                    f"{character!r}, so {line.strip()!r} would never be read."
                )
            if character == SPACE:
                raise UserError(
                    f"{path}, line {number}: {line.strip()!r} is more than one word; "
                    "each word must be on a line of its own."
                )
        if line.strip():
            words[line.strip()] = None
    if not words:
        raise UserError(f"task.lexicon {path!r} has no word.")
    return tuple(words)


def _stated_words(statistics: Mapping[str, Any]) -> tuple[str, ...]:
    """The words that statistics hold; UserError where they hold something else."""
    words = statistics.get("words")
    holds = isinstance(words, list | tuple) and len(words) > 0
    holds = holds and all(isinstance(word, str) for word in words)
    require(holds, "statistics.words", words, "the words of task.lexicon")
    return tuple(words)


@dataclasses.dataclass(frozen=True)
class Text(Task):
    """The loss and the metrics of texts.

    Attributes:
        characters: The K characters; that of number i is the i-th. The blank is K.
        longest: Most characters of a text.
        target: Name of the target, int32 [N] with N up to `longest`.
        beam_width: Texts that a beam search keeps at each frame; 1: the text of the
            most probable alignment is taken.
        words: The words that a text is made of. (): any text.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = metric_table(
        Metric("character_error_rate", greater_is_better=False),
        Metric("word_error_rate", greater_is_better=False),
        Metric("line_accuracy"),
        Metric("loss", greater_is_better=False),
    )
    OPTIONS: ClassVar[frozenset[str]] = frozenset({"beam_width", "lexicon"})
    LISTS: ClassVar[frozenset[str]] = frozenset({"words"})

    characters: tuple[str, ...]
    longest: int
    target: str = "text"
    beam_width: int = 1
    words: tuple[str, ...] = ()

    @classmethod
    def measure(
        cls, config: TaskConfig, targets: Targets, column: Column
    ) -> dict[str, Any]:
        """The words of the lexicon, which a run's folder keeps: its file may move."""
        if not config.lexicon:
            return {}
        name = only_target(config, targets, "text")
        return {"words": list(_read_lexicon(config.lexicon, targets[name].names))}

    @classmethod
    def create(
        cls, config: TaskConfig, targets: Targets, statistics: Mapping[str, Any]
    ) -> "Text":
        """The task for a data set whose examples have a text each.

        Raises:
            UserError: No text with names of its characters, or a lexicon that is not
                used or whose words are not among the statistics.
        """
        name = only_target(config, targets, "text")
        target = targets[name]
        if not (target.names and target.ragged and len(target.shape) == 1):
            raise UserError(
                "A text needs a ragged target with a name for each character; target "
                f"{name!r} has shape {target.shape}, ragged={target.ragged} and "
                f"{len(target.names)} names."
            )
        words: tuple[str, ...] = ()
        if config.lexicon:
            rule = "over 1 with task.lexicon, which a beam search needs"
            require(config.beam_width > 1, "task.beam_width", config.beam_width, rule)
            words = _stated_words(statistics)
        return cls(target.names, target.shape[0], name, config.beam_width, words)

    def remarks(self, config: TaskConfig) -> list[str]:
        """Whether the file of the lexicon has other words than the run has."""
        if not config.lexicon or not os.path.isfile(config.lexicon):
            return []
        try:
            found = _read_lexicon(config.lexicon, self.characters)
        except UserError:
            found = ()
        if found == self.words:
            return []
        return [
            f"Warning: task.lexicon {config.lexicon!r} was changed; the run keeps the "
            f"{len(self.words):,} words that it had. A file of another name replaces "
            "them."
        ]

    @property
    def num_classes(self) -> int:
        """K + 1: the characters and the blank."""
        return len(self.characters) + 1

    @property
    def targets(self) -> Targets:
        shape = (self.longest,)
        target = Target("text", "int32", shape, ragged=True, names=self.characters)
        return {self.target: target}

    @property
    def outputs(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}

    @property
    def output_names(self) -> tuple[str, ...]:
        return (*self.characters, BLANK)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        return (None, self.num_classes)

    def text(self, codes: Sequence[int]) -> str:
        """Characters by their numbers -> a text; those below 0 are nothing."""
        return "".join(self.characters[code] for code in codes if code >= 0)

    def problems(self, output: Any, column: Column) -> Iterator[tuple[int, str]]:
        """Texts that need more frames than the network gives.

        Their loss would be infinite. (Optax gives 1e5, which would quietly outweigh
        the rest of a batch.)
        """
        num_frames = output.shape[1]
        for index, codes in enumerate(column(self.target)):
            needed = ctc.frames_needed(codes)
            if needed > num_frames:
                yield (
                    index,
                    f"its text {self.text(codes)!r} needs {needed} frames, one for "
                    "each character and one between those that are doubled, and the "
                    f"network gives {num_frames}; wider images (data.image_size) give "
                    "more",
                )

    def loss(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """-log of the probability of each text: logits [B, T, K + 1] -> [B]."""
        is_text = batch[f"{self.target}_mask"]
        return ctc.loss(logits, batch[self.target], is_text)

    def _true(self, batch: Batch) -> jax.Array:
        """int32 [B, longest], with ctc.NOTHING behind the last character."""
        is_text = batch[f"{self.target}_mask"]
        return jnp.where(is_text, batch[self.target], ctc.NOTHING)

    def eval_sums(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        return {"loss": jnp.sum(batch["weight"] * self.loss(logits, batch))}

    def eval_records(self, logits: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """What predict says of each example, and "true" [B, longest]."""
        return {**self.predict(logits), "true": self._true(batch)}

    def metrics(
        self, sums: Mapping[str, np.ndarray], records: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Error rates of a whole split, on the host.

        Returns:
            "character_error_rate" and "word_error_rate", the edits (insertions,
            deletions, substitutions) that make the true texts of what is read, over
            the number of true characters or words; they can exceed 1. Words are what
            stands between white space. "line_accuracy", the share of texts without an
            edit; "loss".
        """
        pairs = self._pairs(records)
        characters = _error_rate([(list(a), list(b)) for a, b in pairs])
        words = _error_rate([(a.split(), b.split()) for a, b in pairs])
        return {
            "character_error_rate": characters,
            "word_error_rate": words,
            "line_accuracy": float(np.mean([a == b for a, b in pairs])),
            "loss": float(sums["loss"]) / len(pairs),
        }

    def _pairs(self, records: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
        """(true text, what is read) of each example."""
        return [
            (self.text(true), self._read({n: x[i] for n, x in records.items()})[0])
            for i, true in enumerate(records["true"])
        ]

    def report(
        self, metrics: Mapping[str, Any], records: Mapping[str, np.ndarray]
    ) -> list[Part]:
        """The lines with most errors."""
        rows = [(edit_distance(*pair), *pair) for pair in self._pairs(records)]
        wrong = sorted((row for row in rows if row[0]), key=lambda row: -row[0])
        if not wrong:
            return []
        title = f"Lines with errors, {min(len(wrong), LISTED)} of {len(wrong)}"
        shown = [(true, read, str(edits)) for edits, true, read in wrong[:LISTED]]
        return [Table("lines", title, ("true", "read", "errors"), shown)]

    def predict(self, logits: jax.Array) -> dict[str, jax.Array]:
        """What is read.

        Returns:
            "text", int32 [B, T], characters by their numbers and -1 behind the last;
            "confidence", float [B], the probability of that text. With a beam search,
            which is done on the host, "log_probabilities" [B, T, K + 1].
        """
        if self.beam_width > 1:
            return {"log_probabilities": jax.nn.log_softmax(logits, axis=-1)}
        text = ctc.best_path(logits)
        is_text = text != ctc.NOTHING
        loss = ctc.loss(logits, jnp.where(is_text, text, 0), is_text)
        return {"text": text, "confidence": jnp.exp(-loss)}

    @functools.cached_property
    def _lexicon(self) -> ctc.Node | None:
        if not self.words:
            return None
        number = {character: i for i, character in enumerate(self.characters)}
        words = [tuple(number[c] for c in word) for word in self.words]
        return ctc.lexicon(words, len(self.characters), number.get(SPACE))

    def _read(self, predicted: Predicted) -> tuple[str, float]:
        """(text, its probability) for what predict says of one example."""
        if "text" in predicted:
            return self.text(predicted["text"]), float(predicted["confidence"])
        text, log_probability = ctc.beam_search(
            predicted["log_probabilities"], self.beam_width, self._lexicon
        )
        return self.text(text), math.exp(log_probability)

    def answer(self, predicted: Predicted, limit: int) -> dict[str, Any]:
        """{"text", "confidence"}: what is read, and the probability of just that."""
        text, confidence = self._read(predicted)
        return {"text": text, "confidence": confidence}

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{**answer, "confidence": f"{answer['confidence']:.6f}"}]

    def cells(self, answer: Mapping[str, Any]) -> list[str]:
        return [answer["text"], f"{answer['confidence']:.4f}"]

    def titles(self, number: int) -> list[str]:
        return ["text", "confidence"]

    def spread(self, predicted: Predicted) -> dict[str, str]:
        text, confidence = self._read(predicted)
        return {"text": text, "confidence": f"{confidence:.6f}"}

    def caption(self, example: Mapping[str, Any]) -> str:
        return self.text(example[self.target])


def _error_rate(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Edits over the items of the first of each pair, 0 where there are no items."""
    edits = sum(edit_distance(true, read) for true, read in pairs)
    return float(ratio(np.float64(edits), np.float64(sum(len(a) for a, _ in pairs))))
