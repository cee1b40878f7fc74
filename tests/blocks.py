"""What the tests of several families ask of a network."""

from flax import linen as nn
import jax

from jaxcnn import models


def shallow(name, num_classes=10):
    """The network, with at most two blocks where more follow that are the same."""
    network = models.create_model(name, num_classes)
    fields = {}
    if hasattr(network, "depths"):
        fields["depths"] = tuple(min(depth, 2) for depth in network.depths)
    stages = getattr(network, "stages", ())
    if stages and hasattr(stages[0], "depth"):
        fields["stages"] = tuple(
            stage._replace(depth=min(stage.depth, 2)) for stage in stages
        )
    return network.clone(**fields)


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


def counted(name, image_size, num_classes=1000):
    """(parameters, multiply-adds) of a network, as the catalogue has them.

    Nothing is traced: that the catalogue has what its networks have, test_analysis
    proves of all of them, and test_models of one a family.
    """
    (row,) = models.catalogue(name)
    assert (row["image_size"], row["num_classes"]) == (image_size, num_classes)
    return row["parameters"], row["macs"]
