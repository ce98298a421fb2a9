"""What applications need to test their own code: `FakeBackend`, `capture`, and a pytest plugin.

    capturing.py     keeps records from leaving the process
    fake_backend.py  a backend on a thread, with faults on demand; needs nothing but the standard library
    fake_api.py      what it responds; beside it `fake_prompts.py`, `fake_records.py`, `fake_scores.py`, and
                     its sockets
    plugin.py        pytest's fixtures `banyan_backend` and `captured_records`; beside it `default_logger.py`

One contract suite, `tests/integration/test_backend_contract.py`, holds for it and for `banyan-hp serve`.
A name's module is imported when the name is first used: pytest loads this package at each start.
"""

import typing as _typing

if _typing.TYPE_CHECKING:
    from .capturing import CapturedRecords as CapturedRecords
    from .capturing import capture as capture
    from .fake_backend import FakeBackend as FakeBackend
else:
    import importlib as _importlib

    _MODULE_OF = {"CapturedRecords": ".capturing", "FakeBackend": ".fake_backend", "capture": ".capturing"}
    __all__ = sorted(_MODULE_OF)

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(_importlib.import_module(_MODULE_OF[name], __name__), name)
        return value

    def __dir__() -> list[str]:
        return __all__
