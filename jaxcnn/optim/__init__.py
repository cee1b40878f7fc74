"""The optimizer: one optax chain, with learning rates by step and by layer."""

from jaxcnn.optim.optimizer import OPTIMIZERS, carry_over, make_optimizer, unused
from jaxcnn.optim.plan import Plan, make_plan
from jaxcnn.optim.schedules import SCHEDULES, make_schedule, scaled

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Plan",
    "carry_over",
    "make_optimizer",
    "make_plan",
    "make_schedule",
    "scaled",
    "unused",
]
