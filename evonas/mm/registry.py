"""What OpenMMLab's configurations find under `evonas.`; importing this needs mmengine.

As a child of mmengine's registry it is seen by those of mmdet and mmseg alike.
"""

from mmengine.registry import MODELS as ROOT
from mmengine.registry import Registry

MODELS = Registry("model", parent=ROOT, scope="evonas")
