"""Choices of a config that other choices leave without effect, which a run says."""

import operator

from jaxcnn import optim
from jaxcnn.config import Config

# Field -> the field that must differ from its default for it to have an effect.
_NEEDS = {
    "augment.randaugment_magnitude": "augment.randaugment",
    "optim.lr_decay_per": "optim.lr_decay",
    "optim.unfreeze_warmup_epochs": "optim.unfreeze",
    "init_from.only": "init_from.path",
    "init_from.skip": "init_from.path",
    "early_stopping_metric": "early_stopping_patience",
    "nan_patience": "nan_policy",
}
# Field -> the name of the average that uses it.
_AVERAGES = {"average.decay": "ema", "average.start_epoch": "swa"}


def lines(config: Config) -> list[str]:
    """A line for each choice that differs from its default and has no effect."""
    default = Config()

    def differs(name: str) -> bool:
        get = operator.attrgetter(name)
        return get(config) != get(default)

    whys = {f"optim.{name}": why for name, why in optim.unused(config.optim).items()}
    for name, needed in _NEEDS.items():
        if not differs(needed):
            value = operator.attrgetter(needed)(config)
            whys[name] = f"{needed} is {value!r}"
    for name, average in _AVERAGES.items():
        if config.average.name != average:
            whys[name] = f"average.name is {config.average.name!r}"
    return [
        f"{name}={operator.attrgetter(name)(config)!r} is ignored: {why}."
        for name, why in whys.items()
        if differs(name)
    ]
