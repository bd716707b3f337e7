"""What the bench's model takes and names. Apart from the model, so that the bare loop need not import what builds it."""

from __future__ import annotations

from contract.manifest import Label, LabelKind
from contract.preprocess import PreprocessSpec

SIDE = 224
LABELS = tuple(
    Label(name, LabelKind.DEFECT)
    for name in ("crazing", "inclusion", "patches", "pitted", "rolled-in_scale", "scratches")
)
SPEC = PreprocessSpec(height=SIDE, width=SIDE, channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
UNSURE_SHARE = 0.02
