"""The operations that layers compute with, in a table that a context chooses.

`with ops.using(ops.Table(relu=guided_relu)): ...` makes every layer of every network
call guided_relu where it would call ReLU, in whatever is traced inside. Outside of any
such context the operations are those of LAX.

Of this project only `models/layers.py` calls operations; everything else calls layers.
"""

from jaxcnn.ops.backends import NATIVE, PORTABLE, TABLES
from jaxcnn.ops.table import LAX, Table, current, using

__all__ = ["LAX", "NATIVE", "PORTABLE", "TABLES", "Table", "current", "using"]
