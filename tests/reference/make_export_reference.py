"""Makes exported.json: that PyTorch loads what we export, and what it answers.

It needs the libraries of make_reference.py, and the files that we export:

    python -m tests.reference.exported FOLDER                 # with jaxcnn
    python tests/reference/make_export_reference.py FOLDER    # with PyTorch

Each FOLDER/NAME.safetensors is loaded with strict=True into the network NAME of
make_reference.py; kept are a fingerprint of its tensors and the logits of two images.
"""

import json
from pathlib import Path
import sys

import filling
import make_reference
from safetensors.numpy import load_file
import torch

if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = make_reference.networks()
    found = {}
    for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
        row = rows[path.stem]
        network = make_reference.build(row, "float32")
        tensors = load_file(path)
        state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
        network.module.load_state_dict(state, strict=True)
        logits = network.logits(filling.images((2, *row.image_shape)))
        fingerprint = filling.fingerprint(tensors)
        found[path.stem] = {"fingerprint": fingerprint, "logits": logits.tolist()}
        print(path.stem, network.library, logits[0, :3])
    text = json.dumps(found, indent=1)
    (Path(__file__).parent / "exported.json").write_text(text + "\n")
