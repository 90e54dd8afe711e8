"""What a published pair is in code: the configuration, the loading classes, the sparse delta.

`configuration_bistill.py`, `modeling_bistill.py` and `sparse_delta.py` are copied into every published repository,
where they run without this package: they import nothing of it but one another. `auto.py` and `legacy.py` stay at home.
"""
