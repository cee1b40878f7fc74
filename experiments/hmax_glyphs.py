r"""HMAX on the letters a to z in many fonts.

Recipe: see recipes.hmax; the network of Serre et al. 2007 with smaller settings for
smaller images.
Result: 0.8360 on the test fonts, seed 0, 2026-11-28, two CPU cores.

    python -m jaxcnn train --config=experiments/hmax_glyphs.py \
        --workdir=runs/hmax_glyphs
"""

from jaxcnn.config import Config
from jaxcnn.recipes import hmax


def get_config() -> Config:
    return hmax("glyphs")
