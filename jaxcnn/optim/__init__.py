"""The optimizer: one optax chain, its learning rate over time and by layer."""

from jaxcnn.optim.optimizer import OPTIMIZERS, make_optimizer
from jaxcnn.optim.schedules import SCHEDULES, make_schedule

__all__ = ["OPTIMIZERS", "SCHEDULES", "make_optimizer", "make_schedule"]
