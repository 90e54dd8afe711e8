"""What a published pair is in code: the configuration, the loading classes, the sparse delta.

`configuration_bistill.py`, `modeling_bistill.py` and `sparse_delta.py` are copied into every published repository,
where they run without this package: they import nothing of it but one another. `auto.py` and `legacy.py` stay at home.
"""

# Registration hangs on this import. Done here, it is over before any module of this folder is half imported.
import transformers.models.auto.modeling_auto  # noqa: F401
