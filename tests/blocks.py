"""What the tests of several families ask of a network."""

from flax import linen as nn
import jax

from jaxcnn import models


def output_shapes(model, image_shape):
    """Shape of what each top-level module gives for one image, without the image."""
    shapes = {}

    def record(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if len(context.module.path) == 1 and y is not None:
            shapes[context.module.path[0]] = y.shape[1:]
        return y

    with nn.intercept_methods(record):
        models.abstract_variables(model, image_shape)
    return shapes


def count(variables, *groups):
    """Numbers in the parameters of some layer groups; of none: of all."""
    params = variables["params"]
    chosen = {name: params[name] for name in groups or params}
    return sum(p.size for p in jax.tree.leaves(chosen))
