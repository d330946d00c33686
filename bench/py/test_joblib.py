"""A parallel region of two short tasks: joblib's own threads and ours."""

import pytest

import filar

joblib = pytest.importorskip("joblib")


@pytest.mark.parametrize("backend", ["threading", "filar"])
def test_region(benchmark, backend):
    benchmark.group = "joblib-region"
    filar.joblib.register()
    with joblib.parallel_config(backend):
        parallel = joblib.Parallel(n_jobs=2)
        tasks = [joblib.delayed(abs)(n) for n in range(2)]
        assert benchmark(lambda: parallel(tasks)) == [0, 1]
