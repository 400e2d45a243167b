"""What a summary says about the machine."""

from types import SimpleNamespace

from mnp.experiments import environment


def test_the_cpus_name_where_there_is_no_cpuinfo(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(environment, "open", missing, raising=False)
    monkeypatch.setattr(environment.platform, "processor", lambda: "arm")
    asked = []

    def sysctl(words, **_):
        asked.append(words[0])
        return SimpleNamespace(stdout="Apple M1\n")

    monkeypatch.setattr(environment, "subprocess", SimpleNamespace(run=sysctl))
    assert environment.cpu()["model"] == "Apple M1" and asked == ["sysctl"]
    monkeypatch.setattr(environment, "subprocess", SimpleNamespace(run=missing))  # Windows
    assert environment.cpu()["model"] == "arm"
