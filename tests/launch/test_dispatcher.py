"""The process that starts jobs on this machine."""


def test_jobs_use_only_the_gpus_visible_to_the_dispatcher(monkeypatch):
    from n2n.launch.dispatcher import _gpus

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _gpus(1, 2) == [2, 3]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert [_gpus(slot, 1) for slot in range(3)] == [[4], [5], [7]]
