"""numpy and Pillow: shared libraries of their own, and much to unpack."""

import io

import numpy
from PIL import Image


def handler(event, context):
    size = event["size"]
    solution = numpy.linalg.solve(numpy.array([[3.0, 1.0], [1.0, 2.0]]), numpy.array([9.0, 8.0]))
    pixels = numpy.zeros((size, size, 3), dtype=numpy.uint8)
    pixels[:, :, 1] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    image = Image.open(file).resize((2, 1))
    return {"solution": solution.round(6).tolist(), "pixel": image.getpixel((1, 0)), "bytes": len(file.getvalue())}
