"""What a study is made from besides its file: images and weights, found, checked, and named by their content.

`prepare` decodes and reads them before a run; `look_up` reads only what is already on this machine. Nothing here
plans tasks or trains.
"""

from emma_tune.plan.materials.given import check_given
from emma_tune.plan.materials.lookup import KnownMaterials, look_up
from emma_tune.plan.materials.preparation import DecodeCallback, Materials, prepare

__all__ = ["DecodeCallback", "KnownMaterials", "Materials", "check_given", "look_up", "prepare"]
