"""LeNet-5 with the layer names of PyTorch's beginner tutorial."""

from jaxcnn.pretrained.names import Rule, Source

PYTORCH = (
    Rule(r"stem/conv", lambda: "conv1"),
    Rule(r"stage1_block1/conv", lambda: "conv2"),
    Rule(r"stage2_block1/dense", lambda: "fc1", channels=16),
    Rule(r"stage2_block2/dense", lambda: "fc2"),
    Rule(r"head", lambda: "fc3"),
)

SOURCES = (Source("pytorch", r"lenet5", PYTORCH),)
