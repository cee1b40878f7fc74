"""Images that come with a library that we depend on: scikit-learn's digits."""

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import arrays
from jaxcnn.data.examples import Dataset


def digits(config: DataConfig) -> Dataset:
    """The 1,797 scanned digits of sklearn.datasets.load_digits, 8x8 grey.

    A pixel counts the black pixels in a 4x4 block of the scan, 0 to 16 (Alpaydin and
    Kaynak, https://archive.ics.uci.edu/dataset/80). It is converted to uint8 as
    round(v * 255 / 16). The images of this dataset are 8x8; data.train_transform and
    data.eval_transform enlarge them to data.image_size on the host, for example
    "resize" with Pillow's bilinear filter.

    The halves are those of scikit-learn's example "Recognizing hand-written digits", in
    the order of the file: 898 images for training, then 899 for testing, some of which
    are by other writers. The validation split is cut from the first half.
    """
    # Imported only when needed, since it takes a second.
    from sklearn import datasets, model_selection

    raw = datasets.load_digits()
    images = np.round(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    # https://scikit-learn.org/stable/auto_examples/classification/plot_digits_classification.html
    train_images, test_images, train_labels, test_labels = (
        model_selection.train_test_split(
            images, raw.target, test_size=0.5, shuffle=False
        )
    )
    return arrays.of_classes(
        "digits",
        [str(digit) for digit in raw.target_names],
        {"train": (train_images, train_labels), "test": (test_images, test_labels)},
        config,
    )
