"""Reading lines of text against PyTorch, jiwer and by hand."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError
from jaxcnn.targets import Target
from jaxcnn.tasks import Text, create_task, ctc
from jaxcnn.tasks.edit_distance import edit_distance

FOLDER = pathlib.Path(__file__).parent / "reference"
REFERENCE = np.load(FOLDER / "text.npz")
ERROR_RATES = json.loads((FOLDER / "error_rates.json").read_text())
LETTERS = tuple("abc ")


def target_of(characters, longest):
    return Target("text", "int32", (longest,), ragged=True, names=tuple(characters))


def padded(texts, length, characters=LETTERS):
    rows = np.full((len(texts), length), ctc.NOTHING, np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = [characters.index(character) for character in text]
    return rows


def batch_of(codes):
    mask = codes != ctc.NOTHING
    return {
        "text": jnp.asarray(np.where(mask, codes, 0)),
        "text_mask": jnp.asarray(mask),
        "weight": jnp.ones(len(codes)),
    }


def logits_of(path, num_classes, confidence=20.0):
    """Logits of a network that is sure of one class at each frame."""
    return confidence * jax.nn.one_hot(jnp.asarray(path), num_classes)


# The loss.


@pytest.mark.parametrize(("x64", "accuracy"), [(True, 1e-11), (False, 1e-6)])
def test_the_loss_and_its_gradient_are_those_of_pytorch(x64, accuracy):
    codes, expected = REFERENCE["ctc_text"], REFERENCE["ctc_loss"]
    with jax.enable_x64(x64):
        task, batch = Text(tuple("abcde"), codes.shape[1]), batch_of(codes)
        logits = jnp.asarray(REFERENCE["ctc_logits"])

        def total(logits):
            loss = task.loss(logits, batch)
            return loss.sum(), loss

        gradient, loss = jax.grad(total, has_aux=True)(logits)
    assert loss.dtype == (jnp.float64 if x64 else jnp.float32)
    np.testing.assert_allclose(loss, expected, rtol=accuracy)
    np.testing.assert_allclose(gradient, REFERENCE["ctc_gradient"], atol=10 * accuracy)


def test_what_is_behind_the_end_of_a_text_does_not_count():
    codes = REFERENCE["ctc_text"]
    task, logits = Text(tuple("abcde"), 10), jnp.asarray(REFERENCE["ctc_logits"])
    batch = batch_of(codes)
    other = jnp.where(batch["text_mask"], batch["text"], 3)
    np.testing.assert_array_equal(
        task.loss(logits, batch), task.loss(logits, {**batch, "text": other})
    )


def test_a_doubled_character_needs_a_blank_between():
    # By hand: 5 characters, and a blank within "tt" and "oo".
    assert ctc.frames_needed([0, 0, 1, 2, 2]) == 7
    assert ctc.frames_needed([]) == 0
    task = Text(("a", "b"), 4)
    column = np.empty(3, object)
    column[:] = [np.array(x) for x in ([0, 1, 0], [0, 0, 1], [1])]
    output = jax.ShapeDtypeStruct((1, 3, 3), jnp.float32)
    ((index, problem),) = task.problems(output, {"text": column}.__getitem__)
    assert index == 1
    assert problem.startswith("its text 'aab' needs 4 frames,")
    assert "the network gives 3; wider images" in problem
    assert not [*task.problems(jax.ShapeDtypeStruct((1, 4, 3), "f4"), lambda _: column)]


# Reading.


def test_the_best_path_merges_repetitions_and_drops_blanks():
    # Graves et al. 2006, sec. 3.1: B(a-ab-) = B(-aa--abb) = aab; "-" is the blank, 2.
    paths = [[0, 2, 0, 1, 2, 2, 2, 2, 2], [2, 0, 0, 2, 2, 0, 1, 1, 2], [2] * 9]
    text = ctc.best_path(logits_of(paths, 3))
    np.testing.assert_array_equal(
        text, padded(["aab", "aab", ""], 9, characters=("a", "b"))
    )


def test_a_beam_search_finds_the_most_probable_of_all_texts():
    for row, text, loss in zip(
        REFERENCE["search_log_probabilities"],
        REFERENCE["search_text"],
        REFERENCE["search_loss"],
        strict=True,
    ):
        found, log_probability = ctc.beam_search(row, width=1000)
        assert list(found) == [code for code in text if code >= 0]
        assert -log_probability == pytest.approx(loss, rel=1e-12)


def test_a_beam_search_with_a_lexicon_finds_the_most_probable_of_its_texts():
    words = ctc.lexicon([(0,), (0, 1, 0)], 3, space=2)
    for row, text, loss in zip(
        REFERENCE["search_log_probabilities"],
        REFERENCE["words_text"],
        REFERENCE["words_loss"],
        strict=True,
    ):
        found, log_probability = ctc.beam_search(row, 1000, words)
        assert list(found) == [code for code in text if code >= 0]
        assert -log_probability == pytest.approx(loss, rel=1e-12)


def test_a_beam_search_sums_over_alignments_where_the_best_path_does_not():
    # By hand: the best path is empty, 0.6 * 0.6; "a" has 0.4 * 0.4 + 2 * 0.4 * 0.6.
    probabilities = np.array([[[0.4, 0.6], [0.4, 0.6]]])
    logits = jnp.log(probabilities)
    greedy, beam = Text(("a",), 2), Text(("a",), 2, beam_width=2)
    for task, text, confidence in ((greedy, "", 0.36), (beam, "a", 0.64)):
        predicted = {n: np.asarray(x[0]) for n, x in task.predict(logits).items()}
        answer = task.answer(predicted, 5)
        assert answer["text"] == text
        assert answer["confidence"] == pytest.approx(confidence, rel=1e-5)
        assert task.cells(answer) == [text, f"{confidence:.4f}"]
        assert task.rows(answer) == [{"text": text, "confidence": f"{confidence:.6f}"}]
        assert task.spread(predicted) == task.rows(answer)[0]


def test_with_a_lexicon_a_text_that_does_not_end_with_a_word_is_none():
    words = ctc.lexicon([(0, 1)], 2, space=None)
    log_probabilities = np.array([[0.0, -np.inf, -np.inf]])
    assert ctc.beam_search(log_probabilities, 4, words) == ((), -np.inf)


# Metrics.


def test_edit_distances_are_those_of_textbooks():
    # Wagner and Fischer's and Wikipedia's examples.
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("sunday", "saturday") == 3
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3
    assert edit_distance("", "") == 0
    assert edit_distance(["the", "cat"], ["the", "rat", "cat"]) == 1


def test_edit_distances_are_those_of_jiwer():
    for true, read, rate in zip(
        *(ERROR_RATES[name] for name in ("true", "read", "each")), strict=True
    ):
        assert edit_distance(true, read) / len(true) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("beam_width", [1, 4])
def test_error_rates_of_a_split_are_those_of_jiwer(beam_width):
    true, read = ERROR_RATES["true"], ERROR_RATES["read"]
    characters = tuple(sorted(set("".join(true + read))))
    task = Text(characters, max(map(len, true)), beam_width=beam_width)
    blank = len(characters)
    # A blank behind each character, so that doubled ones stay.
    length = 2 * max(map(len, read))
    paths = np.full((len(read), length), blank)
    codes = padded(read, length // 2, characters)
    paths[:, ::2] = np.where(codes == ctc.NOTHING, blank, codes)
    batch = batch_of(padded(true, task.longest, characters))
    batch["weight"] = batch["weight"].at[0].set(0)
    logits = logits_of(paths, blank + 1)
    sums = task.eval_sums(logits, batch)
    assert float(sums["loss"]) == pytest.approx(
        float(task.loss(logits, batch)[1:].sum()), rel=1e-6
    )
    records = {n: np.asarray(x) for n, x in task.eval_records(logits, batch).items()}
    metrics = task.metrics({"loss": np.float64(sums["loss"])}, records)
    for name in "character_error_rate", "word_error_rate":
        assert metrics[name] == pytest.approx(ERROR_RATES[name], rel=1e-12)
    exact = np.mean([a == b for a, b in zip(true, read, strict=True)])
    assert metrics["line_accuracy"] == pytest.approx(exact)
    (table,) = task.report(metrics, records)
    worst = max(map(edit_distance, true, read))
    assert table.rows[0][2] == str(worst)


# The task of a data set.


def test_the_task_reads_its_characters_from_the_data_set(tmp_path):
    targets = {"line": target_of(LETTERS, 7)}
    task = create_task(TaskConfig(name="text"), targets, {})
    assert task == Text(LETTERS, 7, "line")
    assert task.outputs == {"num_classes": 5}  # the characters and the blank
    assert task.output_shape == (None, 5)
    assert task.caption({"line": np.array([1, 0, 3, 2])}) == "ba c"
    file = tmp_path / "words.txt"
    file.write_text("ab\n\ncab\nab\n")
    config = TaskConfig(name="text", beam_width=3, lexicon=str(file))
    assert task_of(config, targets).words == ("ab", "cab")


def task_of(config, targets):
    """The task of a new run."""
    return create_task(config, targets, Text.measure(config, targets, None))


def test_the_words_of_a_lexicon_are_those_that_the_run_began_with(tmp_path):
    targets, file = {"text": target_of(LETTERS, 7)}, tmp_path / "words.txt"
    file.write_text("ab\nb\n")
    config = TaskConfig(name="text", beam_width=2, lexicon=str(file))
    kept = json.loads(json.dumps(Text.measure(config, targets, None)))
    assert create_task(config, targets, kept).remarks(config) == []
    for text in ("ab\nc\n", "ab\nz\n"):
        file.write_text(text)
        task = create_task(config, targets, kept)
        assert task.words == ("ab", "b")
        (remark,) = task.remarks(config)
        assert "words.txt' was changed; the run keeps the 2 words that it had" in remark
    file.unlink()
    task = create_task(config, targets, kept)
    assert task.words == ("ab", "b")
    assert task.remarks(config) == []


@pytest.mark.parametrize("words", [None, [], [1], "ab"])
def test_words_that_are_damaged_are_refused(words):
    config = TaskConfig(name="text", beam_width=2, lexicon="words.txt")
    rule = "statistics.words must be the words of task.lexicon, not "
    with pytest.raises(UserError, match=rule):
        create_task(config, {"text": target_of(LETTERS, 7)}, {"words": words})


@pytest.mark.parametrize(
    ("lines", "options", "text"),
    [
        ("abd", {}, "line 1: the texts of the data set have no 'd', so 'abd' would"),
        ("a\na b", {}, "line 2: 'a b' is more than one word"),
        ("\n", {}, "has no word"),
        ("a", {"beam_width": 1}, "task.beam_width must be over 1 with task.lexicon"),
    ],
)
def test_a_lexicon_that_cannot_be_used_is_refused(tmp_path, lines, options, text):
    file = tmp_path / "words.txt"
    file.write_text(lines)
    options = {"beam_width": 2, "lexicon": str(file)} | options
    with pytest.raises(UserError, match=text):
        task_of(TaskConfig(name="text", **options), {"text": target_of(LETTERS, 7)})


def test_a_lexicon_that_is_not_there_is_refused():
    config = TaskConfig(name="text", beam_width=2, lexicon="no such file")
    with pytest.raises(UserError, match="task.lexicon 'no such file' cannot be read"):
        task_of(config, {"text": target_of(LETTERS, 7)})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"names": ()}, "needs a ragged target with a name for each character; target"),
        ({"ragged": False}, r"has shape \(7,\), ragged=False and 4 names"),
    ],
)
def test_a_text_without_an_alphabet_is_refused(fields, text):
    target = {"names": LETTERS, "ragged": True, "shape": (7,)} | fields
    targets = {"text": Target("text", "int32", **target)}
    with pytest.raises(UserError, match=text):
        create_task(TaskConfig(name="text"), targets, {})


def test_a_text_has_a_known_alphabet():
    target = target_of(LETTERS, 7)
    texts = [np.array([0, 3]), np.array([1, 4]), np.array([-1])]
    problems = dict(target.problems(texts))
    assert problems == {
        1: "character 4 is out of range; with 4 of them it must be 0 to 3",
        2: "character -1 is out of range; with 4 of them it must be 0 to 3",
    }
    for names, text in ((("a", "a"), "all different"), (("a", ""), "all different")):
        with pytest.raises(UserError, match=text):
            target_of(names, 7)
