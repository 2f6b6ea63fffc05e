"""The types of arrays that rankings pass on. Shapes stand beside each use."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Ids = NDArray[np.object_]  # of str
