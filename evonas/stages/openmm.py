"""Where configurations of OpenMMLab of the first release look for exported backbones."""

from evonas.stages.networks.openmmlab import ExportedBackbone

__all__ = ["ExportedBackbone"]
