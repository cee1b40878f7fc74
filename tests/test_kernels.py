"""The compiled operations: where they come from, and what is said where they do not."""

import os
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.errors import UserError
from jaxcnn.ops import backends, kernels

NEEDS_THEM = pytest.mark.skipif(bool(backends.missing()), reason=backends.missing())


def jaxcnn(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "jaxcnn", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(
    sys.platform != "linux" or not any(map(shutil.which, kernels.COMPILERS)),
    reason="there is no C++ compiler",
)
def test_where_there_is_a_compiler_there_are_kernels():
    assert backends.missing() == ""
    assert backends.choose("auto") == "native"


@NEEDS_THEM
@pytest.mark.slow
def test_two_processes_compile_them_once(tmp_path):
    command = [sys.executable, "-m", "jaxcnn", "kernels"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    both = [
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    (made,) = (tmp_path / "jaxcnn").glob("*.so")
    assert {out for out, _ in outputs} == {f"{made}\n"}
    assert sum("Compiling" in err for _, err in outputs) == 1


@pytest.mark.slow
def test_without_a_compiler_the_portable_operations_are_in_use(tmp_path):
    nothing = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "CXX": ""}
    listed = jaxcnn("models", "--backends", **nothing)
    assert listed.returncode == 0
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert ["portable", "in", "use"] in rows
    assert "no C++ compiler" in listed.stdout
    failed = jaxcnn("kernels", **nothing)
    assert failed.returncode == 2
    assert failed.stderr.startswith("jaxcnn: ")
    assert failed.stderr.count("\n") == 1
    asked = jaxcnn("train", "--dry_run", "--config.ops=native", **nothing)
    assert asked.returncode == 2
    assert "ops='native'" in asked.stderr


@NEEDS_THEM
def test_a_file_that_cannot_be_loaded_is_no_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels.library().parent.mkdir()
    kernels.library().write_bytes(b"\x7fELF")
    kernels.load.cache_clear()
    try:
        assert "cannot be loaded" in backends.missing()
        assert backends.choose("auto") == "portable"
        assert backends.kept("native", 1) == "auto"
    finally:
        kernels.load.cache_clear()


def test_several_devices_do_not_share_a_batch_of_native_operations():
    assert backends.choose("auto", num_devices=8) == "portable"
    with pytest.raises(UserError, match="one device"):
        backends.choose("native", num_devices=8)


@pytest.mark.parametrize(
    "name", ["lax", "portable", pytest.param("native", marks=NEEDS_THEM)]
)
def test_a_number_that_is_none_is_never_hidden(name):
    table = ops.TABLES[name]
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 20)).astype(np.float32)
    x[1, 3, 2, 7] = np.nan
    x = jnp.asarray(x)
    place = {"stride": (1, 1), "padding": ((1, 1), (1, 1))}
    y = table.max_pool(x, window=(3, 3), **place)
    assert int(jnp.isnan(y).sum()) == 9
    kernel = jnp.ones((3, 3, 20, 4))
    y = table.conv(x, kernel, dilation=(1, 1), groups=1, **place)
    assert int(jnp.isnan(y).sum()) == 9 * 4
    ones = jnp.ones(20)
    norm = {"momentum": 0.9, "epsilon": 1e-5}
    y, mean, var = table.batch_norm_train(x, ones, ones, ones, ones, **norm)
    for found in y[0, 0, 0], mean, var:
        np.testing.assert_array_equal(jnp.isnan(found), np.arange(20) == 7)
