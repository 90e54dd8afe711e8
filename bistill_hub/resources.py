"""Where the recipes and the card templates lie: at the top of a checkout, inside the package of an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

ResourceName = Literal["recipes", "model_cards"]

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: ResourceName) -> Path:
    """Find a folder of files that ship with the package but are no Python.

    An installed wheel carries them in `bistill_hub/_resources/`; in a checkout, editable installs included, they lie
    beside the package, where contributors edit them. The wheel's copy is looked for first: it cannot exist in a
    checkout, whereas a folder called `recipes` may well lie beside an installed package by chance.

    Args:
        name: The folder's name at the top of the checkout.

    Returns:
        The folder's absolute path.

    Raises:
        RuntimeError: the installation is incomplete: the folder is in neither place.
    """
    places = (_PACKAGE / "_resources" / name, _PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    looked_in = " and ".join(str(place) for place in places)
    raise RuntimeError(f"this installation of bistill-hub lacks its folder {name} (looked in {looked_in}); repeat it")
