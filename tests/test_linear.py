"""Softmax regression and the MLP against scikit-learn and published counts."""

import jax
import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from jaxcnn import models

IMAGES = np.random.default_rng(0).random((6, 4, 5, 1)).astype(np.float32)


def test_numbers_of_parameters():
    # LeCun et al. 1998, Figure 9 and text, have the network 28x28-300-100-10; Han et
    # al., https://arxiv.org/abs/1506.02626, Table 1, give it 267K parameters.
    mlp = models.create_model("mlp", 10)
    assert models.count_params(mlp, (28, 28, 1)) == 266_610
    # One weight a pixel and one bias, for each class.
    softmax = models.create_model("softmax_regression", 10)
    assert models.count_params(softmax, (28, 28, 1)) == 10 * (28 * 28 + 1)


# The names that scikit-learn has for three of the activations.
@pytest.mark.parametrize(
    ("ours", "theirs"), [("relu", "relu"), ("sigmoid", "logistic"), ("tanh", "tanh")]
)
def test_an_mlp_gives_the_probabilities_of_scikit_learn(ours, theirs):
    model = models.create_model("mlp", 3, hidden=(8, 7), activation=ours)
    variables = model.init(jax.random.key(0), IMAGES, train=False)
    layers = [
        variables["params"]["stage1_block1"]["dense"],
        variables["params"]["stage1_block2"]["dense"],
        variables["params"]["head"],
    ]
    flat = IMAGES.reshape(6, -1)
    classifier = MLPClassifier((8, 7), activation=theirs, max_iter=1)
    classifier.partial_fit(flat, np.arange(6) % 3, classes=[0, 1, 2])
    classifier.coefs_ = [np.asarray(layer["kernel"]) for layer in layers]
    classifier.intercepts_ = [np.asarray(layer["bias"]) for layer in layers]
    logits = model.apply(variables, IMAGES, train=False)
    expected = classifier.predict_proba(flat)
    np.testing.assert_allclose(jax.nn.softmax(logits), expected, atol=1e-5)


def test_softmax_regression_is_one_matrix_and_one_bias():
    model = models.create_model("softmax_regression", 3)
    logits, variables = model.init_with_output(jax.random.key(0), IMAGES, train=False)
    head = jax.tree.map(np.asarray, variables["params"]["head"])
    expected = IMAGES.reshape(6, -1) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="activation 'tan'; nearest: tanh; known: lea"):
        models.create_model("mlp", 10, activation="tan")


def test_a_hidden_layer_without_units_is_refused():
    with pytest.raises(ValueError, match="Widths must be at least 1; hidden=.8, 0."):
        models.create_model("mlp", 10, hidden=(8, 0))
