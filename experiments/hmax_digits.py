r"""HMAX on the digits of scikit-learn.

Recipe: see recipes.hmax; the network is that of Serre et al. 2007, with smaller numbers
for smaller images.
Result: not measured yet.

    python -m jaxcnn train --config=experiments/hmax_digits.py \
        --workdir=runs/hmax_digits
"""

from jaxcnn.config import Config
from jaxcnn.recipes import hmax


def get_config() -> Config:
    return hmax("digits")
