import numpy as np
import pytest
from skimage import data

from dda.faces.face_mesh import FaceDetector, MeshFace
from dda.faces.parsing.mesh_masks import draw_region_masks
from dda.faces.region_masks import RegionMasks

Portrait = tuple[np.ndarray, RegionMasks[MeshFace]]


@pytest.fixture(scope="session")
def portrait(detector: FaceDetector) -> Portrait:
    """The aligned face of the astronaut, uint8 (512, 512, 3), and its region masks."""
    face = detector(data.astronaut())[0]
    image = face.crop(data.astronaut())
    return image, draw_region_masks(image, face.to_crop())
