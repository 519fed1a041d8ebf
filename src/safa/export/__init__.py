"""Networks for other programs: the same parts as ONNX graphs or as ``torch.export`` archives, checked when made."""

from safa.export.export import FORMATS, Exported, export_model

__all__ = ["FORMATS", "Exported", "export_model"]
