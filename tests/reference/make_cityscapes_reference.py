"""Makes cityscapes_labels.json, with cityscapesScripts 2.3.0: [name, id, trainId].

python tests/reference/make_cityscapes_reference.py
"""

import json
from pathlib import Path

from cityscapesscripts.helpers.labels import labels

if __name__ == "__main__":
    rows = [[label.name, label.id, label.trainId] for label in labels]
    path = Path(__file__).parent / "cityscapes_labels.json"
    path.write_text(json.dumps(rows) + "\n")
