r"""HMAX on the digits of scikit-learn.

Recipe: see recipes.hmax; the network of Serre et al. 2007 with smaller settings for
smaller images.
Result: 0.8765 on the second half, seed 0, 2026-11-22, two CPU cores, three minutes.

    python -m jaxcnn train --config=experiments/hmax_digits.py \
        --workdir=runs/hmax_digits
"""

from jaxcnn.config import Config
from jaxcnn.recipes import hmax


def get_config() -> Config:
    return hmax("digits")
