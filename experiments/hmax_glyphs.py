r"""HMAX on the letters a to z in many fonts.

Recipe: see recipes.hmax; the network is that of Serre et al. 2007, with smaller numbers
for smaller images.
Result: not measured yet.

    python -m jaxcnn train --config=experiments/hmax_glyphs.py \
        --workdir=runs/hmax_glyphs
"""

from jaxcnn.config import Config
from jaxcnn.recipes import hmax


def get_config() -> Config:
    return hmax("glyphs")
