"""ResNets in keras.applications, whose first stage is conv2."""

from jaxcnn.pretrained.names import Rule, Source


def _block(i: int, j: int) -> str:
    return f"conv{i + 1}_block{j}"


_BLOCK = r"stage(\d+)_block(\d+)"

V1 = (
    Rule(r"stem/conv/conv", lambda: "conv1_conv"),
    Rule(r"stem/conv/norm", lambda: "conv1_bn"),
    Rule(rf"{_BLOCK}/conv(\d)/conv", lambda i, j, k: f"{_block(i, j)}_{k}_conv"),
    Rule(rf"{_BLOCK}/conv(\d)/norm", lambda i, j, k: f"{_block(i, j)}_{k}_bn"),
    Rule(rf"{_BLOCK}/proj/conv", lambda i, j: f"{_block(i, j)}_0_conv"),
    Rule(rf"{_BLOCK}/proj/norm", lambda i, j: f"{_block(i, j)}_0_bn"),
    Rule(r"head", lambda: "predictions"),
)

V2 = (
    Rule(r"stem/conv", lambda: "conv1_conv"),
    Rule(rf"{_BLOCK}/norm1", lambda i, j: f"{_block(i, j)}_preact_bn"),
    Rule(rf"{_BLOCK}/norm(\d)", lambda i, j, k: f"{_block(i, j)}_{k - 1}_bn"),
    Rule(rf"{_BLOCK}/conv(\d)", lambda i, j, k: f"{_block(i, j)}_{k}_conv"),
    Rule(rf"{_BLOCK}/proj", lambda i, j: f"{_block(i, j)}_0_conv"),
    Rule(r"stage5_block1/norm", lambda: "post_bn"),
    Rule(r"head", lambda: "predictions"),
)

SOURCES = (
    Source("keras", r"resnet\d+_v1_keras", V1),
    Source("keras", r"resnetv2_\d+_keras", V2),
)
