"""Makes phash.json, with imagehash 4.3.2: name of an image -> its perceptual hash.

python tests/reference/make_phash_reference.py
"""

import json
from pathlib import Path

from generated_image import CASES, generated
import imagehash
from PIL import Image

if __name__ == "__main__":
    hashes = {
        name: str(imagehash.phash(Image.fromarray(generated(shape))))
        for name, (shape, *_) in CASES.items()
    }
    path = Path(__file__).parent / "phash.json"
    path.write_text(json.dumps(hashes, indent=1) + "\n")
