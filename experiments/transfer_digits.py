r"""Transfer from letters to digits with 5, 10 or 20 images per class: which method?

Recipe: networks trained by resnet20_glyphs and small_vgg_glyphs are fine-tuned on a few
of scikit-learn's digits, by one of METHODS, or with their first N layer groups reused
and frozen and the others initialised at random, as in Yosinski et al., "How
transferable are features in deep neural networks?", NeurIPS 2014,
https://arxiv.org/abs/1411.1792. The training images also depend on the seed. A third
of the first half of the digits is the validation split. The learning rates (PEAK_LR)
were tuned on it with ten images per class, and it selects the checkpoint, which is
tested on the second half.
Result: "Ten digits after 26 letters" in docs/results.md.

The part after the colon is NETWORK-METHOD or NETWORK-first_N, such as

    python -m jaxcnn sweep --config=experiments/transfer_digits.py:resnet20-decay_0.3 \
        --vary=data.num_per_class=5,10,20 --vary=seed=0,1,2,3,4,5,6,7,8,9 --test \
        --output=sweeps/resnet20-decay_0.3
"""

from jaxcnn.config import (
    AugmentConfig,
    Config,
    DataConfig,
    InitConfig,
    OptimConfig,
    TaskConfig,
)
from jaxcnn.errors import unknown
from jaxcnn.recipes import SMALL_VGG

# The networks, the runs that trained them, and their layer groups.
NETWORKS = {
    "resnet20": {
        "model": "resnet20_cifar",
        "model_fields": (),
        "run": "runs/resnet20_glyphs",
        "groups": (
            "stem",
            *(f"stage{i}_block{j}" for i in (1, 2, 3) for j in (1, 2, 3)),
        ),
        "last_stages": ("stage3_.*", "stage2_.*"),
    },
    "small_vgg": {
        "model": "vgg11_bn",
        "model_fields": SMALL_VGG,
        "run": "runs/small_vgg_glyphs",
        "groups": (
            "stage1_block1",
            "stage2_block1",
            "stage3_block1",
            "stage3_block2",
            "stage4_block1",
        ),
        "last_stages": ("stage4_.*", "stage3_.*"),
    },
}

# Fields of OptimConfig. The head is always new, since the classes are digits.
METHODS = {
    "scratch": {},
    "head": {"freeze": ("(?!head).*",)},
    "one_rate": {},
    "decay_0.3": {"lr_decay": 0.3},
    "decay_0.1": {"lr_decay": 0.1},
    "gradual": {},  # unfreeze is set below, since the stages depend on the network
}

# Tuned on the validation split with two seeds and ten training images per class, over
# 0.001, 0.003, 0.01 and 0.03, and over 0.0003 or 0.1 where the best was at an end.
PEAK_LR = {
    ("resnet20", "scratch"): 0.01,
    ("resnet20", "head"): 0.1,
    ("resnet20", "one_rate"): 0.01,
    ("resnet20", "decay_0.3"): 0.1,
    ("resnet20", "decay_0.1"): 0.1,
    ("resnet20", "gradual"): 0.01,
    ("resnet20", "first_N"): 0.01,
    ("small_vgg", "scratch"): 0.001,
    ("small_vgg", "head"): 0.03,
    ("small_vgg", "one_rate"): 0.003,
    ("small_vgg", "decay_0.3"): 0.01,
    ("small_vgg", "decay_0.1"): 0.01,
    ("small_vgg", "gradual"): 0.003,
    ("small_vgg", "first_N"): 0.003,
}


def get_config(variant: str = "resnet20-scratch") -> Config:
    network, _, method = variant.partition("-")
    if network not in NETWORKS:
        raise unknown("network", network, NETWORKS)
    row = NETWORKS[network]
    first = {f"first_{n}": row["groups"][:n] for n in range(1, len(row["groups"]) + 1)}
    if method not in METHODS | first:
        raise unknown("method", method, METHODS | first)
    kind = "first_N" if method in first else method
    optim = OptimConfig(
        name="adamw",
        peak_lr=PEAK_LR[network, kind],
        warmup_epochs=2.0,
        weight_decay=0.05,
        **METHODS.get(method, {}),
    )
    init_from = InitConfig(path="" if method == "scratch" else row["run"])
    if method == "gradual":
        epochs = (0.0, 6.0, 12.0, 18.0)
        stages = ("head", *row["last_stages"], ".*")
        optim.unfreeze = tuple(zip(stages, epochs, strict=True))
    if method in first:
        optim.freeze = init_from.only = first[method]
    return Config(
        model=row["model"],
        model_fields=row["model_fields"],
        data=DataConfig(
            name="digits",
            image_size=16,
            train_transform="pad",
            eval_transform="pad",
            batch_size=25,
            validation_fraction=1 / 3,
            num_per_class=10,
        ),
        augment=AugmentConfig(shift_pixels=1.0, rotation_degrees=10.0, scale=0.1),
        task=TaskConfig(label_smoothing=0.1),
        init_from=init_from,
        optim=optim,
        num_epochs=30.0,
        eval_every_epochs=5.0,
        keep_checkpoints=1,
    )
