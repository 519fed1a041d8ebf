"""The picture at time t between two pictures, four times larger, with NumPy, OpenCV and ONNX Runtime alone.

safa export fast -o fast-onnx
python examples/onnx_between.py fast-onnx a.png b.png 0.5 middle.png
"""

import runpy
import sys

import cv2

folder, picture0, picture1, time, output = sys.argv[1:]
network = runpy.run_path(f"{folder}/run.py")["Network"]()
first, second = (cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB) for path in (picture0, picture1))
(image,) = network.between(first, second, [float(time)])
cv2.imwrite(output, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
