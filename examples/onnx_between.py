"""The picture at time t between two pictures, four times larger, with NumPy, OpenCV and ONNX Runtime alone.

safa export fast -o fast-onnx
python examples/onnx_between.py fast-onnx a.png b.png 0.5 middle.png
"""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

folder, picture0, picture1, time, output = sys.argv[1:]
model = json.loads((Path(folder) / "model.json").read_text())
sessions = {}


def run(name, *inputs):
    """Outputs of one graph; a graph that is never chosen is never loaded."""
    if name not in sessions:
        sessions[name] = onnxruntime.InferenceSession(f"{folder}/{name}", providers=["CPUExecutionProvider"])
    names = [one.name for one in sessions[name].get_inputs()]
    return sessions[name].run(None, dict(zip(names, inputs, strict=True)))


def padded(array):
    """``H,W,C`` to ``1,C,h,w`` float32: edges repeated at the right and bottom up to the network's multiple."""
    height, width = array.shape[:2]
    sides = ((0, -height % model["multiple"]), (0, -width % model["multiple"]), (0, 0))
    return np.ascontiguousarray(np.pad(array, sides, "edge").transpose(2, 0, 1)[None], np.float32)


def classical_flow(a, b):
    """Flow from ``a`` to ``b`` as the network expects it; the code for it lies in the folder."""
    return padded(runpy.run_path(f"{folder}/{model['flow']}")["classical_flow"](a, b))


first, second = (cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB) for path in (picture0, picture1))
flows = [classical_flow(first, second), classical_flow(second, first)] if model["needs_flow"] else []
t = np.array([time], np.float32)

# Once a frame, once a pair: keep these when more times or the next pair follow.
(enlarged0, features0), (enlarged1, features1) = (run("encoder.onnx", padded(one) / 255) for one in (first, second))
(hidden,) = run("pair.onnx", features0, features1)
# Once a time. The selector names the scale of each block; only that graph runs.
(flow,) = run("start.onnx", hidden, t, *(flows if model["config"]["flow_prior"] == "dis" else []))
for files in model["blocks"]:
    x, scale, *_ = run("selector.onnx", hidden, features0, features1, flow, t)
    hidden, flow = run(files[int(scale[0])], x, flow)
(image,) = run("synthesis.onnx", enlarged0, enlarged1, features0, features1, flow, t)

height, width = (side * model["enlargement"] for side in first.shape[:2])
result = np.rint(image[0].transpose(1, 2, 0)[:height, :width] * 255).astype(np.uint8)
cv2.imwrite(output, cv2.cvtColor(result, cv2.COLOR_RGB2BGR))
