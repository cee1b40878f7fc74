"""A small network of each family."""

from jaxcnn import models

ONE_EACH = {"depths": (1, 1, 1, 1)}

NARROW = (4, 6, 8, 10, 12)

# File of models -> one of its networks, fields that make it small, image size.
FAMILIES = {
    "alexnet": ("alexnet_2012", {}, 224),
    "autoencoder": ("conv_autoencoder", {}, 32),
    "character": ("character_net", {}, 32),
    "convnext": ("convnext_tiny", ONE_EACH, 32),
    "crnn": ("crnn", {}, 32),
    "deepgaze": ("deepgaze2_mobilenet_v2", {"backbone": "resnet20_cifar"}, 16),
    "deeplab": ("deeplabv3_resnet50", {"backbone": "resnet18"}, 32),
    "densenet": ("densenet121", ONE_EACH, 32),
    "dilation": (
        "dilated_vgg16_basic",
        {"filters": NARROW, "hidden": (14, 14)},
        32,
    ),
    "dncnn": ("dncnn_s", {"depth": 4}, 16),
    "efficientnet": ("efficientnet_b0", {}, 32),
    "fcn": ("fcn_resnet50", {"backbone": "resnet18"}, 32),
    "fcn_vgg": ("fcn8s_vgg16", {"filters": NARROW, "hidden": (14, 14)}, 64),
    "googlenet": ("googlenet_2014", {}, 224),
    "hmax": ("hmax", {"num_bands": 1, "patch_sizes": (4,)}, 64),
    "inception": ("inception_v3", {"aux": None}, 299),
    "inception_resnet": ("inception_resnet_v1", {}, 299),
    "lenet": ("lenet5", {}, 32),
    "linear": ("mlp", {}, 28),
    "lraspp": ("lraspp_mobilenet_v3_large", {}, 32),
    "mobilenet_v1": ("mobilenetv1_025", {}, 32),
    "mobilenet_v2": ("mobilenet_v2", {}, 32),
    "mobilenet_v3": ("mobilenet_v3_small", {}, 32),
    "neocognitron": ("neocognitron", {}, 16),
    "pilotnet": ("pilotnet", {}, 66),
    "pspnet": ("pspnet_resnet50", {"backbone": "resnet18"}, 32),
    "regnet": ("regnet_y_400mf", {"depth": 5}, 32),
    "resnet": ("resnet50", ONE_EACH, 32),
    "resnet_keras": ("resnet50_v1_keras", ONE_EACH, 32),
    "resnet_v2": ("resnetv2_50", ONE_EACH, 32),
    "resnext": ("resnext50_32x4d", ONE_EACH, 32),
    "salnet": ("salnet", {"filters": (8, 8, 8, 8, 8, 8, 8, 8)}, 16),
    "segnet": ("segnet", {"filters": NARROW}, 32),
    "senet": ("legacy_senet154", ONE_EACH, 32),
    "shufflenet_v1": ("shufflenet_g3_w1", {"depths": (2, 2, 2)}, 32),
    "shufflenet_v2": ("shufflenet_v2_x0_5", {"depths": (2, 2, 2)}, 32),
    "squeezenet": ("squeezenet1_1", {}, 64),
    "tdnn": ("tdnn", {}, 16),
    "unet": ("unet_resnet18", {"backbone": "resnet20_cifar"}, 16),
    "vgg": ("vgg11_bn", {"depths": (1, 1, 1, 1, 1)}, 32),
    "wide_resnet": ("wide_resnet16_8_cifar", {"depths": (1, 1, 1)}, 32),
    "xception": ("xception", {}, 64),
    "zipcode": ("zipcode_1989", {}, 16),
}


def small(family):
    """A network of the family and the shape of its images."""
    name, fields, size = FAMILIES[family]
    model = models.create_model(name, 10, **fields)
    stages = getattr(model, "stages", None)
    if family in ("inception", "inception_resnet"):
        model = model.clone(stages=tuple((s[0], s[-1]) for s in stages))
    elif family in ("efficientnet", "mobilenet_v2"):
        rows = (row for row in stages if row.depth > 1)
        model = model.clone(stages=tuple(row._replace(depth=1) for row in rows))
    elif family == "mobilenet_v3":
        model = model.clone(stages=stages[:2])
    return model, (size, size, models.MODELS[name].channels)
