"""OpenMP's waiting threads sleep wherever bnrun runs, unless somebody has chosen otherwise."""

import importlib
import os
import sys
from types import ModuleType

import pytest

import bnrun
from bnrun.workers import process_context

VARIABLE, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"


@pytest.mark.parametrize(
    ("before", "torch_is_loaded", "after"),
    [
        pytest.param(None, False, "passive", id="set"),
        pytest.param("active", False, "active", id="the user has chosen"),
        pytest.param(None, True, None, id="torch is loaded, and has read it"),
    ],
)
def test_importing_bnrun_sets_the_wait_policy_where_torch_will_read_it(
    monkeypatch: pytest.MonkeyPatch, before: str | None, torch_is_loaded: bool, after: str | None
) -> None:
    monkeypatch.setenv(VARIABLE, before or "")
    monkeypatch.setenv(SPINS, "")
    monkeypatch.delenv(SPINS)
    if before is None:
        monkeypatch.delenv(VARIABLE)
    if torch_is_loaded:
        monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    importlib.reload(bnrun)
    assert os.environ.get(VARIABLE) == after
    assert os.environ.get(SPINS) == ("1000" if after == "passive" else None)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, processes are spawned")
def test_the_server_of_workers_imports_bnrun_before_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    preloaded: list[str] = []
    context = type(process_context())
    monkeypatch.setattr(context, "set_forkserver_preload", lambda _, names: preloaded.extend(names))
    process_context()
    assert preloaded == ["bnrun.workers", "torch"]
