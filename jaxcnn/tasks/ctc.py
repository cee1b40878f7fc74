"""Connectionist temporal classification: from frames to a text.

Graves, Fernández, Gomez and Schmidhuber, "Connectionist Temporal Classification:
Labelling Unsegmented Sequence Data with Recurrent Neural Networks", ICML 2006. A
network says for each frame which character stands there, or none, the blank. A
sequence of these, an alignment, stands for the text that is left after repetitions are
merged and blanks are dropped, so a character that is doubled in the text needs a blank
between. The probability of a text is the sum over its alignments.

The characters are 0 to K - 1 and the blank is K, the last class.
"""

from collections.abc import Iterable, Sequence
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

NOTHING = -1  # behind the last character of a text

Text = tuple[int, ...]  # characters by their number


def frames_needed(text: Sequence[int]) -> int:
    """The shortest alignment of a text: its characters, and a blank between those that
    are doubled."""
    codes = np.asarray(text)
    return len(codes) + int(np.sum(codes[1:] == codes[:-1]))


def loss(logits: jax.Array, text: jax.Array, is_text: jax.Array) -> jax.Array:
    """-log of the probability of each text.

    Args:
        logits: float [B, T, K + 1]; each of the T frames counts.
        text: int [B, N].
        is_text: bool [B, N], whether there is a character; where there is none the
            text has ended.

    Returns:
        [B]; without meaning where a text needs more than T frames.
    """
    paddings = jnp.zeros(logits.shape[:2], logits.dtype)
    text_paddings = jnp.where(is_text, 0.0, 1.0).astype(logits.dtype)
    blank = logits.shape[-1] - 1
    return optax.ctc_loss(logits, paddings, text, text_paddings, blank_id=blank)


def best_path(logits: jax.Array) -> jax.Array:
    """The text of the most probable alignment: [B, T, K + 1] -> int32 [B, T], with
    NOTHING behind its last character (Graves et al., sec. 3.2)."""
    path = jnp.argmax(logits, axis=-1).astype(jnp.int32)  # [B, T]
    blank = logits.shape[-1] - 1
    before = jnp.pad(path[:, :-1], ((0, 0), (1, 0)), constant_values=blank)
    kept = (path != blank) & (path != before)
    first = jnp.argsort(~kept, axis=1, stable=True)  # the kept ones, in their order
    text = jnp.take_along_axis(path, first, axis=1)
    count = jnp.sum(kept, axis=1, keepdims=True)
    return jnp.where(jnp.arange(path.shape[1]) < count, text, NOTHING)


@dataclasses.dataclass(eq=False, repr=False)  # a space leads back to the root
class Node:
    """What may follow a beginning of a word.

    Attributes:
        allowed: bool [K], the characters that may.
        children: Character -> the beginning that is longer by it.
        is_word: Whether the beginning is a word itself.
    """

    allowed: np.ndarray
    children: dict[int, "Node"] = dataclasses.field(default_factory=dict)
    is_word: bool = False


def lexicon(words: Iterable[Text], num_characters: int, space: int | None) -> Node:
    """The tree of the words, whose root is the empty beginning.

    Args:
        words: The words.
        num_characters: K.
        space: The character between two words. None: a text is one word.
    """
    root = Node(np.zeros(num_characters, bool))
    for word in words:
        node = root
        for character in word:
            if character not in node.children:
                node.children[character] = Node(np.zeros(num_characters, bool))
                node.allowed[character] = True
            node = node.children[character]
        node.is_word = True
        if space is not None:
            node.allowed[space] = True
            node.children[space] = root
    return root


def beam_search(
    log_probabilities: np.ndarray, width: int, words: Node | None = None
) -> tuple[Text, float]:
    """The most probable text, summed over its alignments, that a beam search finds.

    Hannun, Maas, Jurafsky and Ng, "First-Pass Large Vocabulary Continuous Speech
    Recognition using Bi-Directional Recurrent DNNs", 2014,
    https://arxiv.org/abs/1408.2873, Algorithm 1, without a language model.

    Args:
        log_probabilities: [T, K + 1] of each frame.
        width: Number of beginnings of texts that are kept at each frame.
        words: The words that a text is made of, see lexicon; None: any text.

    Returns:
        The text, and the natural logarithm of its probability, summed over the
        alignments that the beam kept. With words, ((), -inf) where none of the texts
        in the beam ends with a word.
    """
    frames = np.asarray(log_probabilities, np.float64)
    blank = frames.shape[1] - 1
    texts: list[Text] = [()]
    nodes = [words]
    # log P of the alignments so far that end in a blank, and of the others, [W].
    in_blank, in_character = np.zeros(1), np.full(1, -np.inf)
    for frame in frames:
        both = np.logaddexp(in_blank, in_character)
        grown = both[:, None] + frame[:blank]  # [W, K], longer by a character
        stays = np.full(len(texts), -np.inf)
        index = {text: i for i, text in enumerate(texts)}
        for i, text in enumerate(texts):
            if nodes[i] is not None:
                grown[i, ~nodes[i].allowed] = -np.inf
            if not text:
                continue
            last = text[-1]
            stays[i] = in_character[i] + frame[last]  # repeated, so merged
            if grown[i, last] > -np.inf:
                grown[i, last] = in_blank[i] + frame[last]
        for i, text in enumerate(texts):
            parent = index.get(text[:-1]) if text else None
            if parent is not None:  # reached from a beginning that is in the beam, too
                stays[i] = np.logaddexp(stays[i], grown[parent, text[-1]])
                grown[parent, text[-1]] = -np.inf
        scores = np.concatenate(
            [np.logaddexp(both + frame[blank], stays), grown.ravel()]
        )
        kept = np.argsort(-scores, kind="stable")[:width]
        kept = kept[scores[kept] > -np.inf]
        new_texts, new_nodes = [], []
        new_in_blank = np.full(len(kept), -np.inf)
        new_in_character = np.full(len(kept), -np.inf)
        for place, number in enumerate(kept.tolist()):
            if number < len(texts):
                text, node = texts[number], nodes[number]
                new_in_blank[place] = both[number] + frame[blank]
                new_in_character[place] = stays[number]
            else:
                parent, character = divmod(number - len(texts), blank)
                text, node = (*texts[parent], character), nodes[parent]
                node = None if node is None else node.children[character]
                new_in_character[place] = grown[parent, character]
            new_texts.append(text)
            new_nodes.append(node)
        texts, nodes = new_texts, new_nodes
        in_blank, in_character = new_in_blank, new_in_character
    scores = np.logaddexp(in_blank, in_character)
    for i in np.argsort(-scores, kind="stable"):
        if nodes[i] is None or nodes[i].is_word or not texts[i]:
            return texts[i], float(scores[i])
    return (), -np.inf
