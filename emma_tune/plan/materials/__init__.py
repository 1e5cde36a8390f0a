"""What a study is made from besides its file: images and weights, found, checked, and named by their content."""

from emma_tune.plan.materials.known import UNKNOWN, Known, known
from emma_tune.plan.materials.prepared import Materials, Report, prepare

__all__ = ["UNKNOWN", "Known", "Materials", "Report", "known", "prepare"]
