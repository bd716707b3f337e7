"""Runs in .venv-tflite: an ONNX file to an int8 TFLite file, by onnx2tf. Imports nothing of ours, which that place does not have.

`python tflite_child.py MODEL.onnx INPUT_NAME CALIBRATION.npy FOLDER` leaves FOLDER/NAME_integer_quant.tflite: weights int8 per
channel, activations int8 per tensor, input and output float32 [1,h,w,C] and [1,K].
https://github.com/PINTO0309/onnx2tf
"""

from __future__ import annotations

import sys


def main() -> int:
    """Convert."""
    import numpy as np
    import onnx2tf  # type: ignore[import-not-found]  # lives in .venv-tflite

    model, input_name, calibration, folder = sys.argv[1:]
    # onnx2tf scales calibration data itself, (x - mean) / std; ours is preprocessed already.
    zero, one = np.zeros((1, 1, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    onnx2tf.convert(
        input_onnx_file_path=model,
        output_folder_path=folder,
        batch_size=1,
        output_integer_quantized_tflite=True,
        quant_type="per-channel",
        custom_input_op_name_np_data_path=[[input_name, calibration, zero, one]],
        non_verbose=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
